"""A study's state is read from its files: what is there is gathered, what is missing is trained."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.errors import StudyError
from training.studies.conduct import missing_runs, run_study
from training.studies.execution.job import Outcome
from training.studies.rows import read_curves, read_rows

OPTIONS = {"data_dir": Path("data"), "device": "cpu", "threads": 1}


class Executor:
    """Finishes each job at once, or does with it what it is told."""

    def __init__(self, finish, planned):
        self.by_identity = {run.identity: run for run in planned}
        self.finish = finish
        self.jobs = []
        self.errors = {}

    def run(self, jobs):
        for job in jobs:
            run = self.by_identity[job.folder.name.split("-")[0]]
            self.jobs.append(run)
            error = self.errors.get(len(self.jobs), "")
            if not error:
                self.finish(job.folder, run)
            yield Outcome(job, 1, error)


@pytest.fixture
def executor(left_behind, planned):
    return Executor(left_behind["finish"], planned)


def train(folder, planned, executor, **options):
    return list(run_study(folder, planned, executor, **OPTIONS, **options))


def test_all_runs_of_a_new_study_are_trained_and_recorded(folder, planned, executor):
    assert len(train(folder, planned, executor)) == 6
    rows = folder.rows()
    assert [(row.seed, row.levels["norm"]) for row in rows] == [
        (seed, norm) for seed in (0, 1, 2) for norm in ("none", "batch")
    ]
    assert {row.status for row in rows} == {"done"}


def test_a_finished_study_trains_nothing(folder, planned, executor):
    train(folder, planned, executor)
    before = (folder.path / "rows.csv").read_bytes()
    assert train(folder, planned, executor) == []
    assert (folder.path / "rows.csv").read_bytes() == before


def test_a_stopped_study_goes_on_and_ends_with_the_same_table(
    folder, planned, executor, left_behind
):
    for run in planned[:2]:
        left_behind["finish"](folder.runs.path / run.folder, run)
    train(folder, planned, executor)
    assert [run.identity for run in executor.jobs] == [run.identity for run in planned[2:]]
    assert [row.run for row in folder.rows()] == [run.identity for run in planned]


def test_rows_alone_are_enough_so_a_study_goes_on_on_another_machine(folder, planned, executor):
    train(folder, planned[:4], executor)
    shutil.rmtree(folder.runs.path)
    executor.jobs = []
    train(folder, planned, executor)
    assert [run.identity for run in executor.jobs] == [run.identity for run in planned[4:]]
    assert len(folder.rows()) == 6
    assert len({point.run for point in folder.curves()}) == 6


def test_a_diverged_run_is_a_result_that_scores_chance(folder, planned, executor, left_behind):
    executor.finish = left_behind["diverge"]
    assert all(not outcome.error for outcome in train(folder, planned, executor))
    (row, *_) = folder.rows()
    assert (row.status, row.epochs) == ("diverged", 1)  # in its second epoch
    assert row.measures["precise_accuracy_last_fifth"] == 0.1
    assert folder.states(planned)[planned[0]] == "recorded"


def test_a_failed_run_leaves_the_others_trained_and_is_named_at_the_end(folder, planned, executor):
    executor.errors = {2: "no space left"}
    with pytest.raises(StudyError, match=r"1 of 6 runs failed \(.*: no space left\)"):
        train(folder, planned, executor)
    assert len(folder.rows()) == 5
    assert folder.states(planned)[planned[1]] == "failed"
    executor.errors = {}
    train(folder, planned, executor)
    assert len(folder.rows()) == 6


def test_fail_fast_stops_at_the_first_failure(folder, planned, executor):
    executor.errors = {2: "no space left"}
    with pytest.raises(StudyError):
        train(folder, planned, executor, fail_fast=True)
    assert len(executor.jobs) == 2


def test_a_run_that_measured_more_serves_and_one_that_measured_less_does_not(
    folder, planned, left_behind
):
    run = planned[1]

    def with_probes(**probes):
        recipe = replace(run.recipe, probes=replace(run.recipe.probes, **probes))
        return replace(run, recipe=recipe)

    more, less = with_probes(layers=True), with_probes(precise_bn=0)
    left_behind["finish"](folder.runs.path / less.folder, less)
    assert folder.runs.state(run) == "missing"
    left_behind["finish"](folder.runs.path / more.folder, more)
    assert folder.runs.state(run) == "done"


def test_a_longer_run_contains_the_shorter(folder, planned, left_behind):
    run = planned[0]
    longer = replace(run, recipe=replace(run.recipe, epochs=9))
    left_behind["finish"](folder.runs.path / longer.folder, longer)
    row = folder.runs.row(run, (0.5,))
    assert row.epochs == 4
    assert row.measures["test_accuracy_last"] == pytest.approx(left_behind["accuracy_of"](run, 4))
    assert max(point.epoch for point in folder.runs.curve(run)) == 4
    assert folder.runs.state(longer) == "done"


def test_precise_accuracy_takes_the_place_of_the_raw_one_where_there_is_batch_norm(
    folder, planned, executor, left_behind
):
    train(folder, planned, executor)
    none, batch = folder.rows()[:2]
    assert none.measures["precise_accuracy_last_fifth"] == none.measures["test_accuracy_last_fifth"]
    assert batch.measures["precise_accuracy_last_fifth"] == pytest.approx(
        batch.measures["test_accuracy_last_fifth"] + 0.1
    )


def test_the_design_is_kept_at_the_first_run_and_not_changed_after(folder):
    folder.register("cpu", torch.device("cpu"))
    kept = (folder.path / "registration.json").read_bytes()
    folder.register("cpu", torch.device("cpu"))
    assert (folder.path / "registration.json").read_bytes() == kept
    assert folder.registrations()["cpu"]["design"]["study"]["question"] == "Does batch norm help?"


def test_tables_read_back_as_they_were_written(folder, planned, executor):
    train(folder, planned, executor)
    rows = read_rows(folder.path / "rows.csv", "tiny", ["norm"])
    header = (folder.path / "rows.csv").read_text().splitlines()[0].split(",")
    assert header[:3] == ["study", "run", "seed"]
    assert rows == folder.rows()
    assert read_curves(folder.path / "curves.csv")[0].epoch == 1


def test_a_table_of_another_design_is_refused(folder, planned, executor):
    train(folder, planned, executor)
    with pytest.raises(
        StudyError, match="has no column 'rate': it is damaged or of another design"
    ):
        read_rows(folder.path / "rows.csv", "tiny", ["rate"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text + "<<<<<<< HEAD\n", r"rows.csv:8 has 1 values, and the header \d+"),
        (lambda text: text[:-9], "rows.csv:7 has .* cut off or half merged"),
        (
            lambda text: text.replace(",0,cpu,", ",zero,cpu,", 1),
            "seed is 'zero', not a whole number",
        ),
        (lambda text: text.replace(",done,", ",failed,", 1), "status is 'failed', not done or div"),
        (lambda text: text.replace(",0.5,", ",nan,", 1), "is 'nan', not a finite number"),
        (lambda text: text.replace(",0.5,", ",inf,", 1), "is 'inf', not a finite number"),
        (
            lambda text: text.replace("tiny,", "other,", 1),
            "a row of the study 'other', not of 'tiny'",
        ),
        (lambda text: text + text.splitlines()[3] + "\n", "two rows of none, seed 1, preset 'cpu'"),
        (lambda text: "\ufeff" + text.replace(",", ";"), "has no column 'study'"),
        (lambda text: text.encode("utf-16"), "cannot read .*rows.csv"),
    ],
)
def test_a_damaged_table_is_refused_by_its_line_and_value(
    damage, message, folder, planned, executor
):
    train(folder, planned, executor)
    path = folder.path / "rows.csv"
    path.write_bytes(path.read_bytes().replace(b",1.5,", b",0.5,"))
    damaged = damage(path.read_text())
    path.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
    with pytest.raises(StudyError, match=message):
        folder.rows()


@pytest.mark.parametrize("text", ["{", "[]", '{"cpu": {}}', '{"cpu": {"registered": "then"}}'])
def test_a_damaged_registration_is_refused(text, folder):
    folder.path.mkdir(parents=True)
    (folder.path / "registration.json").write_text(text)
    with pytest.raises(StudyError, match=r"registration\.json is damaged"):
        folder.register("cpu", torch.device("cpu"))


@pytest.mark.parametrize(
    ("file", "text"),
    [("history.jsonl", "{"), ("recipe.toml", ""), ("measures.jsonl", "[]\n")],
)
def test_a_damaged_run_folder_is_named_with_the_remedy(file, text, folder, planned, left_behind):
    run = planned[1]
    left_behind["finish"](folder.runs.path / run.folder, run)
    (folder.runs.path / run.folder / file).write_text(text)
    with pytest.raises(StudyError, match=rf"run folder .*{run.folder} is damaged .*remove it"):
        folder.gather(planned)


def test_a_row_of_fewer_epochs_is_made_again_and_takes_its_place(folder, planned, left_behind):
    for run in planned:
        left_behind["finish"](folder.runs.path / run.folder, run)
    folder.gather(planned)
    longer = [replace(run, recipe=replace(run.recipe, epochs=6)) for run in planned]
    assert set(folder.states(longer).values()) == {"missing"}
    for run in longer:
        left_behind["finish"](folder.runs.path / run.folder, run)
    assert folder.gather(longer) == 6
    assert {row.epochs for row in folder.rows()} == {6}
    assert {point.epoch for point in folder.curves()} == {1, 2, 3, 4, 5, 6}


def test_a_row_of_an_earlier_design_gives_way(folder, planned, left_behind):
    for run in planned:
        left_behind["finish"](folder.runs.path / run.folder, run)
    folder.gather(planned)
    changed = [replace(run, recipe=replace(run.recipe, batch_size=64)) for run in planned]
    for run in changed:
        left_behind["finish"](folder.runs.path / run.folder, run)
    assert folder.gather(changed) == 6
    assert [row.run for row in folder.rows()] == [run.identity for run in changed]
    assert {point.run for point in folder.curves()} == {run.identity for run in changed}


def test_cells_that_share_a_run_each_have_their_row_and_the_longest_is_trained(folder, planned):
    run = planned[0]
    twin = replace(run, cell=(("norm", "twin"),), recipe=replace(run.recipe, name="twin", epochs=9))
    left = missing_runs(folder, [run, twin])
    assert [one.recipe.epochs for one in left.values()] == [9]


def test_a_run_begun_with_other_probes_goes_on_with_those(folder, planned, left_behind):
    run = planned[1]
    probes = replace(run.recipe.probes, layers=True)
    more = replace(run, recipe=replace(run.recipe, probes=probes, epochs=2))
    left_behind["finish"](folder.runs.path / more.folder, more)
    assert folder.runs.recipe(run) == replace(run.recipe, probes=probes)


def test_an_outcome_without_a_result_has_failed(folder, planned, executor):
    executor.finish = lambda path, run: None
    with pytest.raises(StudyError, match=r"6 of 6 runs failed .*holds no finished run"):
        train(folder, planned, executor)
