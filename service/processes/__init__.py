"""The processes that serve: one alone, or a supervisor and its workers with their sockets.

May import everything below it in the service. Nothing but `service.__main__` may import it: what
a request does must not depend on how many processes there are.
"""
