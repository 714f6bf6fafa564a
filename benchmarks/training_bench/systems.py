"""What is measured: networks, and ways to train them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FULL_SIDE = 32


@dataclass(frozen=True)
class System:
    """A loop, how it is set, and the networks that it is measured with.

    `precision` and `side` are of this project's loop; the tutorial trains in float32 at full size.
    `loader_workers` are the tutorial's processes that load and augment.
    """

    name: str
    networks: tuple[str, ...]
    loop: Literal["ours", "tutorial"] = "ours"
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    side: int = FULL_SIDE
    loader_workers: int = 0


COMPARED = ("keras-bn", "air-tiny", "air94")
CURRICULUM = ("air-tiny", "air94")
AIR = (*CURRICULUM, "air95", "air96")

SYSTEMS = (
    System("tutorial, 2 workers", COMPARED, "tutorial", "float32", loader_workers=2),
    System("tutorial, no workers", COMPARED, "tutorial", "float32"),
    System("float32", ("keras-baseline", *COMPARED), precision="float32"),
    System("bfloat16", ("keras-bn", *AIR)),
    System("bfloat16, 28 pixels", CURRICULUM, side=28),
    System("bfloat16, 24 pixels", CURRICULUM, side=24),
)
