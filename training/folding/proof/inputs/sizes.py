"""What a model takes, and which sizes its free axes get in the proof.

One number for each symbol: `batch` is the same wherever it stands. Height and width get an even and
an odd size, where the model runs with them; where it does not, larger ones are tried, and multiples
of what networks divide by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from training.errors import FoldError

USUAL = ((32, 32, 32), (37, 33, 35))  # of the last axes; an axis is as long as its place
LARGER = (64, 48, 96, 128, 160, 192, 224, 256, 299, 320, 384, 416, 448, 512, 640)
SEQUENCES = (1024, 512, 1536, 4096, 16_000, 1, 2, 8)  # of a single free axis: sound, texts
INNER = 2  # of axes before the last three

Shape = tuple[int | str | None, ...]


@dataclass(frozen=True)
class InputSpec:
    """An input of a model.

    Attributes:
        dtype: object for texts.
        shape: a symbol, or None, for a free size.
    """

    name: str
    dtype: np.dtype
    shape: Shape


@dataclass(frozen=True)
class Batch:
    """Which axis of each input counts samples.

    Attributes:
        axes: None for an input that has no such axis.
        size: of those axes, None where it is free.
    """

    axes: Mapping[str, int | None]
    size: int | None


@dataclass(frozen=True)
class Sizes:
    """Numbers for the free axes of a model.

    Attributes:
        usual: for the last axes, by their place.
        symbols: for symbols, each the same wherever it stands; those of the batch have none.
    """

    usual: tuple[int, ...]
    symbols: Mapping[str, int]

    def shape(self, spec: InputSpec, batch: int) -> tuple[int, ...]:
        """Return the shape of an input, `batch` samples of it."""
        sizes = enumerate(spec.shape)
        return tuple(self._size(axis - len(spec.shape), size, batch) for axis, size in sizes)

    def _size(self, place: int, size: int | str | None, batch: int) -> int:
        if isinstance(size, int):
            return size
        if size is not None:
            return self.symbols.get(size, batch)
        return _usual(self.usual, place)


def _usual(sizes: tuple[int, ...], place: int) -> int:
    return sizes[place] if -place <= len(sizes) else INNER


def input_specs(model: ir.Model) -> list[InputSpec]:
    """Return what a model takes; initializers that are inputs as well keep their values.

    Raises:
        FoldError: an input is no tensor, or its type or rank is not known.
    """
    specs = []
    for value in model.graph.inputs:
        if value.is_initializer():
            continue
        if not isinstance(value.type, ir.TensorType | type(None)):
            raise FoldError(
                f"the input {value.name!r} is {value.type}, and the proof makes tensors; leave the "
                "proof away with --no-proof"
            )
        if value.dtype in (None, ir.DataType.UNDEFINED) or value.shape is None:
            raise FoldError(
                f"the input {value.name!r} has no known type and rank; export the model with them"
            )
        shape = tuple(size if isinstance(size, int) else size.value for size in value.shape)
        texts = value.dtype == ir.DataType.STRING
        dtype = np.dtype(object) if texts else value.dtype.numpy()
        specs.append(InputSpec(str(value.name), dtype, shape))
    return specs


def batch_of(specs: Sequence[InputSpec]) -> Batch:
    """Return the axes of the batch: first axes, and others of the same symbol."""
    symbols = _batch_symbols(specs)
    free = any(spec.shape and not isinstance(spec.shape[0], int) for spec in specs)
    fixed = [spec.shape[0] for spec in specs if spec.shape and isinstance(spec.shape[0], int)]
    size = None if free else max(fixed, default=1)
    return Batch({spec.name: _batch_axis(spec, symbols, size) for spec in specs}, size)


def _batch_symbols(specs: Sequence[InputSpec]) -> frozenset[str]:
    return frozenset(
        spec.shape[0] for spec in specs if spec.shape and isinstance(spec.shape[0], str)
    )


def _batch_axis(spec: InputSpec, symbols: frozenset[str], size: int | None) -> int | None:
    named = [axis for axis, symbol in enumerate(spec.shape) if symbol in symbols]
    if named:
        return named[0]
    if not spec.shape:
        return None
    first = spec.shape[0]
    return 0 if first is None or (size is not None and first == size) else None


def pinned_specs(specs: Sequence[InputSpec], pinned: Mapping[str, int]) -> list[InputSpec]:
    """Return what a model takes where some free sizes are given.

    `pinned` has numbers by symbol, and by `INPUT.AXIS` for an axis that has none.

    Raises:
        FoldError: it names no free size of the model.
    """
    free = {name for spec in specs for names in _names(spec) for name in names}
    for name, size in pinned.items():
        if name not in free or size < 1:
            raise FoldError(
                f"--size {name}={size}: the model's free sizes are "
                f"{', '.join(sorted(free)) or 'none'}, and each is at least 1; name one of these"
            )
    return [
        InputSpec(
            spec.name,
            spec.dtype,
            tuple(
                next((pinned[name] for name in names if name in pinned), size)
                for size, names in zip(spec.shape, _names(spec), strict=True)
            ),
        )
        for spec in specs
    ]


def _names(spec: InputSpec) -> list[list[str]]:
    """Return for each axis how it can be named, nothing where it is not free."""
    return [
        [] if isinstance(size, int) else [*filter(None, (size,)), f"{spec.name}.{axis}"]
        for axis, size in enumerate(spec.shape)
    ]


def sizes_to_try(specs: Sequence[InputSpec]) -> tuple[list[Sizes], Iterator[Sizes]]:
    """Return the usual sizes of a model, and more to try where it does not run with these."""
    batch = batch_of(specs)
    free = [
        spec.name
        for spec in specs
        for axis, size in enumerate(spec.shape)
        if not isinstance(size, int) and axis != batch.axes[spec.name]
    ]
    usual = [_sizes(specs, one) for one in (USUAL if free else USUAL[:1])]
    ladder = (*LARGER, *SEQUENCES) if len(free) == len(set(free)) else LARGER
    return usual, (_sizes(specs, (size,) * 3) for size in ladder if free)


def _sizes(specs: Sequence[InputSpec], usual: tuple[int, ...]) -> Sizes:
    batch, symbols = _batch_symbols(specs), dict[str, int]()
    for spec in specs:
        for axis, size in enumerate(spec.shape):
            if isinstance(size, str) and size not in batch:
                symbols.setdefault(size, _usual(usual, axis - len(spec.shape)))
    return Sizes(usual, symbols)
