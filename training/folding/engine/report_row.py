"""What became of every batch norm."""

from __future__ import annotations

from dataclasses import dataclass

from training.folding.engine.graph import Norm, Value

CONSTANT = "(constant)"  # behind the name of what is no batch norm


@dataclass(eq=False, repr=False)
class Row:
    """One batch norm, or constants that were folded like one.

    Attributes:
        norm: its name and channels.
        into: the layers that took it up; empty where it was refused.
        pattern: the rule by which it ended, as `linear → bn`; None where it was refused.
        reason: why it was refused, None where it was folded.
        largest_scale: its largest absolute scale; None where it was refused.
        is_norm: false for constants; those that stay have a row if they spell out a batch norm.
        probe: a tensor of the folded network that carries the numbers of one of the original;
            None where it was refused, or where no such tensor is left.
    """

    norm: Norm
    into: tuple[str, ...] = ()
    pattern: str | None = None
    reason: str | None = None
    largest_scale: float | None = None
    is_norm: bool = True
    probe: Value | None = None

    @property
    def folded(self) -> bool:
        """Whether it is gone."""
        return self.reason is None

    @property
    def name(self) -> str:
        """The batch norm's name, or that of constants, said to be such."""
        return self.norm.name if self.is_norm else f"{self.norm.name} {CONSTANT}"

    @property
    def outcome(self) -> str:
        """The layers that took it up, or why it is kept."""
        return ", ".join(self.into) if self.folded else f"kept: {self.reason}"

    def __repr__(self) -> str:
        folded = "folded into " if self.folded else ""
        return f"<{self.norm.name}, {self.norm.channels} channels, {folded}{self.outcome}>"
