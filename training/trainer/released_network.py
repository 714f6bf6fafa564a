"""The torch network of an artifact, read back from its graph.

A module of its own: `foldnorm train` need not wait for onnx and the exporter.
"""

from __future__ import annotations

import onnx
import torch

from models.bundle import Bundle, BundleError
from models.manifest import Variant
from training.export.exporter import network_weights
from training.recipes.recipe import recipe_from_dict
from training.trainer.networks import network_of


def network_from_artifact(artifact: Bundle) -> torch.nn.Module:
    """Return the torch network of an artifact, its weights read from the graph as trained.

    Raises:
        BundleError: the graph's weights are not those of the recipe's network.
    """
    variant: Variant = "unfolded" if "unfolded" in artifact.manifest.graphs else "plain"
    weights = network_weights(onnx.load_from_string(artifact.read_graph(variant)))
    recipe = recipe_from_dict(
        artifact.manifest.provenance.recipe, f"recipe of {artifact.path.name}"
    )
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
