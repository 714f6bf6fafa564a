"""Trees of sums: what is added in several steps, none of which anybody else reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from training.folding.engine.graph import Linear, Node, Sum, Value


@dataclass(frozen=True, eq=False)
class Branch:
    """A value that a tree of sums adds.

    Attributes:
        value: what is added.
        sums: those on the way to the root, the nearest first.
    """

    value: Value
    sums: tuple[Node, ...]


def root_of(value: Value) -> Node | None:
    """Return the last of the sums that a value goes into and nothing else does."""
    root = None
    while is_private(value) and isinstance(value.consumers[0].operation, Sum):
        root = value.consumers[0]
        value = root.output
    return root


def branches_of(root: Node | None) -> Iterator[Branch]:
    """Yield what a sum adds, and what is added to that before."""
    pending = [] if root is None else [Branch(value, (root,)) for value in reversed(root.inputs)]
    while pending:
        branch = pending.pop()
        node = branch.value.producer
        if node is not None and isinstance(node.operation, Sum) and is_private(branch.value):
            pending += [Branch(value, (node, *branch.sums)) for value in reversed(node.inputs)]
        else:
            yield branch


def is_private(value: Value) -> bool:
    """Return whether a value has one reader only."""
    return len(value.consumers) == 1 and not value.is_output


def continues(node: Node) -> bool:
    """Return whether a sum only serves another one."""
    return root_of(node.output) is not None


def layer_on(branch: Branch, source: Value | None) -> Node | None:
    """Return the layer whose output only this branch reads, and that reads `source` if given."""
    node = branch.value.producer
    if node is None or not isinstance(node.operation, Linear) or not is_private(branch.value):
        return None
    return node if source is None or node.inputs == [source] else None
