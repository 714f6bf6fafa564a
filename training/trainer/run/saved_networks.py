"""The network of a checkpoint or of an artifact, with its weights."""

from __future__ import annotations

import torch

from models.bundle import Bundle, BundleError
from models.manifest import Variant
from training.errors import CheckpointError
from training.recipes import Recipe, recipe_from_dict
from training.trainer.networks import network_of
from training.trainer.run.checkpoint import Checkpoint


def network_from_checkpoint(checkpoint: Checkpoint) -> tuple[torch.nn.Module, Recipe]:
    """Return the network of a checkpoint in inference mode, and its recipe."""
    recipe = recipe_from_dict(checkpoint.recipe, "the checkpoint's recipe")
    network = network_of(recipe)
    try:
        network.load_state_dict(checkpoint.network)
    except RuntimeError as exc:
        raise CheckpointError(f"the checkpoint's weights do not fit its recipe: {exc}") from exc
    return network.eval(), recipe


def network_from_artifact(artifact: Bundle) -> torch.nn.Module:
    """Return the torch network of an artifact, its weights read from the graph as trained.

    Raises:
        BundleError: the graph's weights are not those of the recipe's network.
    """
    import onnx  # slow, and training needs none of it

    from training.export.exporter import network_weights

    variant: Variant = "unfolded" if "unfolded" in artifact.manifest.graphs else "plain"
    weights = network_weights(onnx.load_from_string(artifact.read_graph(variant)))
    recipe = recipe_from_dict(artifact.manifest.trained.recipe, f"recipe of {artifact.path.name}")
    network = network_of(recipe)
    try:
        # The graph has no use for the batch counters, which take no part in inference.
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except RuntimeError as exc:
        raise BundleError(f"{artifact.path.name}: its graph's weights do not fit: {exc}") from exc
    wrong = [name for name in (*missing, *unexpected) if not name.endswith("num_batches_tracked")]
    if wrong:
        raise BundleError(
            f"{artifact.path.name}: its {variant} graph and its recipe disagree on {wrong[0]}"
        )
    return network.eval()
