"""`foldnorm runs`: one row a run, from its small files."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from models.history import EpochRecord, write_history
from training.cli.app import app
from training.recipes import load_recipe
from training.trainer.run.run_directory import RunDirectory

RECORD = EpochRecord(1, 1e-3, 1.5, 0.25, 1.25, 0.5, 100.0, 20.0)


def run(path, *, epochs, accuracies, **files):
    path.mkdir(parents=True)
    folder = RunDirectory(path)
    folder.describe(replace(load_recipe("keras-bn"), epochs=epochs))
    records = [replace(RECORD, epoch=n, test_accuracy=a) for n, a in enumerate(accuracies, 1)]
    if records:
        write_history(records, folder.history_file)
    for name, content in files.items():
        (path / {"outcome": "outcome.json", "diverged": "diverged.json"}[name]).write_text(content)
    return folder


def listed(*arguments):
    result = CliRunner().invoke(app, ["runs", *map(str, arguments)], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.exception
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_each_run_is_a_row_with_its_state_its_accuracies_and_the_time_left(tmp_path):
    run(
        tmp_path / "keras-bn-done",
        epochs=2,
        accuracies=[0.7, 0.6],
        outcome=json.dumps({"epochs": 2}),
    )
    run(tmp_path / "deep" / "other", epochs=5, accuracies=[0.5, 0.6])
    run(tmp_path / "keras-bn-lost", epochs=5, accuracies=[0.3], diverged="{}")
    run(tmp_path / "keras-bn-new", epochs=5, accuracies=[])
    with run(tmp_path / "keras-bn-now", epochs=4, accuracies=[0.5]).locked():
        lines = listed(tmp_path)
    assert "keras-bn-done done 2/2 7 60.00% 70.00% (1)" in lines
    assert "deep/other (keras-bn) nothing saved 2/5 7 60.00% 60.00% (2) 0:06:00" in lines
    assert "keras-bn-lost diverged 1/5 7 30.00% 30.00% (1)" in lines
    assert "keras-bn-new nothing saved 0/5 7" in lines
    assert "keras-bn-now training 1/4 7 50.00% 50.00% (1) 0:06:00" in lines


def test_a_damaged_run_is_named_and_hides_no_other(tmp_path):
    run(tmp_path / "keras-bn-done", epochs=1, accuracies=[0.7], outcome='{"epochs": 1}')
    damaged = run(tmp_path / "keras-bn-odd", epochs=1, accuracies=[0.7])
    damaged.history_file.write_text("{")
    text = " ".join(listed(tmp_path))
    assert "keras-bn-done done 1/1" in text
    assert "keras-bn-odd damaged:" in text


@pytest.mark.parametrize("folder", ["none", "."])
def test_a_folder_without_runs_is_an_error_that_names_it(tmp_path, folder):
    result = CliRunner().invoke(app, ["runs", str(tmp_path / folder)])
    assert "holds no runs; name a folder that does" in str(result.exception)
