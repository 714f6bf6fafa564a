"""The figures: every run is seen, the title answers, and what is missing is left out or said."""

import math
import random
from dataclasses import replace

import pytest
from matplotlib.text import Annotation

from tests.study_rows import rows_of
from training.studies.design import FIGURES, available_studies, load_study
from training.studies.reports.analysis import analyse
from training.studies.reports.figures import DRAWN, draw, save
from training.studies.rows import CurvePoint

MEASURES = (
    *("test_accuracy_last_fifth", "test_accuracy_last", "test_accuracy_best"),
    *("train_test_gap_at_images", "train_test_gap_at_updates", "test_accuracy_at_images"),
    *("late_effective_smoothness", "late_gradient_change"),
)
ARRIVALS = ("epochs_to", "first_epoch_at")
NEIGHBOURS = {"answers_changed_by_neighbours": 170.0, "answers_changed_in_inference_mode": 0.0}


def rows_by_chance(study, seeds):
    """Return rows with accuracies by chance that arrive nowhere."""
    draws = random.Random(0)

    def measures_of(levels, seed):
        return {
            **{name: 0.4 + 0.3 * draws.random() for name in sorted({study.primary, *MEASURES})},
            **{f"{name}_{t:g}": math.inf for t in study.thresholds for name in ARRIVALS},
        }

    return rows_of(study, measures_of, seeds=seeds)


def curves_of(rows):
    points = []
    for row in rows:
        for epoch in (1, 2, 4):
            step = 1563 * epoch
            whole = {
                "test_accuracy": 0.5,
                "train_accuracy": 0.4,
                "effective_smoothness": 2.0,
                "gradient_change": 0.5,
                "loss_along_gradient_min": 1.0,
                "loss_along_gradient_max": 2.0,
                **NEIGHBOURS,
                **{f"precise_bn_accuracy_{n}_images": 0.6 for n in (64, 256, 1000, 4000, 16000)},
                **{f"accuracy_momentum_{momentum}": 0.4 for momentum in ("0.1", "0.001")},
            }
            points.append(CurvePoint(row.run, row.seed, float(epoch), step, "", whole))
            layer = {"preactivation_p15": -1.0, "preactivation_p50": 0.0, "preactivation_p85": 1.0}
            points.append(CurvePoint(row.run, row.seed, float(epoch), step, "conv1", layer))
    return points


def drawn(
    name,
    *,
    seeds=(0, 1, 2),
    keep=lambda row: True,
    change=lambda rows: rows,
    curves=lambda points: points,
):
    study = load_study(name)
    rows = change([row for row in rows_by_chance(study, seeds) if keep(row)])
    return draw(analyse(study, "cpu", rows, curves(curves_of(rows))))


def dots_of(figure):
    return [line for axes in figure.axes for line in axes.lines if line.get_gid() == "run"]


def count(figure):
    return sum(len(line.get_xdata()) for line in dots_of(figure))


@pytest.mark.parametrize("name", available_studies())
def test_every_study_that_ships_draws_all_its_figures(name):
    assert set(drawn(name)) == set(load_study(name).figures)


@pytest.mark.parametrize("name", available_studies())
def test_a_study_of_one_epoch_and_few_images_draws_what_it_has(name):
    """As the preset smoke leaves it."""

    def short(points):
        return [
            replace(point, values={k: v for k, v in point.values.items() if "16000" not in k})
            for point in points
            if point.epoch == 1
        ]

    assert drawn(name, seeds=(0, 1), curves=short)


@pytest.mark.parametrize("name", available_studies())
def test_a_study_half_done_and_one_of_a_single_seed_draw_what_is_there(name):
    assert drawn(name, seeds=(0,))
    levels = load_study(name).cells()
    half = [dict(cell) for cell in levels[: max(1, len(levels) // 2)]]
    for figure in drawn(name, keep=lambda row: row.levels in half).values():
        if len(half) < len(levels):
            assert f"({len(half)} of {len(levels)} cells)" in figure.get_supxlabel()


@pytest.mark.parametrize("name", available_studies())
def test_nothing_measured_is_nothing_drawn(name):
    assert draw(analyse(load_study(name), "cpu", [], [])) == {}


def test_every_run_is_a_dot():
    assert count(drawn("which-change")["cells"]) == 36
    assert count(drawn("learning-rate")["rates"]) == 42
    assert count(drawn("optimizers")["slopes"]) == 36
    assert count(drawn("regularization")["gaps"]) == 2 * 36


def diverge_first(rows):
    lost = dict.fromkeys(rows[0].measures, 0.1)
    return [replace(rows[0], status="diverged", measures=lost), *rows[1:]]


def test_a_run_that_diverged_is_hollow_and_stands_at_chance():
    figure = drawn("learning-rate", change=diverge_first)["rates"]
    hollow = [line for line in dots_of(figure) if line.get_markerfacecolor() == "white"]
    assert [list(line.get_ydata()) for line in hollow] == [[10.0]]


def arrive(rows):
    return [
        replace(row, measures={**row.measures, "epochs_to_0.75": 3.0, "epochs_to_0.7": 2.0})
        if row.levels["network"] == "bn"
        else row
        for row in rows
    ]


def test_a_run_that_never_arrives_is_an_arrow_and_no_dot():
    figure = drawn("reference", change=arrive)["crossings"]
    arrows = [
        text
        for axes in figure.axes
        for text in axes.texts
        if isinstance(text, Annotation) and text.arrow_patch is not None
    ]
    assert count(figure) == 6  # three runs, two thresholds
    assert len(arrows) == 4 * 9 - 6
    assert "at least" in figure.get_suptitle()


def test_the_title_answers_with_numbers():
    assert "points" in drawn("which-change")["attribution"].get_suptitle()
    assert "decades" in drawn("learning-rate")["rates"].get_suptitle()
    assert "60.0 %" in drawn("statistics")["statistics"].get_suptitle()


@pytest.mark.parametrize("name", available_studies())
def test_the_caption_says_what_this_size_cannot_show(name):
    note = load_study(name).presets["cpu"].note
    for figure in drawn(name).values():
        assert note[1:20] in figure.get_supxlabel().replace("\n", " ")


def test_the_same_rows_give_the_same_file(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        save(drawn("placement")["forest"], tmp_path / folder, "forest", png=True)
    assert (tmp_path / "one/forest.svg").read_bytes() == (tmp_path / "two/forest.svg").read_bytes()
    assert (tmp_path / "one/forest.png").read_bytes()[:4] == b"\x89PNG"


def test_every_figure_is_wanted_by_a_study():
    wanted = {name for study in available_studies() for name in load_study(study).figures}
    assert wanted == set(DRAWN) == set(FIGURES)
