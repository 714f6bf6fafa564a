"""The plots of learning curves: what a reader can tell apart, and what is not drawn."""

from dataclasses import replace

import pytest
import tomli_w
from typer.testing import CliRunner

from models.history import EpochRecord, write_history
from training.cli.app import app
from training.errors import CheckpointError
from training.recipes import load_recipe
from training.release.reports.figures import accuracy_figure, looks, loss_figure, save_figure
from training.release.reports.learning_curves import LearningCurve, read_sources
from training.trainer.run.run_directory import RunDirectory

RECORD = EpochRecord(1, 1e-3, 1.5, 0.4, 1.4, 0.5, 100.0, 5.0)


def curve(name, *, seed=None, epochs=3, plain_loss=True):
    history = tuple(replace(RECORD, epoch=e, test_accuracy=0.1 * e) for e in range(1, epochs + 1))
    label = name if seed is None else f"{name} seed {seed}"
    return LearningCurve(name, label, history, plain_loss)


def lines(figure):
    return figure.axes[0].lines


def labels(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_no_two_networks_look_alike():
    found = looks([curve(f"network-{number}") for number in range(35)])
    assert len(set(found.values())) == 35
    assert len({colour for colour, _ in list(found.values())[:7]}) == 7


def test_a_run_of_one_epoch_is_a_visible_marker():
    (line,) = lines(accuracy_figure([curve("short", epochs=1)]))
    assert line.get_marker() == "o"
    assert line.get_markevery() == [-1]


def test_epochs_are_whole_numbers():
    figure = accuracy_figure([curve("short", epochs=2)])
    figure.canvas.draw()
    ticks = figure.axes[0].get_xticks()
    assert all(tick == int(tick) for tick in ticks)


def test_several_seeds_are_thin_lines_and_one_thick_mean():
    figure = accuracy_figure([curve("mine", seed=0), curve("mine", seed=1)])
    widths = [line.get_linewidth() for line in lines(figure)]
    assert widths[:2] == [0.6, 0.6]
    assert widths[2] > 1
    assert labels(figure) == ["mine, 2 seeds, last 30.0 %"]


def test_a_loss_of_smoothed_labels_is_not_on_the_axis_of_the_plain_test_loss():
    figure = loss_figure([curve("plain"), curve("smoothed", plain_loss=False)])
    assert labels(figure) == [
        "plain, test",
        "plain, training",
        "smoothed, test (trained on smoothed labels)",
    ]


def test_the_same_curves_give_the_same_file(tmp_path):
    for name in ("one.svg", "two.svg", "one.png"):
        save_figure(loss_figure([curve("plain")]), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "one.png").read_bytes()[:4] == b"\x89PNG"


@pytest.fixture
def run_folder(tmp_path):
    folder = RunDirectory(tmp_path / "run")
    folder.path.mkdir()
    folder.recipe_file.write_text(tomli_w.dumps(replace(load_recipe("air94"), seed=3).to_toml()))
    write_history([RECORD], folder.history_file)
    return folder


def test_runs_are_read_beside_artifacts_and_labels_hold_version_or_seed(run_folder, artifacts):
    read, curves = read_sources([artifacts, run_folder.path])
    assert len(read) == len(curves) - 1
    assert curves[0].label == f"{read[0].name} {read[0].version}"
    assert curves[-1].label == "air94 seed 3"
    assert not curves[-1].plain_loss


def test_the_command_draws_a_run_alone_and_writes_no_table_of_artifacts(run_folder, tmp_path):
    arguments = ["report", str(run_folder.path), "-o", str(tmp_path / "out"), "--png"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("accuracy.svg", "accuracy.png", "loss.svg", "loss.png")
    }


def test_what_is_neither_artifact_nor_run_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds neither an artifact \(manifest.json\), nor"):
        read_sources([tmp_path])


def test_a_damaged_learning_curve_is_named(run_folder):
    run_folder.history_file.write_text("{")
    with pytest.raises(
        CheckpointError, match=r"learning curve of a run is damaged: .*history.jsonl:1"
    ):
        read_sources([run_folder.path])
