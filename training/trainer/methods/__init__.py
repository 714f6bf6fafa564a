"""The pieces of training that a recipe switches on, one module each.

Each works on tensors and a network; none knows the loop, files or the command line.
"""
