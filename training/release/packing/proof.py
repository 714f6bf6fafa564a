"""The proof of a packed artifact, from its files alone: no data and no torch are needed."""

from __future__ import annotations

import numpy as np
import onnx

from models.bundle import Bundle
from models.manifest import Variant
from models.tensors import INPUT_NAME
from training.errors import VerificationError
from training.folding.onnx_fold import read_proto
from training.folding.proof.prove import UNCHANGED, compare_models
from training.folding.proof.running.reference import Reference
from training.folding.proof.tolerances import ALGEBRA_TOLERANCE, largest_difference
from training.folding.proof.verdict import Verdict


def check_packed(artifact: Bundle) -> Verdict:
    """Return whether the graphs are one network, their hashes and golden logits checked first.

    Raises:
        BundleError: a file is missing or is not the released one.
        VerificationError: the golden logits are another network's.
    """
    artifact.verify()
    graphs = artifact.manifest.graphs
    first: Variant = "unfolded" if "unfolded" in graphs else "plain"
    original = read_proto(onnx.load_from_string(artifact.read_graph(first)))
    golden, reference = artifact.read_golden(), Reference(original)
    found = np.concatenate([reference.run({INPUT_NAME: one[None]})[0] for one in golden.images])
    error = largest_difference(found, golden.logits)
    limit = ALGEBRA_TOLERANCE * float(np.abs(golden.logits).max())
    if not error <= limit:
        raise VerificationError(
            f"{artifact.path}: its golden logits are off by {error:.3g} from the graph's own in "
            f"float64, at most {limit:.3g} is rounding; pack the network again"
        )
    if first == "plain":
        return UNCHANGED
    return compare_models(
        original, read_proto(onnx.load_from_string(artifact.read_graph("folded")))
    )
