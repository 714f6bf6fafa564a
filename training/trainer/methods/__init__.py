"""The pieces of training that a recipe switches on, one module each.

Each works on tensors and a network; none may know the loop, files or the command line.
"""
