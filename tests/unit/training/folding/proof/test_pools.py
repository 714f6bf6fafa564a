"""The reference in float64 pools as onnxruntime does."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest

from tests.onnx_networks import network
from training.evaluation.onnx_runner import open_session
from training.folding.proof.running.reference import Reference

SIZES, KERNELS, STRIDES, DILATIONS = (5, 6, 7), (2, 3), (1, 2, 3), (1, 2)
PADS = ((0, 0), (1, 1), (0, 1), (1, 0))


@pytest.mark.parametrize(
    "operator", ["MaxPool", "AveragePool<count_include_pad = 1>", "AveragePool"]
)
def test_rounding_the_number_of_windows_up_adds_those_that_begin_in_the_input(
    operator: str,
) -> None:
    """torchvision's GoogLeNet pools so, of which ONNX's own reference makes other sizes."""
    x = np.random.default_rng(0).standard_normal((1, 2, max(SIZES))).astype(np.float32) - 3
    name, _, more = operator.partition("<")
    for size, kernel, stride, dilation, pads in itertools.product(
        SIZES, KERNELS, STRIDES, DILATIONS, PADS
    ):
        if (kernel - 1) * dilation + 1 > size:
            continue
        model = network(
            f"(float[1,2,{size}] x) => (float[] y) {{ y = {name}<ceil_mode = 1, "
            f"kernel_shape = [{kernel}], strides = [{stride}], dilations = [{dilation}], "
            f"pads = [{pads[0]}, {pads[1]}]{more and ', ' + more.rstrip('>')}>(x) }}",
            opset=19,
        )
        feed = {"x": x[:, :, :size]}
        session = open_session(ir.to_proto(model).SerializeToString(), "disable_all")
        (served,), (exact,) = session.run(None, feed), Reference(model).run(feed)
        np.testing.assert_allclose(exact, served, rtol=1e-6, atol=1e-6)
