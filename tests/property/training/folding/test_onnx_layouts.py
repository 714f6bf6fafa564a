"""Whatever ONNX moves between a layer and a batch norm, the folded network computes the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.onnx_networks import ALGEBRA, algebra_error, batch_norms, norm
from training.folding.onnx_frontend import fold_model

BATCH = 7  # the first size, or what a free one is here; its axis stays the first


class _Chain:
    """A convolution, operators that move numbers, a batch norm, more of them, and a layer."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.free = bool(self.rng.integers(2))
        self.shape = [BATCH, 3, 4, 6]
        self.name = "x"
        self._conv(int(self.rng.choice([4, 6, 8, 12])))
        self._some()
        self._norm()
        if self.rng.integers(2):
            self._some()
            self._layer()

    def model(self) -> ir.Model:
        kind = TensorProto.FLOAT
        sizes = ["N" if self.free else BATCH, 3, 4, 6]
        graph = helper.make_graph(
            self.nodes,
            "chain",
            [helper.make_tensor_value_info("x", kind, sizes)],
            [helper.make_tensor_value_info(self.name, kind, None)],
            [numpy_helper.from_array(array, name) for name, array in self.arrays.items()],
        )
        graph.output[0].type.tensor_type.ClearField("shape")
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return ir.from_proto(proto)

    def _add(self, kind: str, *inputs: object, outputs: int = 1, **attributes: object) -> list[str]:
        number = len(self.nodes)
        names = [self.name, *(self._constant(one) for one in inputs)]
        results = [f"{kind.lower()}{number}_{place}" for place in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, results, name=f"n{number}", **attributes))
        self.name = results[0]
        return results

    def _constant(self, array: object) -> str:
        name = f"c{len(self.arrays)}"
        self.arrays[name] = np.asarray(array)
        return name

    def _conv(self, channels: int) -> None:
        weight = self.rng.normal(size=(channels, self.shape[1], 1, 1)).astype(np.float32)
        self._add("Conv", weight)
        self.shape[1] = channels

    def _layer(self) -> None:
        """On axis 1 or on the last one, as the rank allows it."""
        if len(self.shape) == 4 and self.rng.integers(2):
            self._conv(2)
        else:
            weight = self.rng.normal(size=(self.shape[-1], 2)).astype(np.float32)
            self._add("MatMul", weight)

    def _norm(self) -> None:
        channels = self.shape[1]
        parts = int(self.rng.choice([n for n in (1, 2, 4) if channels % n == 0]))
        vectors = norm(channels // parts, seed=int(self.rng.integers(99))).values()
        repeats = (np.tile, np.repeat)[self.rng.integers(2)]  # alike in blocks, as after flattening
        self._add("BatchNormalization", *(repeats(vector, parts) for vector in vectors))

    def _some(self) -> None:
        for _ in range(int(self.rng.integers(1, 4))):
            steps = (self._reshape, self._transpose, self._slice, self._gather, self._depth,
                     self._unsqueeze, self._flatten, self._split)  # fmt: skip
            steps[self.rng.integers(len(steps))]()

    def _reshape(self) -> None:
        sizes = list(self.shape)
        axis = int(self.rng.integers(len(sizes) - 1))
        if self.rng.integers(2) and len(sizes) > 2:
            sizes[axis : axis + 2] = [sizes[axis] * sizes[axis + 1]]
        else:
            divisor = int(
                self.rng.choice([n for n in (2, 3, 7) if sizes[axis + 1] % n == 0] or [1])
            )
            sizes[axis + 1 : axis + 2] = [divisor, sizes[axis + 1] // divisor]
        target = [0 if k < len(self.shape) and k < axis else size for k, size in enumerate(sizes)]
        if axis == 0:
            target[0] = -1
        elif self.rng.integers(2):
            target[int(self.rng.integers(axis, len(sizes)))] = -1
        self._add("Reshape", np.array(target))
        self.shape = sizes

    def _transpose(self) -> None:
        order = [0, *(1 + self.rng.permutation(len(self.shape) - 1)).tolist()]
        self._add("Transpose", perm=order)
        self.shape = [self.shape[axis] for axis in order]

    def _slice(self) -> None:
        axis = int(self.rng.integers(1, len(self.shape)))
        size = self.shape[axis]
        start, end = (int(one) for one in self.rng.integers(-size - 2, size + 3, 2))
        step = int(self.rng.choice([-2, -1, 1, 2]))
        left = len(range(size)[start:end:step])
        if left:
            named = axis - len(self.shape) if self.rng.integers(2) else axis
            self._add("Slice", *(np.array([one]) for one in (start, end, named, step)))
            self.shape[axis] = left

    def _gather(self) -> None:
        axis = int(self.rng.integers(1, len(self.shape)))
        places = self.rng.integers(
            -self.shape[axis], self.shape[axis], int(self.rng.integers(1, 5))
        )
        if self.rng.integers(3) == 0 and len(self.shape) > 2:
            self._add("Gather", places[0], axis=axis)
            del self.shape[axis]
        else:
            self._add("Gather", places, axis=axis)
            self.shape[axis] = len(places)

    def _depth(self) -> None:
        if len(self.shape) != 4:
            return
        batch, channels, height, width = self.shape
        if channels % 4 == 0 and self.rng.integers(2):
            mode = ("DCR", "CRD")[self.rng.integers(2)]
            self._add("DepthToSpace", blocksize=2, mode=mode)
            self.shape = [batch, channels // 4, 2 * height, 2 * width]
        elif height % 2 == width % 2 == 0:
            self._add("SpaceToDepth", blocksize=2)
            self.shape = [batch, 4 * channels, height // 2, width // 2]

    def _unsqueeze(self) -> None:
        axis = int(self.rng.integers(1, len(self.shape) + 1))
        if 1 in self.shape and self.rng.integers(2) and len(self.shape) > 2:
            axis = self.shape.index(1)
            self._add("Squeeze", np.array([axis]))
            del self.shape[axis]
        else:
            self._add("Unsqueeze", np.array([axis]))
            self.shape.insert(axis, 1)

    def _flatten(self) -> None:
        axis = int(self.rng.integers(1, len(self.shape)))
        self._add("Flatten", axis=axis)
        self.shape = [int(np.prod(self.shape[:axis])), int(np.prod(self.shape[axis:]))]

    def _split(self) -> None:
        axis = int(self.rng.integers(1, len(self.shape)))
        size = self.shape[axis]
        if size > 1:
            place = int(self.rng.integers(1, size))
            results = self._add("Split", np.array([place, size - place]), outputs=2, axis=axis)
            which = int(self.rng.integers(2))
            self.name = results[which]
            self.shape[axis] = (place, size - place)[which]


def _check(seed: int) -> bool:
    """Fold a random network and compare; return whether its batch norm went."""
    model = _Chain(seed).model()
    onnx.shape_inference.infer_shapes(ir.to_proto(model), strict_mode=True)
    assert algebra_error(model) < ALGEBRA
    return not batch_norms(fold_model(model).model)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.integers(0, 2**32 - 1))
def test_a_batch_norm_among_moved_numbers_is_folded_exactly_or_stays(seed):
    _check(seed)


def test_many_of_them_are_folded():
    assert sum(_check(seed) for seed in range(100)) > 30
