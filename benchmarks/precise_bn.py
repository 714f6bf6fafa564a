"""What statistics estimated anew give the released BN network, on all 10,000 test images.

    python -m benchmarks.precise_bn --data-dir data --output benchmarks/results/precise_bn.json

The running averages as trained, then PreciseBN from the first 2,000 to 25,000 training images as
they are; one network, one seed, so the counts have the sampling error of the test images alone.
"""

from __future__ import annotations

import argparse
import copy
import json
from contextlib import nullcontext
from pathlib import Path

import torch

from models.bundle import load_bundle
from training.data.cifar10 import load_cifar10
from training.data.device_split import DeviceSplit
from training.trainer.evaluate import evaluate_network
from training.trainer.methods.precise_bn import apply_precise_bn
from training.trainer.run.saved_networks import network_from_artifact

IMAGES = (2_000, 8_000, 25_000)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--artifact", type=Path, default=Path("models/artifacts/keras-bn-1.1.0"))
    given = parser.parse_args()
    device = torch.device("cpu")
    train, test = (DeviceSplit.place(split, device) for split in load_cifar10(given.data_dir))
    network = network_from_artifact(load_bundle(given.artifact))
    accuracy = evaluate_network(network, test, 0.0).accuracy
    result = {
        "artifact": given.artifact.name,
        "test_images": len(test.labels),
        "running_averages": accuracy,
    }
    for count in IMAGES:
        copied = copy.deepcopy(network)
        used = apply_precise_bn(copied, train.images[:count], nullcontext())
        result[f"precise_bn_{used}_images"] = evaluate_network(copied, test, 0.0).accuracy
    given.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
