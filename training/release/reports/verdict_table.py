"""The verdict on an artifact as tables for the terminal."""

from __future__ import annotations

from rich.table import Table

from models.bundle import Bundle
from models.manifest import FoldProof
from training.release.artifact_check import ArtifactVerdict
from training.release.quantization.effect import MAX_LOSS_POINTS
from training.release.quantization.int8_verdict import MAX_UNLIKE_SHARE, QuantizationVerdict
from training.release.verification import Verification


def layer_table(artifact: Bundle) -> Table | None:
    """Return what became of every batch norm; None for a network that has none."""
    if artifact.manifest.fold is None:
        return None
    table = Table("batch norm", "channels", "folded into", "largest scale")
    for layer in artifact.manifest.fold.layers:
        scale = "" if layer.largest_scale is None else f"{layer.largest_scale:.4g}"
        table.add_row(layer.norm, str(layer.channels), layer.into or layer.reason, scale)
    return table


def artifact_table(artifact: Bundle, verdict: ArtifactVerdict) -> Table:
    """Return what was measured, and what each figure must be for the proof to hold."""
    table = Table("measured", "value", "holds if", title=f"{artifact.name} {artifact.version}")
    rows = _torch_rows(verdict.verification) + _fold_rows(verdict.verification.fold)
    for row in rows + _int8_rows(verdict.int8):
        table.add_row(*row)
    return table


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
