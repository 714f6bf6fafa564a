"""Probes change nothing: a run with all of them is bit for bit the run without any."""

import numpy as np
import pytest
import torch

from tests.small_runs import Observer, random_split
from training.errors import DivergedError
from training.recipes import load_recipe, patched
from training.trainer.loop import StoppedError, TrainingRun
from training.trainer.run.run_directory import RunDirectory

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")
ALL = {
    "layers": True,
    "landscape": True,
    "statistics": True,
    "precise_bn": 40,
    "points": {"early": 3},
    "images": 16,
    "every": 2,
}
NETWORKS = {
    "bn-and-dropout": {"norm": "noisy-batch", "dropout": True},
    "none": {"dropout": True},
    "sigmoid": {"norm": "group", "activation": "sigmoid"},
}


@pytest.fixture(scope="module")
def data():
    return random_split(80, 0), random_split(540, 1)


def recipe(options, probes, epochs=1):
    changes = {"network": {"options": options}, "epochs": epochs, "batch_size": 16}
    base = patched(load_recipe("keras-baseline"), changes, "here")
    return patched(base, {"probes": probes}, "here")


def trained(made, data, stop_at=None):
    run = TrainingRun(made, 3, CPU)
    run.prepare(*data)
    try:
        while not run.finished:
            run.train_epoch(*data, Observer(stop_at))
    except StoppedError:
        pass
    return run


@pytest.fixture(scope="module")
def probed(data, one_thread):
    return {name: trained(recipe(options, ALL), data) for name, options in NETWORKS.items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_run_with_all_probes_is_bit_for_bit_the_run_without(name, data, probed):
    plain = trained(recipe(NETWORKS[name], {}), data)
    left, right = probed[name].network.state_dict(), plain.network.state_dict()
    assert all(torch.equal(left[key], right[key]) for key in right)
    assert probed[name].history[0].train_loss == plain.history[0].train_loss
    assert probed[name].probing.measurements
    assert not plain.probing.measurements


def test_probes_leave_the_generator_of_dropout_where_it_was(data, probed):
    states = []
    for probes in (ALL, {}):
        run = trained(recipe(NETWORKS["none"], probes), data, stop_at=(1, 2))
        states.append(run.progress.dropout_state)
    assert torch.equal(*states)


def test_a_stopped_run_measures_what_an_undisturbed_one_does(data, tmp_path, probed):
    made = recipe(NETWORKS["bn-and-dropout"], ALL)
    whole = probed["bn-and-dropout"]
    folder = RunDirectory(tmp_path)
    folder.save(trained(made, data, stop_at=(1, 3)))
    resumed = TrainingRun(made, 3, CPU)
    folder.open(resumed, resume=True)
    resumed.prepare(*data)
    while not resumed.finished:
        resumed.train_epoch(*data, Observer())
    assert resumed.probing.measurements == whole.probing.measurements


def measured(run, measure, layer=""):
    return [
        one.value
        for one in run.probing.measurements
        if (one.measure, one.layer) == (measure, layer)
    ]


def test_layers_are_measured_at_the_first_steps_and_then_every_so_often(probed):
    steps = {one.step for one in probed["none"].probing.measurements if one.layer == "conv1"}
    assert steps == {0, 1, 2, 4}


def test_percentiles_of_batch_statistics_are_those_of_a_normalized_input(probed):
    run = probed["bn-and-dropout"]
    low = measured(run, "preactivation_p15_batch_statistics", "conv2")
    high = measured(run, "preactivation_p85_batch_statistics", "conv2")
    assert all(-1.3 < a < -0.7 < 0.7 < b < 1.3 for a, b in zip(low, high, strict=True))
    assert not measured(probed["none"], "preactivation_p15_batch_statistics", "conv2")


def test_saturation_is_of_activations_that_saturate_and_death_of_relus(probed):
    assert measured(probed["sigmoid"], "saturated_share", "conv1")
    assert not measured(probed["sigmoid"], "dead_share", "conv1")
    assert measured(probed["none"], "dead_share", "dense1")
    assert not measured(probed["none"], "saturated_share", "conv1")


def test_the_total_gradient_is_the_norm_of_the_layers(probed):
    run = probed["none"]
    layers = ("conv1", "conv2", "conv3", "conv4", "dense1", "dense2")
    parts = np.array([measured(run, "gradient_norm", layer) for layer in layers])
    total = np.array(measured(run, "gradient_norm"))
    np.testing.assert_allclose(np.sqrt((parts**2).sum(0)), total, rtol=1e-5)


def test_a_small_step_along_the_gradient_lowers_the_loss(probed):
    run = probed["none"]
    loss, lowest = measured(run, "loss"), measured(run, "loss_along_gradient_min")
    assert all(along < start for start, along in zip(loss, lowest, strict=True))


def test_points_are_measured_once(probed):
    assert len(measured(probed["none"], "train_test_gap_at_early")) == 1


def test_a_divergence_is_still_a_divergence_with_probes_on(data):
    run = TrainingRun(recipe(NETWORKS["none"], ALL), 3, CPU)
    run.prepare(*data)
    with torch.no_grad():
        run.network.dense2.weight.fill_(torch.nan)
    with pytest.raises(DivergedError):
        run.train_epoch(*data, Observer())


def test_clipped_gradients_move_plain_sgd_no_further_than_rate_times_the_limit(data):
    optimizer = {"kind": "plain-sgd", "learning_rate": 1.0}
    made = patched(
        recipe(NETWORKS["none"], {}), {"optimizer": optimizer, "gradient_clip": 1e-3}, "here"
    )
    run = TrainingRun(made, 3, CPU)
    before = [parameter.detach().clone() for parameter in run.network.parameters()]
    run.step(torch.rand(16, 3, 32, 32), torch.arange(16) % 10)
    moved = [(a - b).norm() for a, b in zip(run.network.parameters(), before, strict=True)]
    assert torch.stack(moved).norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_batches_of_one_class_are_trained_on(data):
    made = patched(recipe(NETWORKS["none"], {}, 1), {"data": {"order": "by-class"}}, "here")
    run = TrainingRun(made, 3, CPU)
    seen = []
    step = run.step
    run.step = lambda images, labels: (seen.append(labels.unique().numel()), step(images, labels))[
        1
    ]
    run.prepare(*data)
    run.train_epoch(*data, Observer())
    assert set(seen) == {1}
