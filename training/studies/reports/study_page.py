"""The page of one study in Markdown: question, size, tables, figures, and how to make it again."""

from __future__ import annotations

from collections.abc import Sequence

from training.studies.design import available_studies
from training.studies.reports.analysis import Analysis, AttributionResult, CellResult
from training.studies.reports.contrast_results import ContrastResult
from training.studies.reports.plain_words import plain_words
from training.studies.reports.registration import Registration
from training.studies.reports.wording import effect_size, words
from training.studies.rows import Row
from training.studies.statistics.intervals import Estimate

MAIN_PRESET = "cpu"  # its page stands beside the rows, those of others in a folder of their name
# Beside the primary measure, in this order, where the runs have them.
MEASURES = (
    "test_accuracy_last_fifth",
    "precise_accuracy_last_fifth",
    "test_accuracy_last",
    "test_accuracy_best",
    "seconds_per_epoch",
)


def study_page(analysis: Analysis, figures: Sequence[str], registered: Registration | None) -> str:
    """Return the page."""
    study = analysis.study
    blocks = [
        f"# {study.title}",
        study.question,
        _size(analysis),
        _registration(registered),
        *(["## In plain words", plain_words(analysis.attribution)] if analysis.attribution else []),
        *(f"![{name}]({name}.svg)" for name in figures),
        "## Cells",
        _cells_table(analysis),
    ]
    if analysis.contrasts:
        blocks += ["## Contrasts", _contrasts_table(analysis)]
    if analysis.attribution:
        blocks += ["## Shares of the gap", _shares_table(analysis.attribution)]
    if analysis.crossings:
        blocks += ["## Epochs to an accuracy", _crossings_list(analysis)]
    if analysis.claims:
        blocks += ["## Claims", _claims_table(analysis)]
    blocks += [
        "## Runs",
        _runs_table(analysis.rows, analysis.preset),
        "## Again",
        _commands(analysis),
    ]
    return "\n\n".join(blocks) + "\n"


def _size(analysis: Analysis) -> str:
    study, preset = analysis.study, analysis.study.preset(analysis.preset)
    planned = len(study.cells())
    note = f" **{preset.note}.**" if preset.note else ""
    return (
        f"Preset `{analysis.preset}`: {len(analysis.rows)} runs in {len(analysis.cells)} of "
        f"{planned} cells.{note} Primary measure: `{study.primary}`; smallest effect of interest: "
        f"{effect_size(study.smallest, study.primary)}. Stopping rule: {study.stopping}. "
        "Initialization, order, "
        "augmentation and dropout all vary with the seed."
    )


def _registration(found: Registration | None) -> str:
    if found is None:
        return "The design was not registered."
    said = f"The design was registered {found.words} ({found.when}, SHA-256 `{found.digest[:12]}`)."
    if found.begun:
        said += " A run may have been begun for another study that shares it."
    if not found.changes:
        return said
    changed = "\n".join(f"- {line}" for line in found.changes)
    return f"**{said}** What is not as registered:\n\n{changed}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells_table(analysis: Analysis) -> str:
    factors = list(analysis.study.factors)
    header = [*factors, "epochs", "n", "mean [95 %], %", "each run, %"]
    rows = [
        [*cell.levels.values(), _epochs(cell), str(len(cell.rows)), _mean(cell), _values(cell)]
        for cell in analysis.cells
    ]
    return table(header, rows)


def _epochs(cell: CellResult) -> str:
    return " to ".join(str(epochs) for epochs in sorted({row.epochs for row in cell.rows}))


def _mean(cell: CellResult) -> str:
    mean = cell.summary.mean
    if mean is None:
        return cell.summary.words
    text = f"{100 * mean.value:.2f}"
    if mean.has_interval:
        text += f" [{100 * mean.low:.2f}, {100 * mean.high:.2f}]"
    return text if cell.summary.trained else f"{text} (none trained)"


def _values(cell: CellResult) -> str:
    pairs = zip(cell.summary.scores, cell.summary.diverged, strict=True)
    return ", ".join(f"{100 * score:.2f}" + ("*" if lost else "") for score, lost in pairs)


def _contrasts_table(analysis: Analysis) -> str:
    header = ["contrast", "predicted", "estimate [95 %]", "smallest", "Holm p", "n", "verdict"]
    rows = [_contrast_row(one) for one in analysis.contrasts]
    return table(header, rows) + (
        "\n\nWelch's intervals. Supported or contradicted: the interval lies wholly beyond the "
        "smallest effect of interest, on either side of 0; practically equal: wholly within; "
        "anything else is undecided. >= predicts no loss beyond it. A run that diverged counts as "
        "chance, 10 %, and is marked * above; where a measure has no chance, such a run leaves the "
        "contrast undecided. Holm's p is corrected over all contrasts that are not exploratory."
    )


def _contrast_row(one: ContrastResult) -> list[str]:
    name = one.design.name + (" (exploratory)" if one.design.exploratory else "")
    if one.estimate is None:
        return [name, one.design.predicted, "", "", "", "0", "not measured"]
    holm = "" if one.holm_p is None else f"{one.holm_p:.2g}"
    says = str(one.verdict) if one.verdict else ""
    estimate = " ".join(filter(None, (words(one.estimate, one.measure), one.horizons)))
    smallest = effect_size(one.smallest, one.measure)
    return [name, one.design.predicted, estimate, smallest, holm, str(one.estimate.n), says]


def _shares_table(result: AttributionResult) -> str:
    header = ["change", "share of the gap [95 %], points", "by order: least to most"]
    rows = [[one.switch, _points(one.estimate), _range(one.by_order)] for one in result.shares]
    rows.append(["all together", f"{100 * result.gap:.2f}", ""])
    return table(header, rows) + (
        "\n\nShapley values: a change's effect, averaged over all orders in which the changes can "
        "be made; they add up to the gap. How much it depends on the order is the last column."
    )


def _points(estimate: Estimate) -> str:
    if not estimate.has_interval:
        return f"{100 * estimate.value:.2f}"
    return f"{100 * estimate.value:.2f} [{100 * estimate.low:.2f}, {100 * estimate.high:.2f}]"


def _range(values: Sequence[float]) -> str:
    return f"{100 * min(values):.2f} to {100 * max(values):.2f}"


def _crossings_list(analysis: Analysis) -> str:
    lines = [
        f"- **{100 * one.threshold:g} %**: {sentence}"
        for one in analysis.crossings
        for sentence in (one.sentences or tuple(arm.words for arm in one.arms))
    ]
    return "\n".join(lines) + (
        "\n\nReached is the first epoch at which the mean of three consecutive test accuracies is "
        "at least that; a run that had not reached it by its last epoch is not given one."
    )


def _claims_table(analysis: Analysis) -> str:
    rows = [
        [one.design.text, one.design.source, one.result or "no runs yet", str(one.standing)]
        for one in analysis.claims
    ]
    return table(["claim", "source", "result", "verdict"], rows)


def _runs_table(rows: Sequence[Row], preset: str) -> str:
    measures = [name for name in MEASURES if any(name in row.measures for row in rows)]
    header = ["run", "levels", "seed", "epochs", *(name.replace("_", " ") for name in measures)]
    lines = [
        [
            f"`{row.run}`",
            ", ".join(row.levels.values()),
            str(row.seed),
            f"{row.epochs}" + (" (diverged)" if row.status == "diverged" else ""),
            *(_cell(row, name) for name in measures),
        ]
        for row in rows
    ]
    devices = sorted({(row.made["device"], row.made["precision"]) for row in rows})
    up = "" if preset == MAIN_PRESET else "../"
    made = "; ".join(f"{device}, {precision}" for device, precision in devices)
    return table(header, lines) + f"\n\nTrained on {made}. All measures: [rows.csv]({up}rows.csv)."


def _cell(row: Row, measure: str) -> str:
    if measure not in row.measures:
        return ""
    value = row.measures[measure]
    return f"{value:.1f}" if measure.startswith("seconds") else f"{100 * value:.2f}"


def _commands(analysis: Analysis) -> str:
    name = analysis.study.name
    if name not in available_studies():
        name += ".toml"
    return (
        f"    foldnorm study run {name} --preset {analysis.preset} --data-dir data\n"
        f"    foldnorm study report {name} --preset {analysis.preset}"
    )
