"""What a network and its fold return for the same inputs.

truth       the network in float64
algebra     the fold in float64, its weights never rounded
unfolded    the network as it is
folded      the fold as it is

What is computed as it is runs with oneDNN's kernels and without them, and counts as whichever is
farther from the truth: on a single input one of them may be exact by chance. Folding rounds weights
once, so the unfolded network is also computed in float64 with weights and inputs half a step of
its type away. Inputs are the example, and seeded ones of its shapes. Those where rounding grows too
much say nothing, and are left out.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.errors import UntestedError
from training.folding.proof.evidence import FLOOR_STEPS, Evidence
from training.folding.proof.inputs.seeded import Feed, feeds
from training.folding.proof.inputs.sizes import InputSpec, sizes_to_try
from training.folding.proof.judging import judge
from training.folding.proof.tolerances import (
    ALGEBRA_TOLERANCE,
    ERROR_FLOOR,
    FourLogits,
    largest_difference,
)
from training.folding.proof.verdict import Verdict
from training.folding.torch_frontend.arrays import float64, numpy_dtype
from training.folding.torch_frontend.capture.observation import run, tensors_of
from training.folding.torch_frontend.capture.precision import InFloat64
from training.folding.torch_frontend.capture.tracing import first_line

MAX_GROWTH = 1e3  # of rounding errors: of seven digits four are left, and chance decides the rest
Array = NDArray[np.float64]
Inputs = tuple[torch.Tensor, ...]


def prove(original: nn.Module, folded: nn.Module, exact: nn.Module, inputs: Inputs) -> Verdict:
    """Return whether a fold changed nothing but rounding.

    `exact` is the fold in float64, its weights never rounded. It and the original are set to
    inference mode.

    Raises:
        UntestedError: the network cannot be computed in float64, so that nothing can be said.
    """
    every = list(_Networks(original, folded, exact).evidence(inputs))
    limit = MAX_GROWTH * _step(original)
    telling = [one for one in every if not limit < one.four.noise < np.inf]
    left_out = len(every) - len(telling)
    note = (
        f"{left_out} of {len(every)} left out, where rounding grows more than {MAX_GROWTH:g} times"
    )
    return judge(telling, (note,) * bool(left_out))


class _Networks:
    def __init__(self, original: nn.Module, folded: nn.Module, exact: nn.Module) -> None:
        self._truth = _for_inference(original).double()
        self._algebra = exact.eval()
        self._unfolded = original.eval()
        self._folded = _for_inference(folded)
        self._step = _step(original)
        self._floor = _floor(self._step)
        self._near = _near(original, self._step)

    def evidence(self, inputs: Inputs) -> Iterator[Evidence]:
        """Yield what each output is for each kind of input; those it does not take are left out."""
        given = ("given",) * (inputs[0].shape[0] if inputs and inputs[0].dim() else 1)
        yield from self._compared(inputs, given)
        specs = _specs(inputs)
        for feed in feeds(specs, sizes_to_try(specs)[0]):
            like_example = _tensors(feed, inputs)
            if _takes(self._unfolded, like_example):
                yield from self._compared(like_example, feed.kinds)

    def _compared(self, inputs: Inputs, kinds: tuple[str, ...]) -> Iterator[Evidence]:
        truth = _exact_outputs(self._truth, inputs)
        four = (
            truth,
            _exact_outputs(self._algebra, inputs),
            _worst(truth, *_own_outputs(self._unfolded, inputs), self._near_outputs(inputs)),
            _worst(truth, *_own_outputs(self._folded, inputs)),
        )
        sizes = tuple(inputs[0].shape) if inputs else ()
        for number, every in enumerate(zip(*four, strict=True)):
            batched = all(array.shape[:1] == (len(kinds),) for array in every)
            for kind in dict.fromkeys(kinds) if batched else ("all",):
                chosen: Any = [one == kind for one in kinds] if batched else ...
                truth, algebra, unfolded, folded = (array[chosen] for array in every)
                compared = FourLogits(truth, algebra, unfolded, folded, self._floor)
                yield Evidence(f"output {number}", kind, sizes, compared)

    def _near_outputs(self, inputs: Inputs) -> list[Array]:
        generator = torch.Generator().manual_seed(1)
        near = tuple(_half_a_step_from(tensor, self._step, generator) for tensor in inputs)
        return _exact_outputs(self._near, near)


def _near(network: nn.Module, step: float) -> nn.Module:
    """Return a network in float64 whose weights are half a step of its type away."""
    generator = torch.Generator().manual_seed(0)
    near = _for_inference(network).double()
    with torch.no_grad():
        for parameter in near.parameters():
            parameter.copy_(_half_a_step_from(parameter, step, generator))
    return near


def _half_a_step_from(
    tensor: torch.Tensor, step: float, generator: torch.Generator
) -> torch.Tensor:
    """Return a tensor, each number of which is a little larger or smaller."""
    if not tensor.is_floating_point():
        return tensor
    signs = torch.rand(tensor.shape, generator=generator).round() * 2 - 1
    return tensor.double() * (1 + step / 2 * signs.to(tensor.device))


def _for_inference(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).eval()


def _takes(network: nn.Module, inputs: Inputs) -> bool:
    """Return whether a network takes seeded inputs, which may be what it does not expect."""
    try:
        run(network, inputs)
    except Exception:  # the network's own code runs here
        return False
    return True


def _exact_outputs(network: nn.Module, inputs: Inputs) -> list[Array]:
    """Return every output of a network in float64.

    Raises:
        UntestedError: it cannot be computed.
    """
    wide = tuple(t.double() if t.is_floating_point() else t for t in inputs)
    with _computing("in float64"), InFloat64():
        return _outputs(network, wide)


def _own_outputs(network: nn.Module, inputs: Inputs) -> tuple[list[Array], list[Array]]:
    """Return every output of a network as it is, by oneDNN's kernels and by torch's own.

    Raises:
        UntestedError: it cannot be computed.
    """
    with _computing("on the inputs of the proof"):
        usual = _outputs(network, inputs)
        with _without_onednn():
            return usual, _outputs(network, inputs)


def _worst(truth: list[Array], *runs: list[Array]) -> list[Array]:
    """Return of every output what is farthest from the truth."""
    return [
        max(candidates, key=lambda one: largest_difference(one, exact))
        for exact, *candidates in zip(truth, *runs, strict=True)
    ]


def _outputs(network: nn.Module, inputs: Inputs) -> list[Array]:
    return [float64(tensor) for tensor in tensors_of(run(network, inputs))]


@contextmanager
def _without_onednn() -> Iterator[None]:
    """Use torch's own kernels; `torch.backends.mkldnn.flags` would warn of its other flags."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


@contextmanager
def _computing(how: str) -> Iterator[None]:
    try:
        yield
    except Exception as exc:  # the network's own code runs here
        raise UntestedError(
            f"the fold could not be tested: the network cannot be computed {how}: "
            f"{first_line(exc)}; proof=False returns it untested"
        ) from exc


def _specs(inputs: Inputs) -> list[InputSpec]:
    return [
        InputSpec(str(number), _numpy_dtype(tensor), tuple(tensor.shape))
        for number, tensor in enumerate(inputs)
    ]


def _numpy_dtype(tensor: torch.Tensor) -> np.dtype:
    """Return the type that inputs are made in: floats are rounded to theirs by torch."""
    return np.dtype(np.float64) if tensor.is_floating_point() else numpy_dtype(tensor.dtype)


def _tensors(feed: Feed, inputs: Inputs) -> Inputs:
    return tuple(
        torch.from_numpy(feed.arrays[str(number)]).to(like) for number, like in enumerate(inputs)
    )


def _step(network: nn.Module) -> float:
    """Return the distance from 1 to the next number in the coarsest type of the parameters."""
    kinds = {tensor.dtype for tensor in network.parameters() if tensor.is_floating_point()}
    return max((torch.finfo(kind).eps for kind in kinds), default=0.0)


def _floor(step: float) -> float:
    """Return what rounding alone may make of numbers as large as 1."""
    known = {torch.finfo(torch.float32).eps: ERROR_FLOOR, torch.finfo(torch.float64).eps: 0.0}
    return max(known.get(step, FLOOR_STEPS * step), ALGEBRA_TOLERANCE)
