"""The command line on a few random images in place of CIFAR-10, in a process of its own.

    python small_foldnorm.py train keras-bn --data-dir none …

To be stopped, killed, or started by torchrun.
"""

import training.data.cifar10
from tests.small_runs import random_images


def few_images(_data_dir):
    return random_images(246, seed=1), random_images(60, seed=2)


training.data.cifar10.load_cifar10 = few_images  # before anything imports it by name

if __name__ == "__main__":
    from training.cli.entry import main

    main()
