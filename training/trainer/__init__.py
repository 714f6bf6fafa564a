"""The training loop: a recipe and a seed become a checkpoint and a learning curve.

One loop for every recipe and device; what a recipe can switch on stands in `methods`, what it does
to images in `training.data`. Nothing here folds or writes artifacts.
"""
