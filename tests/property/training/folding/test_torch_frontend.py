"""Whatever the layer, its geometry and the statistics: folded in float64 it computes the same."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.random_networks import TOLERANCE, batch_norms, image, largest_error, randomize
from training.folding.torch_frontend import fold_network

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MODES = ("zeros", "reflect", "replicate", "circular")


@st.composite
def networks(draw):
    """A batch norm before a layer, after it, or both, and a shape of its input."""
    dims = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    channels, outputs = (groups * draw(st.integers(1, 2)) for _ in range(2))
    size = draw(st.integers(4, 5))
    geometry = {
        "kernel_size": tuple(draw(st.integers(1, 3)) for _ in range(dims)),
        "stride": draw(st.integers(1, 2)),
        "padding": draw(st.integers(0, 1)),
        "dilation": draw(st.integers(1, 2)) if size > 4 else 1,
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    transposed = draw(st.booleans())
    if not transposed:
        geometry["padding_mode"] = draw(st.sampled_from(MODES))
    layer = (TRANSPOSED if transposed else CONVOLUTIONS)[dims](channels, outputs, **geometry)
    before = draw(st.booleans()) and not transposed
    affine = draw(st.booleans())
    parts = [NORMS[dims](channels, eps=1e-3)] * before + [layer]
    if not before or draw(st.booleans()):
        parts.append(NORMS[dims](outputs, affine=affine))
    return nn.Sequential(*parts), (2, channels, *[size] * dims)


@given(networks(), st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_no_batch_norm_is_left_and_nothing_changes(drawn, seed):
    network, shape = drawn
    network = randomize(network, seed)
    folded = fold_network(network, image(*shape))
    assert batch_norms(folded.network) == []
    x = image(*shape[:2], *(size + 1 for size in shape[2:]), seed=seed)
    assert largest_error(network, folded.network, x) < TOLERANCE


@given(networks(), st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
def test_a_wrong_weight_would_show(drawn, seed):
    network, shape = drawn
    network = randomize(network, seed)
    folded = fold_network(network, image(*shape)).network
    layer = next(m for m in folded.modules() if hasattr(m, "weight"))
    with torch.no_grad():
        layer.weight *= 1.01
        layer.bias += 0.01 * layer.bias.abs().max()
    assert largest_error(network, folded, image(*shape)) > 1000 * TOLERANCE
