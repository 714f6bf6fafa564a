"""Inputs on which a wrong fold shows, for any model: seeded, and the same for the same model.

    normal      standard normal
    large       the same times 100: saturation, and shifts that were lost in rounding
    zeros       nothing but biases is left
    ones        every weight with the same sign
    border      ones on the border, zeros inside: padding
    one-hot     a single one: which weight reads which place

and where the original is not finite on these, as behind a logarithm

    unit, positive, negative, small     uniform in [0, 1), |normal|, -|normal|, normal / 100

Integers are bytes of images where they are 8 bits wide, else zeros and ones, which any vocabulary
has. Where the batch is free, all kinds come in batches of 7, and some of these samples again in
batches of 2 and 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import FoldError
from training.folding.proof.inputs.sizes import Batch, InputSpec, Sizes, batch_of

KINDS = ("normal", "large", "zeros", "ones", "border", "one-hot")
GENTLE_KINDS = ("unit", "positive", "negative", "small")
PARTS = ((5, 4), (0,))  # of a batch of all kinds, each a batch of its own
LARGE, SMALL = 100.0, 0.01
NUDGES = (1e-5, 1e-5, 1e-4)  # of the largest number, or of one
GIVEN_BATCH = 64


@dataclass(frozen=True)
class Feed:
    """Inputs for one run, and the kind of each sample in it.

    Attributes:
        whole: the run whose samples these are, in a larger batch.
        rows: which of them.
    """

    arrays: dict[str, NDArray[Any]]
    kinds: tuple[str, ...]
    whole: Feed | None = None
    rows: tuple[int, ...] = ()

    def __str__(self) -> str:
        """What a message calls it: `normal inputs, x (7, 3, 32, 32)`."""
        shapes = (f"{name} {array.shape}" for name, array in self.arrays.items())
        return f"{', '.join(dict.fromkeys(self.kinds))} inputs, {', '.join(shapes)}"


def feeds(
    specs: Sequence[InputSpec], sizes: Sequence[Sizes], kinds: Sequence[str] = KINDS, seed: int = 0
) -> Iterator[Feed]:
    """Yield the inputs of a model, in each of some sizes."""
    generator = np.random.default_rng(seed)
    batch = batch_of(specs)
    for chosen in sizes:
        for batched in _batches(batch, kinds):
            feed = _feed(specs, chosen, batch, batched, generator)
            yield feed
        if batch.size is None:
            yield from (_part(feed, batch, rows) for rows in PARTS)


def single_feed(specs: Sequence[InputSpec], sizes: Sizes, seed: int = 0) -> Feed:
    """Return the smallest normal inputs of a model."""
    batch = batch_of(specs)
    kinds = ("normal",) * (batch.size or 1)
    return _feed(specs, sizes, batch, kinds, np.random.default_rng(seed))


def feeds_with_values(
    specs: Sequence[InputSpec], sizes: Sizes, values: Sequence[float], seed: int = 0
) -> Iterator[Feed]:
    """Yield inputs whose integers, truths and single numbers are one value throughout.

    First in all of them, then in each by itself where there are several.
    """
    base = single_feed(specs, sizes, seed)
    chosen = [spec for spec in specs if _is_choice(spec, base.arrays[spec.name])]
    groups = [chosen, *([one] for one in chosen if len(chosen) > 1)] if chosen else []
    for group in groups:
        for value in values:
            filled = {
                spec.name: np.full_like(base.arrays[spec.name], _fitting(value, spec.dtype))
                for spec in group
            }
            yield Feed(base.arrays | filled, base.kinds)


def _is_choice(spec: InputSpec, array: NDArray[Any]) -> bool:
    return spec.dtype.kind in "iub" or (spec.dtype.kind == "f" and array.size == 1)


def _fitting(value: float, dtype: np.dtype) -> float:
    if dtype.kind not in "iu":
        return value
    limits = np.iinfo(dtype)
    return min(max(int(value), limits.min), limits.max)


def nudged(feed: Feed) -> Iterator[Feed]:
    """Yield the same inputs, numbers a little off: what rounding decides, decides again."""
    generator = np.random.default_rng(1)
    for step in NUDGES:
        arrays = {
            name: _moved(array, step, generator) if array.dtype.kind == "f" else array
            for name, array in feed.arrays.items()
        }
        yield Feed(arrays, feed.kinds)


def _moved(array: NDArray[Any], step: float, generator: np.random.Generator) -> NDArray[Any]:
    scale = step * (np.abs(array).max(initial=0.0) or 1.0)
    return np.asarray(array + scale * generator.standard_normal(array.shape)).astype(array.dtype)


def given_feeds(file: Path, specs: Sequence[InputSpec]) -> list[Feed]:
    """Return a user's inputs, at most `GIVEN_BATCH` samples a run.

    `file` is an .npz with an array for each input, or an .npy for a model with a single one.

    Raises:
        FoldError: it cannot be read, or does not fit the model.
    """
    arrays = _read(file, specs)
    names = [spec.name for spec in specs]
    if set(names) - set(arrays):
        raise FoldError(
            f"{file}: has arrays {sorted(arrays)}, and the model takes {names}; save them under "
            "these names"
        )
    for spec in specs:
        _check_given(file, spec, arrays[spec.name])
    typed = {spec.name: arrays[spec.name].astype(spec.dtype) for spec in specs}
    batch = batch_of(specs)
    places = {name: axis for name, axis in batch.axes.items() if axis is not None}
    if not places:
        return [Feed(typed, ("given",))]
    count = min(typed[name].shape[axis] for name, axis in places.items())
    step = batch.size or GIVEN_BATCH
    return [
        Feed(
            {
                name: array.take(range(first, min(first + step, count)), places[name])
                if name in places
                else array
                for name, array in typed.items()
            },
            ("given",) * min(step, count - first),
        )
        for first in range(0, count - count % step if batch.size else count, step)
    ]


def _read(file: Path, specs: Sequence[InputSpec]) -> dict[str, NDArray[Any]]:
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {specs[0].name: loaded}
        with loaded:
            return {name: loaded[name] for name in loaded}
    except (OSError, ValueError, EOFError) as error:
        raise FoldError(f"{file}: no .npy or .npz file ({error}); write it with numpy") from error


def _check_given(file: Path, spec: InputSpec, array: NDArray[Any]) -> None:
    fits = array.ndim == len(spec.shape) and all(
        not isinstance(size, int) or size == given
        for size, given in zip(spec.shape[1:], array.shape[1:], strict=True)
    )
    texts = spec.dtype.kind == "O"
    if not fits or (array.dtype.kind in "biuf") == texts:
        wanted = tuple(size if isinstance(size, int) else size or "N" for size in spec.shape)
        raise FoldError(
            f"{file}: {spec.name!r} is {array.shape} {array.dtype}, and the model takes {wanted} "
            f"{'texts' if texts else spec.dtype}; give {'texts' if texts else 'numbers'} of that "
            "shape"
        )


def _batches(batch: Batch, kinds: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the kinds in each run; a batch that is given is filled with all kinds in turn."""
    if batch.size is None:
        return [(*kinds, *KINDS[: len(KINDS) + 1 - len(kinds)])]
    count = batch.size
    every = tuple(kinds) * count
    return [every[first : first + count] for first in range(0, max(len(kinds), count), count)]


def _part(whole: Feed, batch: Batch, rows: tuple[int, ...]) -> Feed:
    """Return some samples of a run."""
    arrays = {
        name: array if (axis := batch.axes[name]) is None else array.take(rows, axis)
        for name, array in whole.arrays.items()
    }
    return Feed(arrays, tuple(whole.kinds[row] for row in rows), whole, rows)


def _feed(
    specs: Sequence[InputSpec],
    sizes: Sizes,
    batch: Batch,
    kinds: tuple[str, ...],
    generator: np.random.Generator,
) -> Feed:
    arrays = {}
    for spec in specs:
        shape, axis = sizes.shape(spec, len(kinds)), batch.axes[spec.name]
        if axis is None:
            arrays[spec.name] = np.asarray(_values(spec.dtype, shape, kinds[0], generator))
            continue
        inner = shape[:axis] + shape[axis + 1 :]
        samples = [_values(spec.dtype, inner, kind, generator) for kind in kinds]
        arrays[spec.name] = np.stack(samples, axis=axis)
    return Feed(arrays, kinds)


def _values(
    dtype: np.dtype, shape: tuple[int, ...], kind: str, generator: np.random.Generator
) -> NDArray[Any]:
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(bool)
    if dtype.kind == "O":
        return np.array(["a", "b"], object)[generator.integers(0, 2, shape)]
    values = _numbers(shape, kind, generator)
    if dtype.kind in "iu" and dtype.itemsize == 1:
        top = np.iinfo(dtype).max
        halved = np.rint(values * top / 2 if kind == "normal" else values * top)
        return np.clip(halved, 0, top).astype(dtype)
    return np.asarray((values > 0) if dtype.kind in "iu" else values).astype(dtype)


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
        case "unit":
            return generator.random(shape)
        case "positive":
            return np.abs(generator.standard_normal(shape))
        case "negative":
            return -np.abs(generator.standard_normal(shape))
        case "small":
            return SMALL * generator.standard_normal(shape)
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
