"""The epoch that was best on held-out images: kept beside the last one, and named as selected."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from tests.integration.training.test_release import SAMPLE, checkpoint
from tests.small_runs import Observer, random_split
from training.data.cifar10 import Split
from training.errors import CheckpointError
from training.recipes.recipe import load_recipe
from training.release.model_card import model_card
from training.release.release import release
from training.trainer.loop import TrainingRun
from training.trainer.probes import Measurement
from training.trainer.run.run_directory import RunDirectory
from training.trainer.run.saved_networks import network_from_checkpoint

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data():
    return random_split(86, 0), random_split(20, 1)


@pytest.fixture(scope="module")
def recipe():
    """Random labels: no epoch is better than another but by chance."""
    plain = load_recipe("keras-bn")
    return replace(plain, batch_size=43, epochs=50, data=replace(plain.data, held_out=1_000))


def weights_by_epoch(run, data, folder):
    """Train to the end, saving each epoch; return the weights after each."""
    seen = []
    run.prepare(*data, held_out=random_split(30, 5))
    while not run.finished:
        run.train_epoch(*data, Observer())
        RunDirectory(folder).save(run)
        seen.append({name: value.clone() for name, value in run.network.state_dict().items()})
    return seen


def test_the_best_epoch_is_kept_and_patience_ends_the_run(recipe, data, tmp_path):
    run = TrainingRun(replace(recipe, patience=2), 7, CPU)
    weights = weights_by_epoch(run, data, tmp_path)
    seen = run.held_out_accuracies
    assert run.impatient
    assert len(seen) == run.progress.epoch == run.result.epochs < 50
    assert run.best_epoch == seen.index(max(seen)) + 1 == len(seen) - 2
    best = RunDirectory(tmp_path).load_best()
    assert best.selected == {"epoch": run.best_epoch, "images": 1_000, "accuracy": max(seen)}
    network, _ = network_from_checkpoint(best)
    kept = weights[run.best_epoch - 1]
    assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items())
    assert len(best.history) == run.best_epoch
    for patience in (2, 0):
        again = TrainingRun(replace(recipe, patience=patience), 7, CPU)
        RunDirectory(tmp_path).open(again, resume=True)
        assert again.finished == (patience == 2)


def test_a_run_stopped_inside_an_epoch_is_not_its_best(recipe, data, tmp_path):
    run = TrainingRun(replace(recipe, epochs=2), 7, CPU)
    run.prepare(*data, held_out=random_split(30, 5))
    run.train_epoch(*data, Observer())
    assert run.best_checkpoint().selected["epoch"] == 1
    run.progress.step = 1
    assert run.best_checkpoint() is None


def test_of_equals_the_first_is_the_best_one(recipe):
    run = TrainingRun(recipe, 7, CPU)
    for epoch, accuracy in enumerate((0.5, 0.7, 0.6, 0.7), 1):
        run.probing.measurements.append(Measurement(epoch, epoch, "held_out_accuracy", accuracy))
    assert run.best_epoch == 2


def test_without_held_out_images_there_is_none(data, tmp_path):
    run = TrainingRun(replace(load_recipe("keras-bn"), batch_size=43, epochs=1), 7, CPU)
    run.prepare(*data)
    run.train_epoch(*data, Observer())
    RunDirectory(tmp_path).save(run)
    assert run.best_epoch is None
    message = r"keeps no best epoch.*--set data.held_out=5_000.*without --best"
    with pytest.raises(CheckpointError, match=message):
        RunDirectory(tmp_path).load_best()


def test_the_artifact_says_that_it_was_selected(tmp_path):
    with np.load(SAMPLE) as arrays:
        sample = Split(arrays["images"], arrays["labels"])
    selected = {"epoch": 2, "images": 5_000, "accuracy": 0.4375}
    run = replace(checkpoint("keras-bn"), selected=selected)
    made = release(run, "1.0.0", sample, tmp_path, latency_rounds=1).manifest
    assert asdict(made.provenance.selected) == selected
    card = model_card(made)
    assert "after epoch 2, selected for its 43.75% of 5,000 training images" in card
    assert "the last of" not in card
