"""The temperature of a packed network: fitted on a share of labelled images, and folded in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from typer.testing import CliRunner

from models.bundle import Bundle, load_bundle
from service.registry.local_model import load_local_model
from service.settings import load_settings
from tests.onnx_models import Builder
from training.cli.app import app
from training.data.labelled_images import list_labelled
from training.errors import ExportError
from training.evaluation.onnx_runner import GraphRunner
from training.evaluation.temperature import fit_temperature
from training.release.model_card import model_card
from training.release.packing.pack import Packing, pack
from training.release.packing.pipeline import Pipeline
from training.release.packing.proof import check_packed
from training.release.packing.temperature import calibrate_packed, divide_logits

LABELS = tuple("abcd")
SIZE = (8, 8)
IMAGES = 40


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(7)
    for number in range(IMAGES):
        (folder / LABELS[number % 4]).mkdir(exist_ok=True)
        pixels = generator.integers(0, 256, (*SIZE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / LABELS[number % 4] / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module", params=["dense", "convolution"])
def packed(
    request: pytest.FixtureRequest, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """A packed network with a batch norm whose logits come from a dense layer, or do not."""
    build = Builder(("N", 3, *SIZE))
    build.conv(3, 6 if request.param == "dense" else 4)
    build.norm(6 if request.param == "dense" else 4)
    build.add("Relu")
    build.add("GlobalAveragePool")
    build.add("Flatten")
    if request.param == "dense":
        build.add("Gemm", build.last, build.random("dense", 6, 4), build.random("shift", 4))
    folder = tmp_path_factory.mktemp("network")
    onnx.save(build.proto(), folder / "net.onnx")
    asked = Packing("net", "1.0.0", LABELS, Pipeline(deviation=(64.0,)), data=pictures)
    return pack(folder / "net.onnx", asked, folder, latency_rounds=1)


@pytest.fixture(scope="module")
def calibrated(packed: Bundle, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    output = tmp_path_factory.mktemp("calibrated")
    arguments = ["calibrate", str(packed.path), "--data-dir", str(pictures), "-o", str(output)]
    result = CliRunner().invoke(app, [*arguments, "--rounds", "1"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return load_bundle(output / "net-1.1.0")


def logits_of(artifact: Bundle, images: np.ndarray) -> np.ndarray:
    return GraphRunner(artifact.read_graph(artifact.served_variant)).logits(images)


def test_it_is_fitted_on_the_share_and_measured_on_the_others(
    packed: Bundle, calibrated: Bundle, pictures: Path
) -> None:
    fitted, tested = list_labelled(pictures, LABELS).split(IMAGES // 2, 0)
    (chunk,) = fitted.chunks(packed.manifest.input)
    report = calibrated.manifest.temperature
    assert report is not None
    assert report.fitted_on is not None
    assert report.temperature == fit_temperature(logits_of(packed, chunk.images), chunk.labels)
    assert (report.fitted_on.images, report.fitted_on.source) == (20, pictures.name)
    assert report.fitted_on.loss_after < report.fitted_on.loss_before
    (others,) = tested.chunks(packed.manifest.input)
    test = calibrated.manifest.measured.test
    assert (test.images, test.tested_on) == (20, tested.tested_on)
    assert test.correct_bits == report.test_before.correct_bits
    assert len(others.images) == 20


def test_logits_are_divided_by_it_and_the_proof_is_made_anew(
    packed: Bundle, calibrated: Bundle
) -> None:
    report, before = calibrated.manifest.temperature, packed.read_golden()
    assert report is not None
    golden = calibrated.read_golden()
    assert np.array_equal(golden.images, before.images)
    # float32 rounds the divided weights, or the factor, once.
    scale = np.abs(golden.logits).max()
    assert np.abs(golden.logits - before.logits / report.temperature).max() < 8 * 2**-24 * scale
    assert np.abs(before.logits - golden.logits).max() > 0.01 * scale
    assert calibrated.manifest.fold is not None
    assert calibrated.manifest.fold.proof.holds
    assert check_packed(calibrated).holds
    assert "BatchNormalization" not in calibrated.manifest.graphs["folded"].nodes


def test_it_is_served_and_its_card_says_on_what_it_was_fitted(
    calibrated: Bundle, pictures: Path
) -> None:
    model = load_local_model(calibrated.path, load_settings())
    (prediction,) = model.predict(next(pictures.rglob("*.png")).read_bytes())
    assert prediction.label in LABELS
    assert f"fitted on 20 labelled images of `{pictures.name}` that were set aside" in model_card(
        calibrated.manifest
    )


def test_a_second_temperature_and_too_few_images_are_refused(
    packed: Bundle, calibrated: Bundle, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="has a temperature already"):
        calibrate_packed(calibrated, pictures, "1.2.0", tmp_path, share=0.5, seed=0)
    with pytest.raises(ExportError, match="of 40 labelled images 4 would be fitted on; at least"):
        calibrate_packed(packed, pictures, "1.2.0", tmp_path, share=0.1, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_a_sibling_is_refused_for_a_packed_network_and_missing_for_another(
    packed: Bundle, pictures: Path, artifacts: Path
) -> None:
    for arguments, says in (
        ([str(packed.path), "--sibling", str(pictures)], "leave it out"),
        ([str(artifacts / "tiny-bn-1.0.0")], "name a --sibling"),
    ):
        result = CliRunner().invoke(
            app, ["calibrate", *arguments, "--data-dir", str(pictures)], env={"COLUMNS": "300"}
        )
        assert (result.exit_code, says in result.output) == (2, True)


def test_weights_that_others_read_stay_and_a_factor_divides_the_logits() -> None:
    build = Builder(("N", 3, *SIZE))
    build.conv(3, 4)
    build.add("GlobalAveragePool")
    build.add("Flatten")
    shared, shift = build.random("shared", 4, 4), build.random("shift", 4)
    build.add("Gemm", build.last, shared, shift)
    build.add("Gemm", build.last, shared, shift)
    model = build.proto()
    last = model.graph.node[-1]
    last.output[0] = model.graph.output[0].name = "logits"
    divided = divide_logits(model, 2.0)
    assert [node.op_type for node in divided.graph.node][-2:] == ["Gemm", "Mul"]
    assert divided.graph.node[-1].output[0] == "logits"
    assert [t.name for t in divided.graph.initializer][-1] == "logits_temperature"
