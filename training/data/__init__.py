"""The dataset and what is drawn from it: files, splits, seeds, crops and augmentation.

CIFAR-10, whose sizes and labels only this room knows, or a folder of one's own images: `dataset`
says which. No network is known here.
"""
