"""The comparison of evaluations against the manifests that it comes from."""

import json
import shutil

import numpy as np
import pytest

from models.bundle import load_bundle, load_catalogue
from service.api.v1.evaluation import compare_evaluations


@pytest.fixture
def bundles(artifacts):
    return load_catalogue(artifacts)


def test_each_model_shows_what_its_manifest_says(bundles):
    answer = compare_evaluations(bundles)
    for model, bundle in zip(answer.models, bundles, strict=True):
        manifest = bundle.manifest
        assert (model.name, model.version, model.title) == (
            manifest.name,
            manifest.version,
            manifest.title,
        )
        assert model.test == manifest.metrics.test
        assert model.best_epoch == manifest.metrics.best_epoch
        assert model.graphs == manifest.graphs
        assert model.fold == manifest.fold
        assert model.temperature == manifest.temperature
        assert model.selected == manifest.provenance.selected
        assert model.history == bundle.read_history()
        assert model.training.epochs == manifest.provenance.epochs


def test_epochs_to_an_accuracy_are_those_of_the_curve(bundles):
    for model in compare_evaluations(bundles).models:
        for threshold, reached in zip((0.70, 0.75, 0.79), model.epochs_to, strict=True):
            assert reached.test_accuracy == threshold
            epochs = [r.epoch for r in model.history if r.test_accuracy >= threshold]
            assert reached.epoch == (min(epochs) if epochs else None)


def test_each_pair_is_counted_on_the_same_images(bundles):
    (pair,) = compare_evaluations(bundles).pairs
    left, right = (bundle.manifest.metrics.test for bundle in bundles)
    table = np.array([left.correct_mask(), right.correct_mask()])
    assert pair.mcnemar.images == left.images
    assert pair.mcnemar.only_first_right == int((table[0] > table[1]).sum())
    assert pair.mcnemar.only_second_right == int((table[1] > table[0]).sum())
    assert pair.accuracy_difference == right.accuracy - left.accuracy
    assert 0 <= pair.mcnemar.p_value <= 1
    assert [pair.first, pair.second] == [f"{b.name}@{b.version}" for b in bundles]


def measured_on(bundle, data_md5, folder):
    """Return a copy of an artifact that says that it was measured on these files."""
    copy = shutil.copytree(bundle.path, folder / bundle.path.name)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["provenance"]["data_md5"] = data_md5
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return load_bundle(copy)


@pytest.mark.parametrize(
    ("first", "second", "paired"),
    [
        ({"test_batch": "f" * 32}, {"test_batch": "f" * 32}, True),
        ({"test_batch": "f" * 32}, {"test_batch": "e" * 32}, False),
        ({}, {}, False),
    ],
)
def test_only_models_of_the_same_known_test_images_are_paired(
    bundles, tmp_path, first, second, paired
):
    pair = zip(bundles, (first, second), strict=True)
    (found,) = compare_evaluations([measured_on(b, md5, tmp_path) for b, md5 in pair]).pairs
    assert (found.mcnemar is not None) == paired


def test_one_model_alone_has_no_pair(bundles):
    assert compare_evaluations(bundles[:1]).pairs == []
