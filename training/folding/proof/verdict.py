"""The verdict on two models, and what it rests on; `judging` reaches it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from training.folding.plain_table import Line, as_html, as_text, counted
from training.folding.proof.inputs.seeded import Feed
from training.folding.proof.tolerances import ALGEBRA_TOLERANCE, ERROR_FACTOR

Outcome = Literal["holds", "fails", "untested"]
OUTCOMES: dict[Outcome, str] = {
    "holds": "the proof holds",
    "fails": "THE PROOF FAILS",
    "untested": "COULD NOT BE TESTED",
}
TITLES = ("measured", "value", "holds if")


@dataclass(frozen=True)
class Worst:
    """Where a rule comes nearest to failing: error over allowance, at most 1 where it holds."""

    ratio: float = 0.0
    output: str = ""
    kind: str = ""

    def __str__(self) -> str:
        where = f" ({self.kind} inputs, {self.output})" if self.output else ""
        return f"{self.ratio:.3g}{where}"


@dataclass(frozen=True)
class Statistics:
    """Differences between the two models as onnxruntime runs them, of all outputs together.

    `relative_*` are over the largest absolute output of the same inputs.
    """

    largest: float = 0.0
    percentile_99_9: float = 0.0
    mean: float = 0.0
    largest_relative: float = 0.0
    relative_l2: float = 0.0
    cosine: float = 1.0
    largest_probability: float | None = None  # where an output is (N, C), as logits


@dataclass(frozen=True, repr=False)
class Verdict:
    """The verdict, and what it rests on. Printed, it is a table.

    Attributes:
        judged: how many outputs of how many inputs were compared.
        not_finite: how many were not, since the original is not finite there.
        undecided: how many were not, since rounding decides what the original returns.
        empty: how many had nothing to compare.
        algebra: rule 1; None where nothing could be computed in float64, or the weights of the
            other model are rounded.
        rounding: rule 2.
        labels, label_changes, unexplained_label_changes: rule 3.
        notes: what was not done, and why.
        faults: what the models differ in besides numbers: shapes, or that one does not run.
        untested: why nothing could be compared, and the remedy; None where something was.
        unchanged: whether nothing was folded, so that there is nothing to prove.
        example: the smallest inputs that were compared.
    """

    judged: int = 0
    not_finite: int = 0
    algebra: Worst | None = None
    rounding: Worst = Worst()
    labels: int = 0
    label_changes: int = 0
    unexplained_label_changes: int = 0
    statistics: Statistics = Statistics()
    notes: tuple[str, ...] = ()
    undecided: int = 0
    empty: int = 0
    faults: tuple[str, ...] = ()
    untested: str | None = None
    unchanged: bool = False
    example: Feed | None = field(default=None, compare=False, repr=False)

    @property
    def outcome(self) -> Outcome:
        """The verdict in a word."""
        exact = self.algebra is None or self.algebra.ratio <= 1
        right = exact and self.rounding.ratio <= 1 and not self.unexplained_label_changes
        if self.faults or (self.judged and not right):
            return "fails"
        return "holds" if self.judged or self.unchanged else "untested"

    @property
    def holds(self) -> bool:
        """Whether the models are the same but for rounding."""
        return self.outcome == "holds"

    @property
    def is_imprecise(self) -> bool:
        """Whether it fails by rounding, or a label, and by nothing else."""
        algebra = self.algebra is None or self.algebra.ratio <= 1
        return self.outcome == "fails" and algebra and not self.faults

    @property
    def title(self) -> str:
        """The verdict as a line."""
        return f"verdict: {OUTCOMES[self.outcome]}"

    @property
    def summary(self) -> str:
        """The verdict and the largest difference, as part of a line."""
        if self.unchanged:
            return "nothing to fold: the model stays as it is"
        if self.outcome == "untested":
            return f"{OUTCOMES['untested']}: {self.untested}"
        return (
            f"{OUTCOMES[self.outcome]}: {counted(self.judged, 'output')} compared, the largest "
            f"difference {self.statistics.largest_relative:.1e} of the scale"
        )

    def lines(self, other: str = "other") -> list[Line]:
        """Return what was measured, its value, and when the verdict holds, part by part."""
        if self.untested is not None:
            return [("not tested", self.untested, "")]
        found = self.statistics
        differences = f"{found.largest:.3g}, {found.percentile_99_9:.3g}, {found.mean:.3g}"
        left_out = {
            "left out: not finite in the original": self.not_finite,
            "left out: rounding decides": self.undecided,
            "left out: empty": self.empty,
        }
        lines: list[Line] = [("fault", fault, "none") for fault in self.faults]
        lines += [("outputs compared", f"{self.judged}", "> 0")]
        lines += [(what, f"{count}", "") for what, count in left_out.items() if count]
        if self.algebra is not None:
            what = f"error in float64, of {ALGEBRA_TOLERANCE:g} x scale"
            lines += [(what, str(self.algebra), "<= 1")]
        what = f"error of the {other} graph, of {ERROR_FACTOR:g} x the original's + rounding"
        lines += [
            (what, str(self.rounding), "<= 1"),
            ("labels changed", f"{self.label_changes} of {self.labels}", ""),
            ("… not explained by rounding", f"{self.unexplained_label_changes}", "= 0"),
            ("largest difference, of the scale", f"{found.largest_relative:.3g}", ""),
            ("largest, 99.9 %, mean difference", differences, ""),
            ("relative L2 difference", f"{found.relative_l2:.3g}", ""),
        ]
        if found.largest_probability is not None:
            lines += [("largest probability difference", f"{found.largest_probability:.3g}", "")]
        return [*lines, *(("note", note, "") for note in self.notes)]

    def __repr__(self) -> str:
        return as_text(TITLES, self.lines(), [self.title])

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return as_html(TITLES, self.lines(), [self.title])
