"""The proof of an artifact: its graphs and the torch network that they came from are the same.

An int8 graph is none of these: it is checked to be their rounding, and measured again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from torch import nn

from models.bundle import Bundle
from training.data.cifar10 import Split
from training.errors import VerificationError
from training.folding.proof.tolerances import ALGEBRA_TOLERANCE, largest_difference
from training.release.quantization.int8_verdict import QuantizationVerdict, judge_quantization
from training.release.verification import Verification, exact_logits, verify_graphs
from training.trainer.run.saved_networks import network_from_artifact


@dataclass(frozen=True)
class ArtifactVerdict:
    """The verdict on an artifact, measured on the whole test set.

    Attributes:
        verification: whether torch network, unfolded graph and folded graph are the same network.
        int8: whether the int8 graph is their rounding; None where there is none.
    """

    verification: Verification
    int8: QuantizationVerdict | None

    @property
    def holds(self) -> bool:
        """Whether every part of it holds."""
        return self.verification.holds and (self.int8 is None or self.int8.holds)


def check_artifact(artifact: Bundle, test: Split) -> ArtifactVerdict:
    """Return the verdict on an artifact, its files' hashes checked first.

    Raises:
        BundleError: a file is missing or is not the released one.
        VerificationError: graph, manifest, labels or golden logits do not fit together.
    """
    artifact.verify()
    return ArtifactVerdict(verify_artifact(artifact, test), judge_quantization(artifact, test))


def verify_artifact(artifact: Bundle, test: Split) -> Verification:
    """Return the verdict on an artifact, its torch network rebuilt from the unfolded graph."""
    graphs = artifact.manifest.graphs
    check_contract(artifact)
    unfolded = artifact.read_graph("unfolded" if "unfolded" in graphs else "plain")
    folded = artifact.read_graph("folded") if "folded" in graphs else None
    network = network_from_artifact(artifact)
    check_golden(artifact, network)
    return verify_graphs(network, unfolded, folded, test.images)


def check_contract(artifact: Bundle) -> None:
    """Compare labels, the manifest's tensors and those of each graph.

    Raises:
        VerificationError: they do not fit together.
    """
    manifest, classes = artifact.manifest, len(artifact.manifest.labels)
    remedy = "train and export it again"
    for output in manifest.outputs:
        if output.shape[-1] != classes:
            raise VerificationError(
                f"{artifact.path}: its manifest states {output.shape[-1]} {output.name}, and names "
                f"{classes} labels; {remedy}"
            )
    for variant, record in manifest.graphs.items():
        graph = onnx.load_from_string(artifact.read_graph(variant)).graph
        found = {value.name: _shape(value) for value in (*graph.input, *graph.output)}
        for spec in (manifest.input, *manifest.outputs):
            if found.get(spec.name) != spec.shape[1:]:
                raise VerificationError(
                    f"{artifact.path}: {spec.name!r} of {record.file} is "
                    f"{found.get(spec.name, 'missing')} an image, and the manifest states "
                    f"{spec.shape[1:]}; {remedy}"
                )


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Return the sizes of a graph's input or output without the batch."""
    return tuple(size.dim_value for size in value.type.tensor_type.shape.dim)[1:]


def check_golden(artifact: Bundle, network: nn.Module) -> None:
    """Recompute the golden logits.

    Raises:
        VerificationError: they are another network's.
    """
    golden = artifact.read_golden()
    error = largest_difference(exact_logits(network, golden.images), golden.logits)
    limit = ALGEBRA_TOLERANCE * float(np.abs(golden.logits).max())
    if not error <= limit:
        raise VerificationError(
            f"{artifact.path}: its golden logits are off by {error:.3g} from the network's own in "
            f"float64, at most {limit:.3g} is rounding; export the artifact again"
        )
