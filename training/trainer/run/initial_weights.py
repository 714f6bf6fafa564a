"""A warm start: the weights of an earlier run or of an artifact, under any recipe."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from models.bundle import MANIFEST_FILE, load_bundle
from training.errors import CheckpointError
from training.trainer.run import checkpoint
from training.trainer.run.saved_networks import network_from_artifact

COUNTERS = "num_batches_tracked"  # take no part where the momentum is a number, as it is here


@dataclass(frozen=True)
class InitialWeights:
    """Weights by their names in the network, and where they are from."""

    source: str  # the run's folder or the artifact, by its last name
    recipe: str
    seed: int
    epochs: int
    weights: dict[str, torch.Tensor] = field(repr=False)

    @property
    def origin(self) -> dict[str, Any]:
        """What a checkpoint and a manifest keep of it."""
        return {
            "source": self.source,
            "recipe": self.recipe,
            "seed": self.seed,
            "epochs": self.epochs,
            "sha256": _digest(self.weights),
        }


def read_initial_weights(path: Path) -> InitialWeights:
    """Read the weights of a run's folder, of a checkpoint file, or of an artifact's folder.

    Raises:
        CheckpointError: there is nothing of these, or the checkpoint is damaged.
        BundleError: the artifact is damaged.
    """
    if (path / MANIFEST_FILE).is_file():
        artifact = load_bundle(path)
        made = artifact.manifest.trained
        weights = dict(network_from_artifact(artifact).state_dict())
        return InitialWeights(path.resolve().name, artifact.name, made.seed, made.epochs, weights)
    file = path / checkpoint.FILE_NAME if path.is_dir() else path
    found = checkpoint.load_checkpoint(file)
    source = file.resolve().parent.name
    recipe = str(found.recipe["name"])
    return InitialWeights(source, recipe, found.seed, len(found.history), found.network)


def load_initial(initial: InitialWeights, network: torch.nn.Module) -> None:
    """Give the network these weights: all of them, or none.

    Raises:
        CheckpointError: one is missing, has another shape, or is not the network's.
    """
    wanted = {name: value for name, value in network.state_dict().items() if COUNTERS not in name}
    given = {name: value for name, value in initial.weights.items() if COUNTERS not in name}
    for name in sorted(wanted.keys() | given.keys()):
        here, there = (_shape(one.get(name)) for one in (wanted, given))
        if here != there:
            raise CheckpointError(
                f"the weights of {initial.source} are of another network: {name} is {there} there, "
                f"and {here} here; take a run with the same network options"
            )
    network.load_state_dict(given, strict=False)


def same_origin(
    given: dict[str, Any] | None, found: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Return where a checkpoint's run began, which a new call need not give again.

    Raises:
        CheckpointError: the call gives another.
    """
    if given and given != found:
        began = describe_origin(found) if found else "random weights"
        raise CheckpointError(
            f"the checkpoint's run began with {began}, not with {describe_origin(given)}; go on "
            "without --initialize-from, or take another --run-dir"
        )
    return found


def describe_origin(origin: dict[str, Any]) -> str:
    """Return where a run's first weights are from, for a sentence."""
    return (
        f"the weights of {origin['source']} (recipe {origin['recipe']}, seed {origin['seed']}, "
        f"{origin['epochs']} epochs)"
    )


def _shape(weight: torch.Tensor | None) -> str:
    return "missing" if weight is None else str(tuple(weight.shape))


def _digest(weights: dict[str, torch.Tensor]) -> str:
    """Return the SHA-256 of names and values, the counters left out."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        if COUNTERS not in name:
            digest.update(name.encode())
            digest.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
