"""The manifest's records: what is packed comes back in the published order."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from models.bundle import load_catalogue
from models.manifest import Manifest
from models.records import record_from_dict


@pytest.fixture
def manifests(artifacts):
    return [bundle.manifest for bundle in load_catalogue(artifacts)]


def test_a_manifest_survives_json(manifests):
    for manifest in manifests:
        table = json.loads(json.dumps(asdict(manifest)))
        assert record_from_dict(Manifest, table, "here") == manifest


def test_the_mask_marks_the_images_that_were_right(manifests):
    for manifest in manifests:
        test = manifest.metrics.test
        mask = test.correct_mask()
        assert (np.dtype(bool), (test.images,)) == (mask.dtype, mask.shape)
        assert test.correct == mask.sum()
        right = mask.reshape(-1, 10).mean(axis=0)  # the synthetic test set repeats the ten classes
        assert list(test.per_class_accuracy.values()) == pytest.approx(right.tolist())
