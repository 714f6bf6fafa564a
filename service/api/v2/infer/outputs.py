"""Which outputs a request asks for, and in which form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.tensors import SCORE_NAMES
from service.api.v2.fields import Table, flag, parameters_of, tables
from service.api.v2.responses import shown
from service.errors import MalformedRequestError
from service.inference.session import Scores


@dataclass(frozen=True)
class RequestedOutput:
    """An output, binary or in the JSON; with `classes` its best labels instead of its scores."""

    name: str
    binary: bool
    classes: int | None = None


def every_output(*, binary: bool) -> tuple[RequestedOutput, ...]:
    """Return what a request gets that names no outputs."""
    return tuple(RequestedOutput(name, binary) for name in SCORE_NAMES)


def read_outputs(table: Table, parameters: Table) -> tuple[RequestedOutput, ...]:
    """Return the outputs that a request asks for; `parameters` are the request's own.

    Raises:
        MalformedRequestError: an output is unknown, asked for twice or of no known form.
        UnsupportedFeatureError: an output is to be put into shared memory.
    """
    binary = flag(parameters, "binary_data_output", default=False)
    entries = tables(table, "outputs")
    if not entries:
        return every_output(binary=binary)
    outputs = tuple(_read_output(entry, binary) for entry in entries)
    names = [output.name for output in outputs]
    if len(set(names)) != len(names):
        raise MalformedRequestError(f"the outputs are {shown(names)}; ask for each once")
    return outputs


def _read_output(entry: Table, binary: bool) -> RequestedOutput:
    name = entry.get("name")
    if name not in SCORE_NAMES:
        raise MalformedRequestError(
            f"there is no output {shown(name)}; ask for {' or '.join(SCORE_NAMES)}"
        )
    parameters = parameters_of(entry, f"the output {name!r}")
    classes = parameters.get("classification")
    if classes is not None and (type(classes) is not int or classes < 1):
        raise MalformedRequestError(
            f"the classification is {shown(classes)}; send how many labels to name, 1 or more"
        )
    return RequestedOutput(name, flag(parameters, "binary_data", default=binary), classes)


def best_labels(
    scores: Scores, values: NDArray[np.float32], labels: Sequence[str], classes: int
) -> list[list[str]]:
    """Return N lists of the best `classes` as "value:index:label", best first.

    `values` (N, C) are one of the scores' two tables. The order is that of the logits for both:
    in float32 two of them may round to one probability. There are never more than the labels.
    """
    order = np.argsort(-scores.logits, axis=1, kind="stable")[:, :classes]
    best = np.take_along_axis(values, order, axis=1)
    return [
        [f"{value:f}:{index}:{labels[index]}" for value, index in zip(*row, strict=True)]
        for row in zip(best.tolist(), order.tolist(), strict=True)
    ]
