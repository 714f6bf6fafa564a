"""The batch norms in a dictionary of weights, found by the names of torch.

A batch norm that keeps no statistics looks like a layer norm there: it is found only if it is
named like a batch norm.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from training.folding.doctor.record import NormRecord

KEYS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
STATISTICS = set(KEYS[2:])
NAMED_SO = re.compile(r"(^|_)(bn\d*|batch_?norm\d*)($|_)", re.IGNORECASE)


def norms_of_state(
    state: Mapping[str, NDArray[np.float64]], eps: Mapping[str, float] | None = None
) -> list[NormRecord]:
    """Return the batch norms of a network's weights, `eps` by the layer's name where it is known.

    Weights are arrays in float64, by their names in torch.
    """
    layers: dict[str, dict[str, NDArray[np.float64]]] = defaultdict(dict)
    for key, array in state.items():
        prefix, _, last = key.rpartition(".")
        if last in KEYS:
            layers[prefix][last] = array
    known = eps or {}
    return [
        _record(name, layer, known.get(name)) for name, layer in layers.items() if _is(name, layer)
    ]


def _is(name: str, layer: Mapping[str, NDArray[np.float64]]) -> bool:
    if STATISTICS & set(layer):
        return True
    named_so = NAMED_SO.search(name.rpartition(".")[2]) is not None
    return named_so and "weight" in layer and all(array.ndim == 1 for array in layer.values())


def _record(name: str, layer: Mapping[str, NDArray[np.float64]], eps: float | None) -> NormRecord:
    counter = layer.get("num_batches_tracked")
    gamma, beta, mean, var = (_vector(layer, key) for key in KEYS[:4])
    return NormRecord(
        name=name,
        gamma=gamma,
        beta=beta,
        mean=mean,
        var=var,
        eps=eps,
        batches=None if counter is None else int(counter.reshape(-1)[0]),
    )


def _vector(layer: Mapping[str, NDArray[np.float64]], key: str) -> NDArray[np.float64] | None:
    return layer[key].reshape(-1) if key in layer else None
