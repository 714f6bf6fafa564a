"""What is known of one batch norm, wherever it was read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TORCH_EPS = 1e-5  # the default of torch: files of weights do not state theirs


@dataclass(frozen=True, eq=False)
class NormRecord:
    """Vectors (C,) float64 of a batch norm; None where they are not there.

    Attributes:
        name: of the layer.
        gamma: None where the layer has no scale, which is a scale of one.
        eps: None where the file does not state it.
        batches: num_batches_tracked, None where the file does not state it.
        trains: whether the graph makes it take statistics of its own batch.
        kept: why it cannot be folded; None where it can, or where this is not known.
        blocks_pool: whether that is a max pool that its negative scales cannot pass.
        folded_weight: the largest absolute weight of the layers that it was folded into.
    """

    name: str
    gamma: NDArray[np.float64] | None = None
    beta: NDArray[np.float64] | None = None
    mean: NDArray[np.float64] | None = None
    var: NDArray[np.float64] | None = None
    eps: float | None = None
    batches: int | None = None
    trains: bool = False
    kept: str | None = None
    blocks_pool: bool = False
    folded_weight: float | None = None

    @property
    def used_eps(self) -> float:
        """Its eps, or torch's default."""
        return TORCH_EPS if self.eps is None else self.eps

    @property
    def named_eps(self) -> str:
        """Its eps as text, which says if it was assumed."""
        assumed = " (assumed, the file does not state it)" if self.eps is None else ""
        return f"eps {self.used_eps:g}{assumed}"

    @property
    def sound(self) -> bool:
        """Whether it has all its statistics, of one size, finite and of no negative variance."""
        if self.mean is None or self.var is None:
            return False
        given = [v for v in (self.gamma, self.beta, self.mean, self.var) if v is not None]
        same_size = all(v.size == self.var.size for v in given)
        finite = all(np.isfinite(v).all() for v in given)
        return same_size and finite and bool((self.var >= 0).all()) and self._denominator_is_sound

    @property
    def _denominator_is_sound(self) -> bool:
        return self.var is not None and bool((self.var + self.used_eps > 0).all())

    @property
    def scale(self) -> NDArray[np.float64]:
        """Gamma / sqrt(var + eps) of a sound norm."""
        assert self.var is not None, "asked of sound norms only"
        deviation = np.sqrt(self.var + self.used_eps)
        return 1 / deviation if self.gamma is None else self.gamma / deviation

    @property
    def shift(self) -> NDArray[np.float64]:
        """Beta - mean * scale of a sound norm."""
        assert self.mean is not None, "asked of sound norms only"
        shift = -self.mean * self.scale
        return shift if self.beta is None else self.beta + shift
