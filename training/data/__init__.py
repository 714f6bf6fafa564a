"""The dataset and what is drawn from it: files, splits, seeds, crops and augmentation.

The one place in `training` that knows CIFAR-10's sizes and labels. No network is known here.
"""
