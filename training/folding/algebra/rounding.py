"""Rounding of float64 results to the type that the weights are kept in, once.

`ml_dtypes` rounds float64 to bfloat16 through float32, which is rounding twice: 1 + 2^-8 + 2^-30
comes out as 1 and not as 1 + 2^-7. A float32 that is rounded to odd first, so that its last bit
says whether anything was lost, makes the second rounding right.

Reference:
    Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums: proved algorithms
    using rounding to odd", theorem 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def rounded(values: NDArray[np.float64], dtype: np.dtype) -> NDArray[np.floating]:
    """Return the nearest numbers of another type."""
    if dtype.kind == "f":
        return values.astype(dtype)
    return _to_odd(values).astype(dtype)


def largest(dtype: np.dtype) -> float:
    """Return the largest finite number of a type: the one next to infinity."""
    return float(np.nextafter(np.array(np.inf, dtype), np.array(0, dtype)))


def _to_odd(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return float32 numbers, cut off towards zero, with the last bit set where that lost some."""
    nearest = np.asarray(values).astype(np.float32)
    lost = nearest != values
    bits = nearest.view(np.int32)  # a smaller magnitude has a smaller pattern, for either sign
    bits -= lost & (np.abs(nearest) > np.abs(values))
    bits |= lost
    return nearest
