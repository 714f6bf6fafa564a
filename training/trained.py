"""A trained torch network, taken from a run's checkpoint or back from a released graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import torch

from models.bundle import BundleError
from training.errors import CheckpointError
from training.export import network_weights
from training.network import network_of
from training.recipe import Recipe, recipe_from_dict

if TYPE_CHECKING:
    from models.bundle import Bundle
    from models.manifest import Variant
    from training.checkpoint import Checkpoint


def network_from_checkpoint(checkpoint: Checkpoint) -> tuple[torch.nn.Module, Recipe]:
    """Return the network of a checkpoint in inference mode, and its recipe."""
    recipe = recipe_from_dict(checkpoint.recipe, "the checkpoint's recipe")
    network = network_of(recipe)
    try:
        network.load_state_dict(checkpoint.network)
    except RuntimeError as exc:
        raise CheckpointError(f"the checkpoint's weights do not fit its recipe: {exc}") from exc
    return network.eval(), recipe


def network_from_bundle(bundle: Bundle) -> torch.nn.Module:
    """Return the torch network of an artefact, its weights read from the graph as trained.

    Raises:
        BundleError: the graph's weights are not those of the recipe's network.
    """
    variant: Variant = "unfolded" if "unfolded" in bundle.manifest.graphs else "plain"
    weights = network_weights(onnx.load_from_string(bundle.read_graph(variant)))
    recipe = recipe_from_dict(bundle.manifest.provenance.recipe, f"recipe of {bundle.path.name}")
    network = network_of(recipe)
    try:
        # The graph has no use for the batch counters, which take no part in inference.
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except RuntimeError as exc:
        raise BundleError(f"{bundle.path.name}: its graph's weights do not fit: {exc}") from exc
    wrong = [name for name in (*missing, *unexpected) if not name.endswith("num_batches_tracked")]
    if wrong:
        raise BundleError(
            f"{bundle.path.name}: its {variant} graph and its recipe disagree on {wrong[0]}"
        )
    return network.eval()
