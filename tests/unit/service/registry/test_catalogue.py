from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from models.bundle import load_bundle
from service.errors import ModelRefusedError, UnknownModelError
from service.inference.served_model import ServedModel
from service.registry.catalogue import Catalogue, served_variants
from tests import synthetic

MakeModel = Callable[..., ServedModel]


@pytest.fixture
def catalogue(make_model: MakeModel) -> Catalogue:
    return Catalogue(
        [
            make_model("keras-baseline", "plain"),
            make_model("keras-bn", version="1.1.0"),
            make_model("keras-bn-unfolded", "unfolded", "1.1.0"),
            make_model("keras-bn", version="1.0.0"),
        ],
        preferred="keras-bn",
    )


def test_a_name_means_the_newest_version(catalogue: Catalogue) -> None:
    assert catalogue.find("keras-bn").version == "1.1.0"


def test_a_version_can_be_asked_for(catalogue: Catalogue) -> None:
    assert catalogue.find("keras-bn@1.0.0").version == "1.0.0"


def test_no_name_means_the_model_that_the_folder_prefers(catalogue: Catalogue) -> None:
    assert catalogue.find("keras-bn") is catalogue.find(None)


def test_an_unknown_name_is_answered_with_those_that_are_served(catalogue: Catalogue) -> None:
    with pytest.raises(UnknownModelError, match=r"'resnet' .* keras-baseline, keras-bn, keras"):
        catalogue.find("resnet")


def test_a_very_long_name_is_not_repeated_in_full(catalogue: Catalogue) -> None:
    with pytest.raises(UnknownModelError) as refusal:
        catalogue.find("x" * 100_000)
    assert len(str(refusal.value)) < 300


def test_several_names_are_found_in_their_order_and_once_each(catalogue: Catalogue) -> None:
    found = catalogue.find_all("keras-bn-unfolded, keras-bn,keras-bn@1.1.0")
    assert [model.name for model in found] == ["keras-bn-unfolded", "keras-bn"]


def test_all_means_the_newest_of_each(catalogue: Catalogue) -> None:
    names = [catalogue.call_name(model) for model in catalogue.find_all(None)]
    assert names == ["keras-baseline", "keras-bn", "keras-bn-unfolded"]


def test_an_older_version_is_called_with_it(catalogue: Catalogue) -> None:
    assert catalogue.call_name(catalogue.models[-1]) == "keras-bn@1.0.0"


@pytest.mark.parametrize("preferred", [None, "gone"])
def test_without_a_preference_that_is_served_the_first_folded_model_answers(
    make_model: MakeModel, preferred: str | None
) -> None:
    models = [make_model("a-plain", "plain"), make_model("b", "folded")]
    assert Catalogue(models, preferred=preferred).default.name == "b"
    assert Catalogue(models[:1]).default.name == "a-plain"


def test_the_default_can_be_chosen(make_model: MakeModel) -> None:
    models = [make_model("a"), make_model("b")]
    assert Catalogue(models, default="b@1.0.0").default.name == "b"


def test_a_default_that_is_not_served_is_refused(make_model: MakeModel) -> None:
    with pytest.raises(ModelRefusedError, match="FOLDNORM_DEFAULT_MODEL='c'"):
        Catalogue([make_model("a")], default="c")


def test_two_models_of_one_name_are_refused(make_model: MakeModel) -> None:
    with pytest.raises(ModelRefusedError, match=r"two artifacts are served as a@1\.0\.0"):
        Catalogue([make_model("a"), make_model("a", "unfolded")])


def test_an_artifact_with_batch_norm_is_served_twice(artifacts: Path) -> None:
    bundles = [load_bundle(artifacts / f"tiny-{kind}-1.0.0") for kind in ("bn", "plain")]
    expected = [
        [("tiny-bn", "folded"), ("tiny-bn-unfolded", "unfolded")],
        [("tiny-plain", "plain")],
    ]
    assert expected == [served_variants(bundle) for bundle in bundles]


def test_an_int8_graph_is_served_beside_the_others(artifacts: Path, tmp_path: Path) -> None:
    expected = {
        "bn": [("tiny-bn", "folded"), ("tiny-bn-unfolded", "unfolded"), ("tiny-bn-int8", "int8")],
        "plain": [("tiny-plain", "plain"), ("tiny-plain-int8", "int8")],
    }
    for kind, names in expected.items():
        copy = shutil.copytree(artifacts / f"tiny-{kind}-1.0.0", tmp_path / kind)
        assert names == served_variants(load_bundle(synthetic.add_int8(copy)))
