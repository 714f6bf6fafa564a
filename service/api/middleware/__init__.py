"""What wraps every request: its id, its log line, its ETag, its fast way to a route.

Plain ASGI, in the order in which `service.app` puts it together. Nothing here knows a model.
"""
