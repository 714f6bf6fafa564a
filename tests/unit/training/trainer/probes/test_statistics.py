"""The statistics of batch norms: other momenta, PreciseBN, and what neighbours change."""

from dataclasses import replace

import pytest
import torch

from models.networks.keras_cnn import KerasCnn
from training.data.device_split import DeviceSplit
from training.recipes import load_recipe, patched
from training.trainer.methods.precise_bn import apply_precise_bn
from training.trainer.probes.accuracy import AccuracyProbe
from training.trainer.probes.probe import Bench
from training.trainer.probes.statistics import StatisticsProbe, batch_norms

OFF = torch.autocast("cpu", enabled=False)


def split(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return DeviceSplit(images, torch.arange(count) % 10)


def bench(count=80, test=600, held_out=None, **probes):
    recipe = patched(load_recipe("keras-bn"), {"probes": probes, "epochs": 1}, "here")
    return Bench(recipe, split(count), split(test, 1), held_out)


def network(**options):
    made = KerasCnn(**{"norm": "batch", "norm_on_logits": True, **options})
    made.initialize(torch.Generator().manual_seed(0))
    return made


def test_other_momenta_give_what_a_network_of_that_momentum_would_have():
    ours, other = network(momentum=0.01), network(momentum=0.1)
    probe = StatisticsProbe(bench(), ours, OFF)
    for step in range(6):
        images = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(step))
        ours.train()(images)
        probe.after_step(ours)
        other.train()(images)
    expected = torch.cat(
        [buffer for norm in batch_norms(other) for buffer in (norm.running_mean, norm.running_var)]
    )
    torch.testing.assert_close(probe.averages[0.1], expected, rtol=2e-4, atol=2e-5)


def measured(probe, net):
    return {name: value for name, _, value in probe.after_epoch(net)}


def test_in_training_mode_neighbours_change_answers_and_in_inference_mode_none():
    net = network().eval()
    found = measured(StatisticsProbe(bench(statistics=True), net, OFF), net)
    assert found["answers_changed_by_neighbours"] > 0
    assert found["answers_changed_in_inference_mode"] == 0


def test_precise_bn_is_measured_only_for_as_many_images_as_there_are():
    net = network()
    found = measured(StatisticsProbe(bench(count=80, statistics=True), net, OFF), net)
    assert "precise_bn_accuracy_64_images" in found
    assert "precise_bn_accuracy_256_images" not in found


def test_epochs_1_2_4_8_and_the_last_are_measured():
    net = network()
    made = bench(statistics=True)
    made = replace(made, recipe=replace(made.recipe, epochs=11))
    probe = StatisticsProbe(made, net, OFF)
    probe._accuracy = lambda _: 0.5
    probe._training_mode_accuracy = lambda *_, **__: 0.5
    probe._changed = lambda *_, **__: 0.0
    assert [epoch for epoch in range(1, 12) if measured(probe, net)] == [1, 2, 4, 8, 11]


def test_a_network_without_batch_norm_has_nothing_to_measure():
    net = network(norm="none", norm_on_logits=False)
    probe = StatisticsProbe(bench(statistics=True), net, OFF)
    probe.after_step(net)
    assert measured(probe, net) == {}
    assert measured(AccuracyProbe(bench(precise_bn=50), OFF), net) == {}


@pytest.mark.parametrize(
    "probe_of",
    [lambda b, n: StatisticsProbe(b, n, OFF), lambda b, _: AccuracyProbe(b, OFF)],
    ids=["statistics", "accuracy"],
)
def test_measuring_changes_nothing_of_the_network(probe_of):
    net = network().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    made = bench(precise_bn=60, statistics=True, held_out=split(20, 2))
    probe = probe_of(made, net)
    assert measured(probe, net)
    list(probe.at_point(net))
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(layer.training for layer in net.modules())


def test_precise_accuracy_is_that_of_a_network_with_precise_statistics():
    net, made = network(), bench(precise_bn=60)
    (found,) = measured(AccuracyProbe(made, OFF), net).values()
    apply_precise_bn(net, made.train.images[:60], OFF)
    with torch.no_grad():
        right = net(made.test.images / 255).argmax(1) == made.test.labels
    assert found == pytest.approx(right.float().mean().item(), abs=2e-3)


def test_the_gap_is_the_difference_of_both_accuracies_in_inference_mode():
    net, made = network(), bench()
    found = {name: value for name, _, value in AccuracyProbe(made, OFF).at_point(net)}
    assert found["train_test_gap"] == found["train_accuracy"] - found["test_accuracy"]


def test_held_out_images_are_measured_after_every_epoch():
    net = network()
    found = measured(AccuracyProbe(bench(held_out=split(30, 2)), OFF), net)
    assert set(found) == {"held_out_loss", "held_out_accuracy"}


def test_the_averages_survive_a_stop():
    net = network()
    probe = StatisticsProbe(bench(), net, OFF)
    net.train()(torch.rand(8, 3, 32, 32))
    probe.after_step(net)
    probe.epochs = 3
    again = StatisticsProbe(bench(), net, OFF)
    again.restore(probe.state())
    assert again.epochs == 3
    assert all(torch.equal(again.averages[m], probe.averages[m]) for m in probe.averages)
