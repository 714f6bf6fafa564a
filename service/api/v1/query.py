"""What `/v1/predict` and `/v1/compare` are asked in their query."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl

from service.errors import MalformedRequestError

DEFAULT_TOP_K = 5
TOP_K = f"How many labels per image and model; unset, {DEFAULT_TOP_K}, or all of fewer."
MAX_SHOWN = 60


@dataclass(frozen=True)
class PredictQuery:
    """The checked query of an image route."""

    model: str | None = None
    top_k: int | None = None  # None: DEFAULT_TOP_K, or all there are
    timeout_ms: int | None = None
    pixels: bool = False

    def checked_top_k(self, classes: int) -> int:
        """Return how many labels are asked for of a model of so many classes.

        Raises:
            MalformedRequestError: not between 1 and the number of classes.
        """
        if self.top_k is None:
            return min(DEFAULT_TOP_K, classes)
        if not 1 <= self.top_k <= classes:
            raise MalformedRequestError(
                f"top_k={self.top_k} is out of range; the model knows {classes} classes, ask for "
                f"1 to {classes}"
            )
        return self.top_k

    def limit_ms(self, servers: int) -> int:
        """Return the longest time to an answer: the caller's where it is less than the server's."""
        return servers if self.timeout_ms is None else min(servers, self.timeout_ms)


@lru_cache(maxsize=256)
def predict_query(query_string: bytes) -> PredictQuery:
    """Return what a query asks for; other parameters are left alone.

    Raises:
        MalformedRequestError: a number that is none, a time that is not positive, or a choice that
            is neither true nor false.
    """
    found = dict(parse_qsl(query_string.decode("utf-8", "replace"), keep_blank_values=True))
    timeout_ms = _integer(found, "timeout_ms") if "timeout_ms" in found else None
    if timeout_ms is not None and timeout_ms < 1:
        raise MalformedRequestError(
            f"timeout_ms={timeout_ms} leaves no time; give at least 1 millisecond"
        )
    return PredictQuery(
        model=found.get("model"),
        top_k=_integer(found, "top_k") if "top_k" in found else None,
        timeout_ms=timeout_ms,
        pixels=_choice(found, "pixels") if "pixels" in found else False,
    )


def _choice(found: dict[str, str], name: str) -> bool:
    chosen = {"true": True, "false": False}.get(found[name])
    if chosen is None:
        raise MalformedRequestError(
            f"query {name} = {found[name][:MAX_SHOWN]!r} is neither true nor false"
        )
    return chosen


def _integer(found: dict[str, str], name: str) -> int:
    text = found[name]
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        raise MalformedRequestError(
            f"query {name} = {text[:MAX_SHOWN]!r} is no whole number of at most 9 digits"
        )
    return int(text)
