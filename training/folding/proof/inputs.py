"""Inputs on which a wrong fold shows, for any model: seeded, and the same for the same model.

    normal      standard normal
    large       the same times 100: saturation, and shifts that were lost in rounding
    zeros       nothing but biases is left
    ones        every weight with the same sign
    border      ones on the border, zeros inside: padding
    one-hot     a single one: which weight reads which place

Integers are bytes of images where they are 8 bits wide, else zeros and ones, which any vocabulary
has. Where the batch is free, all kinds come in batches of 7, and some in batches of 2 and 1; where
height and width are free, in an even and in an odd size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import FoldError

KINDS = ("normal", "large", "zeros", "ones", "border", "one-hot")
BATCHES = ((*KINDS, "normal"), ("one-hot", "border"), ("normal",))
FREE_SIZES = ((32, 32, 32), (37, 33, 35))  # of the last axes; an axis is as long as its place
LARGE = 100.0
GIVEN_BATCH = 64


@dataclass(frozen=True)
class InputSpec:
    """An input of a model.

    Attributes:
        shape: None for a free size; the first axis is the batch.
    """

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Feed:
    """Inputs for one run, and the kind of each sample in it."""

    arrays: dict[str, NDArray[Any]]
    kinds: tuple[str, ...]


def feeds(specs: Sequence[InputSpec], seed: int = 0) -> Iterator[Feed]:
    """Yield the inputs of a model."""
    generator = np.random.default_rng(seed)
    free_space = any(size is None for spec in specs for size in spec.shape[1:])
    for sizes in FREE_SIZES[: 2 if free_space else 1]:
        for kinds in _batches(specs):
            arrays = {
                spec.name: np.stack([_sample(spec, sizes, kind, generator) for kind in kinds])
                if spec.shape
                else _values(spec.dtype, (), kinds[0], generator)
                for spec in specs
            }
            yield Feed(arrays, kinds)


def given_feeds(file: Path, specs: Sequence[InputSpec]) -> list[Feed]:
    """Return a user's inputs, at most `GIVEN_BATCH` samples a run.

    `file` is an .npz with an array for each input, or an .npy for a model with a single one.

    Raises:
        FoldError: it cannot be read, or does not fit the model.
    """
    try:
        with np.load(file, allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded}
    except (AttributeError, TypeError):  # an .npy is one array, and no archive
        arrays = {specs[0].name: np.load(file, allow_pickle=False)}
    except (OSError, ValueError, EOFError) as error:
        raise FoldError(f"{file}: no .npy or .npz file ({error}); write it with numpy") from error
    names = [spec.name for spec in specs]
    if set(names) - set(arrays):
        raise FoldError(
            f"{file}: has arrays {sorted(arrays)}, and the model takes {names}; save them under "
            "these names"
        )
    for spec in specs:
        _check_given(file, spec, arrays[spec.name])
    batch = next((spec.shape[0] for spec in specs if spec.shape), None) or GIVEN_BATCH
    count = min(len(arrays[name]) for name in names)
    starts = range(0, count - count % batch if batch != GIVEN_BATCH else count, batch)
    return [
        Feed(
            {
                spec.name: arrays[spec.name][first : first + batch].astype(spec.dtype)
                for spec in specs
            },
            ("given",) * min(batch, count - first),
        )
        for first in starts
    ]


def _check_given(file: Path, spec: InputSpec, array: NDArray[Any]) -> None:
    fits = array.ndim == len(spec.shape) and all(
        size in (None, given) for size, given in zip(spec.shape[1:], array.shape[1:], strict=True)
    )
    if not fits or array.dtype.kind not in "biuf":
        wanted = tuple("N" if size is None else size for size in spec.shape)
        raise FoldError(
            f"{file}: {spec.name!r} is {array.shape} {array.dtype}, and the model takes {wanted} "
            f"{spec.dtype}; give numbers of that shape"
        )


def _batches(specs: Sequence[InputSpec]) -> list[tuple[str, ...]]:
    """Return the kinds in each run; a batch that is given is filled with all kinds in turn."""
    given = {spec.shape[0] for spec in specs if spec.shape and spec.shape[0] is not None}
    if not given:
        return list(BATCHES)
    batch = max(given)
    kinds = KINDS * batch
    return [kinds[first : first + batch] for first in range(0, max(len(KINDS), batch), batch)]


def _sample(
    spec: InputSpec, sizes: Sequence[int], kind: str, generator: np.random.Generator
) -> NDArray[Any]:
    inner = spec.shape[1:]
    free = sizes[-len(inner) :] if len(inner) <= len(sizes) else (*(2,) * len(inner), *sizes)
    shape = tuple(
        free[index - len(inner)] if size is None else size for index, size in enumerate(inner)
    )
    return _values(spec.dtype, shape, kind, generator)


def _values(
    dtype: np.dtype, shape: tuple[int, ...], kind: str, generator: np.random.Generator
) -> NDArray[Any]:
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(bool)
    values = _numbers(shape, kind, generator)
    if dtype.kind in "iu" and dtype.itemsize == 1:
        top = np.iinfo(dtype).max
        return np.clip(
            np.rint(values * top / 2 if kind == "normal" else values * top), 0, top
        ).astype(dtype)
    return (values > 0).astype(dtype) if dtype.kind in "iu" else values.astype(dtype)


def _numbers(
    shape: tuple[int, ...], kind: str, generator: np.random.Generator
) -> NDArray[np.float64]:
    match kind:
        case "normal":
            return generator.standard_normal(shape)
        case "large":
            return LARGE * generator.standard_normal(shape)
        case "ones":
            return np.ones(shape)
        case "border":
            return _border(shape)
        case "one-hot":
            return _one_hot(shape, generator)
    return np.zeros(shape)


def _border(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return ones at both ends of each axis after the channels, zeros inside."""
    values = np.zeros(shape)
    for axis in range(1, len(shape)):
        ends = np.moveaxis(values, axis, 0)
        ends[0] = ends[-1] = 1.0
    return values


def _one_hot(shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.float64]:
    values = np.zeros(shape)
    if values.size:
        values.reshape(-1)[generator.integers(values.size)] = 1.0
    return values
