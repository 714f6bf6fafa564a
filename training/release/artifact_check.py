"""The proof of an artifact: its graphs and the torch network that they came from are the same.

An int8 graph is none of these: it is checked to be their rounding, and measured again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from models.bundle import Bundle, load_bundle
from models.manifest import FoldProof
from training.data.cifar10 import Split, load_test_split
from training.errors import VerificationError
from training.folding.proof.tolerances import ALGEBRA_TOLERANCE, largest_difference
from training.release.quantization.effect import MAX_LOSS_POINTS
from training.release.quantization.int8_verdict import (
    MAX_UNLIKE_SHARE,
    QuantizationVerdict,
    judge_quantization,
)
from training.release.verification import Verification, exact_logits, verify_graphs
from training.trainer.released_network import network_from_artifact


@dataclass(frozen=True)
class ArtifactVerdict:
    """The verdict on an artifact.

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


def prove_artifact(artifact: Path, data_dir: Path, threads: int | None, *, as_json: bool) -> None:
    """Print the verdict on an artifact, on the whole test set.

    Raises:
        VerificationError: the proof fails.
    """
    if threads:
        torch.set_num_threads(threads)
    released = load_bundle(artifact)
    verdict = judge_artifact(released, load_test_split(data_dir))
    if as_json:
        int8 = verdict.int8 and asdict(verdict.int8)
        table = {**asdict(verdict.verification), "int8": int8, "holds": verdict.holds}
        typer.echo(json.dumps(table, indent=1))
    else:
        _print_verdict(released, verdict)
    if not verdict.holds:
        raise VerificationError(f"{artifact}: the proof fails; do not serve this artifact")


def judge_artifact(artifact: Bundle, test: Split) -> ArtifactVerdict:
    """Return the verdict on an artifact, after checking the hash of each of its files.

    Raises:
        BundleError: a file is missing or damaged.
        VerificationError: labels, tensors or golden logits are another network's.
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


def _print_verdict(artifact: Bundle, verdict: ArtifactVerdict) -> None:
    verification, int8 = verdict.verification, verdict.int8
    console = Console()
    if artifact.manifest.fold:
        layers = Table("batch norm", "channels", "folded into", "largest scale")
        for layer in artifact.manifest.fold.layers:
            scale = "" if layer.largest_scale is None else f"{layer.largest_scale:.4g}"
            layers.add_row(layer.norm, str(layer.channels), layer.into or layer.reason, scale)
        console.print(layers)
    measured = Table("measured", "value", "holds if", title=f"{artifact.name} {artifact.version}")
    for row in _torch_rows(verification) + _fold_rows(verification.fold) + _int8_rows(int8):
        measured.add_row(*row)
    console.print(measured)
    console.print(f"verdict: {'the proof holds' if verdict.holds else 'THE PROOF FAILS'}")


def _torch_rows(verification: Verification) -> list[tuple[str, str, str]]:
    torch32 = verification.torch
    return [
        ("test images", f"{torch32.images:,}", ""),
        ("largest logit", f"{torch32.scale:.5g}", ""),
        ("torch float32, error against float64", f"{torch32.torch_error_float32:.3g}", ""),
        (
            "graph as trained, error against float64",
            f"{torch32.graph_error_float32:.3g}",
            "<= 3 x torch's + 1e-6 x scale",
        ),
        ("labels changed, torch to graph", *_changes(torch32.label_changes)),
        ("… not explained by rounding", str(torch32.unexplained_label_changes), "= 0"),
    ]


def _fold_rows(fold: FoldProof | None) -> list[tuple[str, str, str]]:
    if fold is None:
        return []
    return [
        ("algebra of the fold in float64", f"{fold.algebra_error_float64:.3g}", "<= 1e-10 x scale"),
        (
            "folded graph, error against float64",
            f"{fold.folded_error_float32:.3g}",
            "<= 3 x unfolded's + 1e-6 x scale",
        ),
        (
            "largest logit difference, folded to unfolded",
            f"{fold.largest_logit_difference:.3g}",
            "",
        ),
        ("mean logit difference", f"{fold.mean_logit_difference:.3g}", ""),
        ("relative L2 difference", f"{fold.relative_l2_difference:.3g}", ""),
        ("largest probability difference", f"{fold.largest_probability_difference:.3g}", ""),
        ("adversarial inputs, error over allowance", f"{fold.adversarial_error_ratio:.3g}", "<= 1"),
        ("labels changed, unfolded to folded", *_changes(fold.label_changes)),
        ("… not explained by rounding", str(fold.unexplained_label_changes), "= 0"),
    ]


def _int8_rows(int8: QuantizationVerdict | None) -> list[tuple[str, str, str]]:
    if int8 is None:
        return []
    effect = int8.effect
    return [
        ("int8, largest weight error in steps", f"{int8.weight_error_steps:.5f}", "<= 1/2"),
        ("int8, golden logits", f"{int8.golden_error:.3g}", f"<= {int8.golden_tolerance:.3g}"),
        (
            "int8, accuracy against float32",
            f"{effect.accuracy_difference_points:+.2f} points",
            f">= -{MAX_LOSS_POINTS} points",
        ),
        ("int8, labels changed", str(effect.label_changes), "as measured"),
        (
            "int8, images right or wrong unlike stated",
            str(int8.answers_unlike_stated),
            f"<= {MAX_UNLIKE_SHARE:.1%} of them",
        ),
    ]


def _changes(count: int) -> tuple[str, str]:
    return str(count), "each within the margin rule"
