"""The training loop: a recipe and a seed become a checkpoint and a learning curve.

One loop for every recipe and device. What a recipe can switch on stands in `methods`.
"""
