"""The rows of the report, kept while maps move, merge and vanish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from training.folding.engine.graph import Affine, Graph, KeptNorm, Node, Norm, Value
from training.folding.engine.report_row import Row


class ReportBuilder:
    """One row for each batch norm, in network order, and one for each constant that was folded.

    A batch norm that several nodes share gets one row, and counts as folded if it is at each.
    """

    def __init__(self, graph: Graph) -> None:
        self._rows: dict[Norm, Row | None] = {}  # in network order
        self._scales: dict[Norm, float] = {}
        self._carried: dict[Node, list[Norm]] = {}  # what each map is made of by now
        self._duplicates: dict[Norm, Norm] = {}  # further use of a batch norm: the batch norm
        self._constants: set[Norm] = set()
        for node in graph.nodes:
            if isinstance(node.operation, KeptNorm):
                self._rows[node.operation.norm] = None
            elif isinstance(node.operation, Affine):
                self._open(node, node.operation)

    def folded(self, origin: Node, ends: list[Node], pattern: str, probe: Value | None) -> None:
        """Note that a map has gone into other nodes, and with it what had gone into the map."""
        names = [end.name for end in ends]
        norms = self._carried.pop(origin)
        for norm in norms:
            former = self._rows[norm]
            into = names if former is None else _substituted(former.into, origin.name, names)
            self._rows[norm] = Row(
                norm,
                into=tuple(dict.fromkeys(into)),
                pattern=pattern,
                largest_scale=self._scales[norm],
                is_norm=norm not in self._constants,
                probe=probe,
            )
        for end in ends:
            if end in self._carried:
                self._carried[end] += norms

    def merged(self, kept: Node, gone: Node) -> None:
        """Note that one layer has taken the place of two."""
        for norm, row in self._rows.items():
            if row is not None and gone.name in row.into:
                into = dict.fromkeys(_substituted(row.into, gone.name, [kept.name]))
                probe = kept.output if row.probe is gone.output else row.probe
                self._rows[norm] = replace(row, into=tuple(into), probe=probe)

    def refused(self, norm: Norm, reason: str) -> None:
        """Note that a batch norm has stayed."""
        self._rows[norm] = Row(norm, reason=reason)

    def constant_refused(self, node: Node, reason: str) -> None:
        """Note that a batch norm has stayed that is spelled out with constants."""
        (constant,) = self._carried[node]
        self._rows[constant] = Row(constant, reason=reason, is_norm=False)

    def rows(self) -> list[Row]:
        """Return the rows."""
        rows: dict[Norm, Row] = {}
        for norm, row in self._rows.items():
            if row is None:
                continue
            whole = self._duplicates.get(norm, norm)
            one = replace(row, norm=whole, probe=_named(row.probe))
            rows[whole] = _both(rows[whole], one) if whole in rows else one
        return list(rows.values())

    def _open(self, node: Node, operation: Affine) -> None:
        operation.norms = tuple(self._own(norm) for norm in operation.norms)
        norms = list(operation.norms)
        if not norms:
            norms = [Norm(node.name, operation.map.scale.size)]
            self._constants.update(norms)
        self._carried[node] = norms
        self._rows.update(dict.fromkeys(norms))
        self._scales.update(dict.fromkeys(norms, operation.map.largest_scale))

    def _own(self, norm: Norm) -> Norm:
        """Return a batch norm, or for each further use of it a duplicate."""
        if norm not in self._rows:
            return norm
        duplicate = Norm(norm.name, norm.channels)
        self._duplicates[duplicate] = norm
        return duplicate


def _substituted(names: tuple[str, ...], name: str, by: list[str]) -> Iterator[str]:
    for one in names:
        yield from by if one == name else [one]


def _both(first: Row, second: Row) -> Row:
    """Return one row for two uses of a batch norm."""
    if not (first.folded and second.folded):
        return second if first.folded else first
    scales = [row.largest_scale or 0.0 for row in (first, second)]
    into = tuple(dict.fromkeys(first.into + second.into))
    return replace(first, into=into, largest_scale=max(scales))


def _named(probe: Value | None) -> Value | None:
    """Return the nearest tensor after a probe whose numbers the original network has too."""
    while probe is not None and probe.original_name is None:
        readers = probe.consumers
        probe = readers[0].output if readers else None
    return probe
