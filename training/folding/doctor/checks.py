"""Every check of one batch norm.

A check returns a finding, or None. Those of scales are asked of sound norms only: what is broken
is reported once.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from training.folding.algebra.affine import channels_named
from training.folding.doctor.finding import Finding
from training.folding.doctor.record import NormRecord

DEAD_SHARE = 1e-4  # of the layer's largest |gamma|: that much less than the others says nothing
LARGE_SCALE = 100.0  # float16 then has two digits less than the layer's output needs
MAX_FLOAT16 = 65504.0
FLOAT16_UNIT, BFLOAT16_UNIT = 2.0**-11, 2.0**-8  # largest relative rounding error of a weight
RECOMPUTE = "recompute the statistics on training data before it is used"


def training_mode(norm: NormRecord) -> Finding | None:
    """Outputs depend on what else is in the batch."""
    if not norm.trains:
        return None
    return Finding(
        "error",
        "training_mode",
        norm.name,
        "training_mode=1: it takes the statistics of its own batch",
        "export the network in inference mode: model.eval(), and statistics that are kept",
    )


def missing_statistics(norm: NormRecord) -> Finding | None:
    """There is nothing to normalize with; what a graph computes is told by `kept`."""
    if norm.trains or norm.kept is not None:
        return None
    missing = [n for n, v in (("running_mean", norm.mean), ("running_var", norm.var)) if v is None]
    if not missing:
        return None
    return Finding(
        "error",
        "missing_statistics",
        norm.name,
        f"no constant {' and no constant '.join(missing)}",
        f"build the layer with track_running_stats=True; {RECOMPUTE}",
    )


def never_updated(norm: NormRecord) -> Finding | None:
    """Statistics as they were at the start of training."""
    if norm.mean is None or norm.var is None:
        return None
    initial = not norm.mean.any() and bool((norm.var == 1).all())
    if not initial and norm.batches != 0:
        return None
    counted = "" if norm.batches is None else f"num_batches_tracked {norm.batches}; "
    values = "mean all 0 and var all 1" if initial else "mean and var are not the initial 0 and 1"
    return Finding(
        "error" if initial and norm.batches == 0 else "warning",
        "never_updated",
        norm.name,
        counted + values,
        f"{RECOMPUTE}, or train with the layer in train mode"
        if initial
        else "nothing if the weights come from before torch 0.4.1, which did not count; else "
        + RECOMPUTE,
    )


def broken_statistics(norm: NormRecord) -> Finding | None:
    """Not finite, below zero, or no number of channels."""
    named = (
        ("weight", norm.gamma),
        ("bias", norm.beta),
        ("running_mean", norm.mean),
        ("running_var", norm.var),
    )
    found = []
    for name, values in named:
        broken = np.flatnonzero(~np.isfinite(values)) if values is not None else np.array([], int)
        if values is not None and broken.size:
            found.append(f"{name} is {values[broken[0]]} in {channels_named(broken)}")
    if norm.var is not None:
        negative = np.flatnonzero(np.isfinite(norm.var) & (norm.var < 0))
        if negative.size:
            lowest = norm.var[negative].min()
            found.append(f"running_var is down to {lowest:.3g} in {channels_named(negative)}")
        flat = np.flatnonzero((norm.var >= 0) & ~(norm.var + norm.used_eps > 0))
        if flat.size:
            found.append(f"running_var + eps is 0 in {channels_named(flat)}")
    sizes = {values.size for _, values in named if values is not None}
    if len(sizes) > 1:
        found.append(f"its vectors have {' and '.join(map(str, sorted(sizes)))} channels")
    if not found:
        return None
    return Finding(
        "error",
        "broken_statistics",
        norm.name,
        "; ".join(found),
        "take an earlier checkpoint, and see why training diverged",
    )


def tiny_variance(norm: NormRecord) -> Finding | None:
    """Where eps, and not the data, decides the scale."""
    assert norm.var is not None, "asked of sound norms only"
    tiny = np.flatnonzero(norm.var <= norm.used_eps)
    if not tiny.size:
        return None
    scale = np.abs(norm.scale[tiny]).max()
    return Finding(
        "warning",
        "tiny_variance",
        norm.name,
        f"variance down to {norm.var[tiny].min():.3g}, at most eps, in {channels_named(tiny)} of "
        f"{norm.var.size}; {norm.named_eps}, scale gamma / sqrt(var + eps) up to {scale:.4g}",
        "the channel hardly varies, and any input that makes it vary is amplified: prune it, or "
        "recompute the statistics; fold in float32 or finer",
    )


def negative_gamma(norm: NormRecord) -> Finding | None:
    """A max pool turns into a min pool under a negative scale."""
    if norm.gamma is None or not (norm.gamma < 0).any():
        return None
    negative = np.flatnonzero(norm.gamma < 0)
    found = f"gamma down to {norm.gamma.min():.3g} in {channels_named(negative)} of "
    found += str(norm.gamma.size)
    if norm.blocks_pool:
        return Finding(
            "warning",
            "negative_gamma",
            norm.name,
            f"{found}; {norm.kept}",
            "put the batch norm before the pool when the network is trained, or keep it",
        )
    return Finding(
        "note", "negative_gamma", norm.name, found, "nothing, unless a max pool is to be passed"
    )


def dead_channels(norm: NormRecord) -> Finding | None:
    """Channels that are their beta, whatever comes in."""
    if norm.gamma is None or not norm.gamma.size:
        return None
    size = np.abs(norm.gamma)
    dead = np.flatnonzero(size <= DEAD_SHARE * size.max())
    if not dead.size:
        return None
    every = dead.size == size.size
    return Finding(
        "warning" if every else "note",
        "dead_channels",
        norm.name,
        f"|gamma| at most {size[dead].max():.3g} in {channels_named(dead)} of {size.size}; the "
        f"largest is {size.max():.3g}",
        "the layer's output is constant: was this branch ever trained?"
        if every
        else "nothing; pruning these channels loses next to nothing",
    )


def large_scale(norm: NormRecord) -> Finding | None:
    """Rounding errors before the layer grow by its scale."""
    assert norm.var is not None, "asked of sound norms only"
    scale = np.where(norm.var > norm.used_eps, np.abs(norm.scale), 0.0)  # others: tiny_variance
    largest = float(scale.max(initial=0.0))
    if not largest > LARGE_SCALE:
        return None
    return Finding(
        "warning",
        "large_scale",
        norm.name,
        f"scale up to {largest:.4g} in {channels_named(np.array([scale.argmax()]))}, "
        f"{norm.named_eps}; "
        f"per unit of the layer before, its weights' rounding alone gives an error of "
        f"{largest * FLOAT16_UNIT:.2g} in float16, {largest * BFLOAT16_UNIT:.2g} in bfloat16",
        "fold in float32 or finer, round once after that, and compare with 'foldnorm verify'",
    )


def float16_overflow(norm: NormRecord) -> Finding | None:
    """Folded weights that float16 cannot hold; bfloat16 has the range of float32."""
    if norm.folded_weight is not None:
        what, largest = "the weights that it was folded into are", norm.folded_weight
    else:
        largest = float(max(np.abs(norm.scale).max(initial=0), np.abs(norm.shift).max(initial=0)))
        what = "its scale and shift are"
    if largest <= MAX_FLOAT16:
        return None
    return Finding(
        "warning",
        "float16_overflow",
        norm.name,
        f"{what} up to {largest:.4g}, and float16 holds at most {MAX_FLOAT16:g}",
        "fold in float32 and keep the layer in float32 or bfloat16",
    )


def kept(norm: NormRecord) -> Finding | None:
    """The graph does not let it go; broken statistics are told once."""
    unknown = norm.mean is None or norm.var is None
    if norm.kept is None or norm.blocks_pool or norm.trains or not (norm.sound or unknown):
        return None
    return Finding(
        "note", "kept", norm.name, f"cannot be folded: {norm.kept}", "nothing: it stays and is run"
    )


ALWAYS = (training_mode, missing_statistics, never_updated, broken_statistics, kept)
OF_SOUND_NORMS = (
    tiny_variance,
    negative_gamma,
    dead_channels,
    large_scale,
    float16_overflow,
)


def examine(norms: Iterable[NormRecord]) -> list[Finding]:
    """Return what all checks find, norm by norm."""
    findings = []
    for norm in norms:
        checks = (*ALWAYS, *OF_SOUND_NORMS) if norm.sound and not norm.trains else ALWAYS
        findings += [finding for check in checks if (finding := check(norm)) is not None]
    return findings
