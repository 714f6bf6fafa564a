"""From a folder of one's own images to an artifact that is served at its own size."""

import re
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from models.bundle import load_bundle
from models.manifest import ImageFolder
from service.app import create_app
from service.settings import Settings
from tests.asgi_client import AppClient
from tests.own_images import write_folder, write_image
from training.cli.app import app
from training.data.dataset import open_dataset
from training.errors import CheckpointError, ExportError
from training.recipes import load_recipe
from training.recipes.recipe import DataRecipe
from training.release.release import (
    GOLDEN_IMAGES,
    export_graphs,
    golden_rows,
    release,
    verify_artifact_graphs,
)
from training.trainer.distributed import Workers
from training.trainer.run.checkpoint import load_checkpoint
from training.trainer.session.session import TrainingSession

CLASSES = ("night", "dusk", "noon")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Dark, grey and light pictures of several sizes, one of them grey and one a JPEG."""
    folder = write_folder(tmp_path_factory.mktemp("light") / "light", CLASSES, each=10)
    write_image(folder / "noon" / "tall.jpg", (11, 40), value=250)
    write_image(folder / "dusk" / "grey.png", (20, 20), "L", value=90)
    (folder / ".ignored").touch()
    return folder


def session(recipe_name="smoke", resume=False, **changes):
    recipe = replace(
        load_recipe(recipe_name),
        batch_size=8,
        curriculum=(),
        precision="float32",
        data=DataRecipe(size=20, test_share=0.25),
        **changes,
    )
    return TrainingSession(
        recipe, torch.device("cpu"), torch.float32, Workers(), False, resume, False
    )


@pytest.fixture(scope="module")
def run_dir(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    session(epochs=3).train_seeds(range(7, 8), folder, path)
    return path


@pytest.fixture(scope="module")
def artifact(run_dir, folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("artifacts")
    checkpoint = load_checkpoint(run_dir / "checkpoint.pt")
    record = ImageFolder(**checkpoint.images)
    test = open_dataset(folder, DataRecipe(size=20, test_share=0.25)).load_test(record)
    return release(checkpoint, "1.0.0", test, output, latency_rounds=1)


def test_the_head_the_size_and_the_labels_are_the_folders(artifact):
    manifest = artifact.manifest
    assert manifest.labels == tuple(sorted(CLASSES))
    assert manifest.input.shape == ("N", 20, 20, 3)
    assert [spec.shape for spec in manifest.outputs] == [("N", 3), ("N", 3)]
    assert manifest.fold.proof.holds


def test_the_manifest_says_which_images_and_how_many_of_each_class(artifact, folder):
    made = artifact.manifest.provenance
    assert made.data_md5 == {}
    assert (made.images.name, made.images.split, made.images.test_share) == ("light", "drawn", 0.25)
    assert made.images.test == {"dusk": 3, "night": 2, "noon": 3}
    assert made.images.train == {"dusk": 8, "night": 8, "noon": 8}
    assert made.images.train_sha256 != made.images.test_sha256
    assert artifact.manifest.measured.test.images == 8


def test_the_card_names_the_folder_and_no_other_dataset(artifact):
    card = (artifact.path / "README.md").read_text(encoding="utf-8")
    assert "Trained on 24 images of the folder `light` and tested on 8 others" in card
    assert "one of the 3 classes" in card
    assert "CIFAR" not in card


def test_it_is_served_at_its_own_size(artifact, folder):
    with AppClient(create_app(Settings(artifacts=artifact.path.parent, threads=1))) as client:
        for label, name in (("night", "0.png"), ("noon", "tall.jpg"), ("dusk", "grey.png")):
            answer = client.post(
                "/v1/predict",
                content=(folder / label / name).read_bytes(),
                headers={"content-type": "image/*"},
            )
            assert answer.status_code == 200, answer.text
            (prediction,) = answer.json()["predictions"]
            assert prediction["label"] in CLASSES
            assert len(prediction["top"]) == 3


def test_what_is_served_is_what_was_trained_on(artifact, folder):
    made = artifact.manifest.provenance
    dataset = open_dataset(folder, DataRecipe(size=20, test_share=0.25))
    golden = artifact.read_golden()
    images = dataset.load_test(made.images).images
    assert np.array_equal(golden.images, images[golden_rows(dataset.load().test.labels)])
    assert asdict(dataset.spec)["shape"] == artifact.manifest.input.shape
    assert dataset.spec == artifact.manifest.input


def test_the_commands_read_the_same_images_again(artifact, folder):
    for command in ("verify", "evaluate"):
        result = CliRunner().invoke(app, [command, str(artifact.path), "--data-dir", str(folder)])
        assert result.exit_code == 0, result.output


def test_a_run_goes_on_with_the_same_images_alone(run_dir, folder, tmp_path):
    other = write_folder(tmp_path / "light", CLASSES, each=9)
    with pytest.raises(CheckpointError, match=r"was trained on other images: .* differ in train"):
        session(epochs=3, resume=True).train_seeds(range(7, 8), other, run_dir)
    (result,) = session(epochs=3, resume=True).train_seeds(range(7, 8), folder, run_dir)
    assert result.epochs == 3


def test_export_refuses_other_images(run_dir, tmp_path):
    other = write_folder(tmp_path / "other", CLASSES, each=9)
    arguments = ["export", str(run_dir), "--data-dir", str(other), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert re.search("the test images in .* are not those of the run", str(result.exception))
    assert not (tmp_path / "out").exists()


def test_the_keras_network_takes_them_as_well(folder, tmp_path):
    (result,) = session("keras-bn", epochs=1).train_seeds(range(1, 2), folder, tmp_path / "run")
    assert result.epochs == 1
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert checkpoint.recipe["network"]["options"]["side"] == 20


def test_the_golden_batch_takes_classes_in_turns():
    assert golden_rows(np.array([1, 0, 1, 1, 0])).tolist() == [1, 0, 4, 2, 3]
    assert len(golden_rows(np.arange(1_000))) == GOLDEN_IMAGES


def test_two_networks_are_paired_on_the_images_that_both_were_tested_on(
    artifact, run_dir, folder, tmp_path
):
    checkpoint = load_checkpoint(run_dir / "checkpoint.pt")
    checkpoint.recipe["name"] = "other-name"
    test = open_dataset(folder, DataRecipe(size=20, test_share=0.25))
    images = test.load_test(ImageFolder(**checkpoint.images))
    release(checkpoint, "1.0.0", images, artifact.path.parent, latency_rounds=1)
    assert load_bundle(artifact.path.parent / "other-name-1.0.0").name == "other-name"
    with AppClient(create_app(Settings(artifacts=artifact.path.parent, threads=1))) as client:
        (pair,) = client.get("/v1/compare?models=smoke,other-name").json()["pairs"]
        assert pair["mcnemar"]["images"] == 8


class Float32(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1_200, 3)

    def forward(self, images):
        return self.layer(images.float().flatten(1))


def test_a_forward_that_keeps_to_float32_is_named_for_the_proof_is_in_float64(folder):
    record = open_dataset(folder, DataRecipe(size=20)).load()
    network = Float32().eval()
    contents = export_graphs(network, (20, 20, 3)).contents
    with pytest.raises(ExportError, match="Float32 cannot be computed in float64, as its proof"):
        verify_artifact_graphs(network, contents, record.test)


class Branching(Float32):
    def forward(self, images):
        logits = super().forward(images)
        return logits if logits.sum() > 0 else -logits


def test_a_forward_that_depends_on_values_is_no_graph():
    with pytest.raises(ExportError, match="torch cannot export Branching with a free batch size"):
        export_graphs(Branching().eval(), (20, 20, 3))
