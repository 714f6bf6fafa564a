"""A run that begins with the weights of another, or of an artifact."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.integration.training.test_calibrate import sibling_of, source_of
from tests.integration.training.test_release import SAMPLE, checkpoint
from tests.small_runs import Observer, random_split
from training.data.cifar10 import Split
from training.errors import CheckpointError, ExportError
from training.recipes import load_recipe
from training.recipes.recipe import AveragingRecipe
from training.release.calibrated_release import release_calibrated
from training.release.model_card import model_card
from training.release.release import release
from training.trainer.loop import TrainingRun
from training.trainer.run.checkpoint import save_checkpoint
from training.trainer.run.initial_weights import read_initial_weights
from training.trainer.run.run_directory import RunDirectory

CPU = torch.device("cpu")
NAMES = ("keras-bn", "air-tiny")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def sample():
    with np.load(SAMPLE) as arrays:
        return Split(arrays["images"], arrays["labels"])


@pytest.fixture(scope="module")
def data():
    return random_split(86, 0), random_split(20, 1)


def saved(name, folder, seed=0):
    made = checkpoint(name, seed)
    save_checkpoint(made, folder / "earlier" / "checkpoint.pt")
    return made, folder / "earlier"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("path", ["", "checkpoint.pt"])
def test_the_first_step_starts_from_the_given_weights(name, path, data, tmp_path):
    earlier, folder = saved(name, tmp_path)
    run = TrainingRun(replace(load_recipe(name), batch_size=43), 3, CPU)
    run.begin_with(read_initial_weights(folder / path))
    run.prepare(*data)  # the whitening is given too
    given = run.network.state_dict()
    assert all(torch.equal(value, given[key]) for key, value in earlier.network.items())
    assert {**run.origin, "sha256": ""} == {
        "source": "earlier",
        "recipe": name,
        "seed": 7,
        "epochs": 2,
        "sha256": "",
    }
    before = run.checkpoint().network["conv1.weight" if name == "keras-bn" else "head.weight"]
    kept = before.clone()
    run.train_epoch(*data, Observer())
    assert not torch.equal(kept, before)


def test_an_artifact_gives_the_weights_it_was_exported_from(sample, tmp_path):
    earlier = checkpoint("keras-bn")
    artifact = release(earlier, "1.0.0", sample, tmp_path, latency_rounds=1)
    save_checkpoint(earlier, tmp_path / "run" / "checkpoint.pt")
    by_graph, by_run = map(read_initial_weights, (artifact.path, tmp_path / "run"))
    assert by_graph.origin == {**by_run.origin, "source": "keras-bn-1.0.0"}


def test_an_average_begins_with_them_too(data, tmp_path):
    _, folder = saved("air-tiny", tmp_path)
    plain = load_recipe("air-tiny")
    recipe = replace(plain, averaging=AveragingRecipe("ema"))
    run = TrainingRun(recipe, 3, CPU)
    run.begin_with(read_initial_weights(folder))
    weights = run.network.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in run.average.average.items())


def test_a_resumed_run_knows_where_it_began(data, tmp_path):
    _, folder = saved("keras-bn", tmp_path)
    _, other = saved("keras-bn", tmp_path / "other", seed=1)
    recipe = replace(load_recipe("keras-bn"), batch_size=43, epochs=2)

    def begun(source):
        run = TrainingRun(recipe, 3, CPU)
        if source:
            run.begin_with(read_initial_weights(source))
        return run

    for name in ("run", "plain"):
        (tmp_path / name).mkdir()
    run = begun(folder)
    run.prepare(*data)
    run.train_epoch(*data, Observer())
    directory = RunDirectory(tmp_path / "run")
    directory.save(run)
    for source in (folder, None):  # given again, or not
        again = begun(source)
        directory.open(again, resume=True)
        assert again.origin == run.origin
    with pytest.raises(CheckpointError, match=r"began with the weights of earlier .*not with"):
        directory.open(begun(other), resume=True)
    plain = begun(None)
    RunDirectory(tmp_path / "plain").save(plain)
    with pytest.raises(CheckpointError, match="run began with random weights, not with"):
        RunDirectory(tmp_path / "plain").open(begun(folder), resume=True)


def test_weights_of_another_network_are_refused_whole(tmp_path):
    _, folder = saved("keras-baseline", tmp_path)
    run = TrainingRun(load_recipe("keras-bn"), 3, CPU)
    before = {key: value.clone() for key, value in run.network.state_dict().items()}
    message = r"weights of earlier are of another network: .* is missing there, and \(32,\) here"
    with pytest.raises(CheckpointError, match=message):
        run.begin_with(read_initial_weights(folder))
    assert all(torch.equal(value, before[key]) for key, value in run.network.state_dict().items())


def test_a_folder_of_nothing_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        read_initial_weights(tmp_path)


def test_the_artifact_says_where_its_run_began(sample, tmp_path):
    origin = {"source": "a", "recipe": "keras-bn", "seed": 1, "epochs": 9, "sha256": "0" * 64}
    run = replace(checkpoint("keras-bn"), origin=origin)
    made = release(run, "1.0.0", sample, tmp_path, latency_rounds=1).manifest
    assert vars(made.provenance.initial_weights) == origin
    assert "began with the weights of a (recipe `keras-bn`, seed 1, 9 epochs)" in model_card(made)


def test_a_warm_start_is_no_sibling_since_it_may_have_seen_what_it_holds_out(sample, tmp_path):
    source = source_of("keras-bn", sample, tmp_path)
    origin = {"source": "a", "recipe": "keras-bn", "seed": 1, "epochs": 9, "sha256": "0" * 64}
    sibling = replace(sibling_of("keras-bn"), origin=origin)
    with pytest.raises(
        ExportError, match=r"began with the weights of a .* images that it holds out"
    ):
        release_calibrated(source, [sibling], sample, sample, "1.1.0", tmp_path)
