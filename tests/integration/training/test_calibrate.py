"""From a released artifact to the next version of it, its temperature folded in."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.networks import build_network, scale_logits
from tests.integration.training.test_release import SAMPLE, checkpoint
from training.data.cifar10 import Split
from training.errors import ExportError
from training.evaluation.onnx_runner import GraphRunner
from training.evaluation.temperature import fit_temperature, mean_loss
from training.recipes import recipe_from_dict
from training.release.artifact_check import check_contract, check_golden
from training.release.calibrated_release import release_calibrated
from training.release.model_card import model_card
from training.release.release import release
from training.trainer.run.saved_networks import network_from_artifact

NAMES = ("keras-bn", "air-tiny")


@pytest.fixture(scope="module")
def sample():
    with np.load(SAMPLE) as arrays:
        return Split(arrays["images"], arrays["labels"])


def sibling_of(name, seed=1, *, held_out=20, epochs=2, **changes):
    """A run of the recipe with other weights, which held images out."""
    run = checkpoint(name, seed)
    recipe = recipe_from_dict(run.recipe, name)
    data = replace(recipe.data, held_out=held_out)
    recipe = replace(recipe, data=data, epochs=epochs, **changes)
    return replace(run, recipe=recipe.to_dict(), seed=seed)


def source_of(name, sample, folder):
    run = checkpoint(name)
    run = replace(run, recipe={**run.recipe, "epochs": 2})
    return release(run, "1.0.0", sample, folder, latency_rounds=1)


@pytest.fixture(scope="module", params=NAMES)
def pair(request, sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrated")
    source = source_of(request.param, sample, folder)
    siblings = [sibling_of(request.param, seed) for seed in (1, 2)]
    made = release_calibrated(source, siblings, sample, sample, "1.1.0", folder, latency_rounds=1)
    return source, made


def test_every_graph_gives_the_logits_divided_by_the_temperature_and_the_same_answers(pair, sample):
    source, made = pair
    made.verify()
    temperature = made.manifest.temperature.temperature
    assert set(made.manifest.graphs) == set(source.manifest.graphs)
    for variant in source.manifest.graphs:
        before, after = (GraphRunner(one.read_graph(variant)).logits(sample.images) for one in pair)
        np.testing.assert_allclose(after * temperature, before, rtol=1e-4, atol=1e-3)
        assert (before.argmax(1) == after.argmax(1)).all()


def test_the_temperature_is_the_geometric_mean_of_those_fitted_on_held_out_images(pair):
    report = pair[1].manifest.temperature
    one, two = report.siblings
    assert report.temperature == pytest.approx((one.temperature * two.temperature) ** 0.5)
    assert (one.images, one.seed, two.seed) == (20, 1, 2)
    assert one.loss_after < one.loss_before
    assert report.test_before == pair[0].manifest.metrics.test
    assert pair[1].manifest.metrics.test.correct_bits == report.test_before.correct_bits


def test_the_new_version_is_proved_like_any_other(pair, sample):
    made = pair[1]
    assert made.manifest.fold is None or made.manifest.fold.proof.holds
    check_contract(made)
    check_golden(made, network_from_artifact(made))
    assert "All logits are divided by" in model_card(made.manifest)
    assert made.manifest.quantization is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"held_out": 0}, "held no images out; train a sibling with --set data.held_out=5_000"),
        ({"epochs": 3}, "has 2 of its 3 epochs; let it finish"),
        ({"batch_size": 64}, "no sibling of keras-bn-1.0.0: its batch_size is 64, there it is 32"),
    ],
)
def test_a_run_that_is_no_sibling_is_refused_and_nothing_is_written(
    sample, tmp_path, change, message
):
    source = source_of("keras-bn", sample, tmp_path)
    with pytest.raises(ExportError, match=message):
        release_calibrated(
            source, [sibling_of("keras-bn", **change)], sample, sample, "1.1.0", tmp_path
        )
    assert [path.name for path in tmp_path.iterdir()] == ["keras-bn-1.0.0"]


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_fit_finds_the_temperature_that_labels_were_drawn_with(true):
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 10)) * 2
    noise = generator.gumbel(size=logits.shape)
    labels = (logits / true + noise).argmax(1)
    fitted = fit_temperature(logits, labels)
    assert fitted == pytest.approx(true, rel=0.05)
    assert mean_loss(logits, labels, fitted) <= mean_loss(logits, labels, fitted * 1.01)
    assert mean_loss(logits, labels, fitted) <= mean_loss(logits, labels, fitted / 1.01)


def test_scaling_touches_the_last_layer_alone():
    network = build_network("keras_cnn", {"norm": "batch"}).eval()
    images = torch.rand(4, 3, 32, 32)
    before, names = network(images), dict(network.named_parameters())
    kept = {name: value.clone() for name, value in names.items()}
    scale_logits(network, 0.5)
    torch.testing.assert_close(network(images), before / 2)
    changed = {name for name, value in names.items() if not torch.equal(value, kept[name])}
    assert changed == {"dense2.weight", "dense2.bias"}


def test_a_calibrated_artifact_is_not_calibrated_again(pair, sample, tmp_path):
    _, made = pair
    siblings = [sibling_of(made.name)]
    with pytest.raises(ExportError, match=f"{made.path.name} are divided by a temperature already"):
        release_calibrated(made, siblings, sample, sample, "1.2.0", tmp_path)
