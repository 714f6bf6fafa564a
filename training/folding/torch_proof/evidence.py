"""What a network and its fold return for the same inputs.

truth       the network in float64
algebra     the fold in float64, its weights never rounded
unfolded    the network as it is
folded      the fold as it is

Inputs are the example, and seeded ones of its shapes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.errors import VerificationError
from training.folding.proof.evidence import FLOOR_STEPS, Evidence
from training.folding.proof.inputs import Feed, InputSpec, feeds
from training.folding.proof.tolerances import ALGEBRA_TOLERANCE, ERROR_FLOOR, FourLogits
from training.folding.proof.verdict import Verdict, judge
from training.folding.torch_frontend.arrays import float64, numpy_dtype
from training.folding.torch_frontend.capture.observation import run, tensors_of
from training.folding.torch_frontend.capture.precision import InFloat64

Array = NDArray[np.float64]
Inputs = tuple[torch.Tensor, ...]


def prove(original: nn.Module, folded: nn.Module, exact: nn.Module, inputs: Inputs) -> Verdict:
    """Return whether a fold changed nothing but rounding.

    `exact` is the fold in float64, its weights never rounded. No network is changed.

    Raises:
        VerificationError: the network cannot be computed in float64, so that nothing can be said.
    """
    networks = _Networks(original, folded, exact)
    return judge(networks.evidence(inputs))


class _Networks:
    def __init__(self, original: nn.Module, folded: nn.Module, exact: nn.Module) -> None:
        self._truth = _for_inference(original).double()
        self._algebra = _for_inference(exact)
        self._unfolded = _for_inference(original)
        self._folded = _for_inference(folded)
        self._floor = _floor(original)

    def evidence(self, inputs: Inputs) -> Iterator[Evidence]:
        """Yield what each output is for each kind of input; those it does not take are left out."""
        given = ("given",) * (inputs[0].shape[0] if inputs and inputs[0].dim() else 1)
        yield from self._compared(inputs, given)
        for feed in feeds(_specs(inputs)):
            like_example = _tensors(feed, inputs)
            if _takes(self._unfolded, like_example):
                yield from self._compared(like_example, feed.kinds)

    def _compared(self, inputs: Inputs, kinds: tuple[str, ...]) -> Iterator[Evidence]:
        four = (
            _outputs(self._truth, inputs, exact=True),
            _outputs(self._algebra, inputs, exact=True),
            _outputs(self._unfolded, inputs),
            _outputs(self._folded, inputs),
        )
        sizes = tuple(inputs[0].shape) if inputs else ()
        for number, every in enumerate(zip(*four, strict=True)):
            batched = all(array.shape[:1] == (len(kinds),) for array in every)
            for kind in dict.fromkeys(kinds) if batched else ("all",):
                chosen: Any = [one == kind for one in kinds] if batched else ...
                truth, algebra, unfolded, folded = (array[chosen] for array in every)
                compared = FourLogits(truth, algebra, unfolded, folded, self._floor)
                yield Evidence(f"output {number}", kind, sizes, compared)


def _for_inference(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).eval()


def _takes(network: nn.Module, inputs: Inputs) -> bool:
    """Return whether a network takes seeded inputs, which may be what it does not expect."""
    try:
        run(network, inputs)
    except Exception:  # the network's own code runs here
        return False
    return True


def _outputs(network: nn.Module, inputs: Inputs, *, exact: bool = False) -> Sequence[Array]:
    """Return every output in float64.

    Raises:
        VerificationError: the network cannot be computed.
    """
    wide = tuple(t.double() if exact and t.is_floating_point() else t for t in inputs)
    try:
        with InFloat64() if exact else nullcontext():
            return [float64(tensor) for tensor in tensors_of(run(network, wide))]
    except Exception as exc:  # the network's own code runs here
        kind = "in float64" if exact else "on the inputs of the proof"
        raise VerificationError(
            f"the fold could not be tested: the network cannot be computed {kind}: {exc}; "
            "proof=False returns it untested"
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


def _floor(network: nn.Module) -> float:
    """Return what rounding alone may make of numbers as large as 1."""
    kinds = {tensor.dtype for tensor in network.parameters() if tensor.is_floating_point()}
    step = max((torch.finfo(kind).eps for kind in kinds), default=0.0)
    known = {torch.finfo(torch.float32).eps: ERROR_FLOOR, torch.finfo(torch.float64).eps: 0.0}
    return max(known.get(step, FLOOR_STEPS * step), ALGEBRA_TOLERANCE)
