"""A packed network on labelled images of one's own: in folders or a CSV file, whole or at fault."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from typer.testing import CliRunner

from models.bundle import Bundle, load_bundle
from models.metrics import TestMetrics
from service.api.v1.evaluation import compare_evaluations
from tests.onnx_models import Builder
from training.cli.app import app
from training.data.labelled_images import list_labelled
from training.errors import DataError, VerificationError
from training.evaluation.metrics import measure
from training.evaluation.onnx_runner import GraphRunner
from training.release.packing.pack import Packing, pack
from training.release.packing.pipeline import Pipeline
from training.release.quantization.quantized_release import release_quantized

LABELS = tuple("abcdefg")
SIZE = (8, 8)
PICTURES = 21


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file of a classifier of seven classes with a batch norm."""
    build = Builder(("N", 3, *SIZE))
    build.conv(3, 6)
    build.norm(6)
    build.add("Relu")
    build.add("GlobalAveragePool")
    build.add("Flatten")
    build.add("Gemm", build.last, build.random("dense", 6, 7), build.random("shift", 7))
    path = tmp_path_factory.mktemp("network") / "net.onnx"
    onnx.save(build.proto(), path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures as PNG files: three of every class but the last, whose folder is missing."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(5)
    for number in range(PICTURES):
        label = LABELS[number % 6]
        (folder / label).mkdir(exist_ok=True)
        colour = generator.integers(0, 256, 3)
        noise = generator.integers(0, 60, (*SIZE, 3))
        pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / label / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def csv_file(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures in the same order, some labels as indices."""
    lines = ["path,label"]
    for path in sorted(pictures.rglob("*.png")):
        label = path.parent.name
        lines.append(f"{path},{LABELS.index(label) if path.name > '10' else label}")
    file = tmp_path_factory.mktemp("csv") / "pictures.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture(scope="module")
def packed(network: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("artifacts")
    asked = Packing("net", "1.0.0", LABELS, Pipeline(), data=pictures)
    return pack(network, asked, folder, latency_rounds=1)


def pixels_and_classes(pictures: Path) -> tuple[np.ndarray, np.ndarray]:
    """The pictures as Pillow reads them, by themselves, in the order of their paths."""
    paths = sorted(pictures.rglob("*.png"))
    images = np.stack([np.asarray(Image.open(path)) for path in paths])
    return images, np.array([LABELS.index(path.parent.name) for path in paths])


def test_what_pack_measures_is_what_the_pictures_alone_come_to(
    packed: Bundle, pictures: Path
) -> None:
    images, classes = pixels_and_classes(pictures)
    logits = GraphRunner(packed.read_graph("folded")).logits(images)
    stated = packed.manifest.measured.test
    assert stated.tested_on is not None
    assert replace(stated, tested_on=None) == measure(logits, classes, LABELS)
    assert (stated.images, stated.tested_on.name) == (PICTURES, pictures.name)
    five = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    assert stated.top5_accuracy == pytest.approx(np.mean(five == classes[:, None]) * 5)
    assert list(stated.per_class_accuracy) == list(LABELS[:6])  # of g there is none
    assert sum(part.count for part in stated.calibration) == PICTURES


def test_the_golden_batch_is_of_the_pictures(packed: Bundle, pictures: Path) -> None:
    images, _ = pixels_and_classes(pictures)
    chosen = images[np.linspace(0, PICTURES - 1, 10).astype(int)]
    assert np.array_equal(packed.read_golden().images, chosen)
    assert packed.manifest.packed is not None
    assert packed.manifest.packed.golden == "10 of the labelled images, evenly spaced"


def test_the_card_says_what_it_was_measured_on(packed: Bundle, pictures: Path) -> None:
    card = (packed.path / "README.md").read_text()
    assert f"of the {PICTURES} images of `{pictures.name}`" in card
    assert "among the five likeliest" in card


@pytest.mark.parametrize("variant", ["folded", "unfolded"])
def test_evaluate_finds_the_stated_answers_in_the_folder_and_in_the_csv_file(
    packed: Bundle, pictures: Path, csv_file: Path, variant: str
) -> None:
    found = []
    for data in (pictures, csv_file):
        arguments = ["evaluate", str(packed.path), "--data-dir", str(data), "--variant", variant]
        result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        found.append(json.loads(result.output))
    assert found[0]["correct_bits"] == packed.manifest.measured.test.correct_bits
    assert found[0]["tested_on"]["sha256"] == found[1]["tested_on"]["sha256"]
    assert found[0]["correct_bits"] == found[1]["correct_bits"]


def test_evaluate_of_an_artifact_that_states_something_else_fails(
    packed: Bundle, pictures: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(packed.path, tmp_path / packed.path.name)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["metrics"]["test"]["correct"] += 1
    (copy / "manifest.json").write_text(json.dumps(manifest))
    result = CliRunner().invoke(app, ["evaluate", str(copy), "--data-dir", str(pictures)])
    assert "its manifest says" in str(result.exception)


def test_networks_measured_on_the_same_pictures_are_paired_and_on_others_not(
    packed: Bundle, network: Path, pictures: Path, csv_file: Path, tmp_path: Path
) -> None:
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("".join(csv_file.read_text().splitlines(keepends=True)[:-1]))
    others = [
        pack(network, Packing(name, "1.0.0", LABELS, Pipeline(), data=data), tmp_path / name, 1)
        for name, data in (("same", csv_file), ("fewer", fewer))
    ]
    pairs = {
        pair.second.partition("@")[0]: pair
        for pair in compare_evaluations([packed, *others]).pairs
        if pair.first.startswith("net@")
    }
    same = pairs["same"].mcnemar
    assert same is not None
    assert (same.images, same.only_first_right, same.only_second_right) == (PICTURES, 0, 0)
    assert pairs["fewer"].mcnemar is None


def test_older_manifests_know_nothing_of_bins_and_load(packed: Bundle, tmp_path: Path) -> None:
    copy = shutil.copytree(packed.path, tmp_path / packed.path.name)
    manifest = json.loads((copy / "manifest.json").read_text())
    for key in ("calibration", "top5_accuracy", "top5_interval_95", "tested_on"):
        del manifest["metrics"]["test"][key]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    test: TestMetrics = load_bundle(copy).manifest.measured.test
    assert (test.calibration, test.top5_accuracy, test.tested_on) == ((), None, None)


def test_int8_is_measured_on_the_images_that_it_was_not_calibrated_on(
    packed: Bundle, pictures: Path, tmp_path: Path
) -> None:
    arguments = ["quantize", str(packed.path), "--data-dir", str(pictures), "-o", str(tmp_path)]
    given = [*arguments, "--rounds", "1", "--max-loss", "100", "--keep", "g1"]
    result = CliRunner().invoke(app, given)
    assert "there is no layer 'g1' to keep" in str(result.exception)
    layer = str(result.exception).rpartition("the graph has ")[2].split(", ")[0]
    result = CliRunner().invoke(app, [*given[:-1], layer], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    quantized = load_bundle(tmp_path / "net-1.1.0")
    report = quantized.manifest.quantization
    assert report is not None
    assert (report.calibration.images, report.effect.test.images) == (10, PICTURES - 10)
    assert report.kept == (layer,)
    assert report.effect.test.tested_on is not None
    assert report.effect.test.tested_on != packed.manifest.measured.test.tested_on


def test_an_int8_graph_that_loses_too_much_is_refused_with_the_layers_that_lose_it(
    packed: Bundle, csv_file: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.csv"
    lines = csv_file.read_text().splitlines()
    float32 = GraphRunner(packed.read_graph("folded"))
    labelled = list_labelled(csv_file, LABELS)
    (chunk,) = labelled.chunks(packed.manifest.input)
    right = float32.logits(chunk.images).argmax(1)
    rows = [f"{line.split(',')[0]},{label}" for line, label in zip(lines[1:], right, strict=True)]
    wrong.write_text("\n".join(rows))
    test = list_labelled(wrong, LABELS)
    flat = replace(chunk, images=np.zeros_like(chunk.images))  # ranges of nothing
    with pytest.raises(VerificationError, match=r"the int8 graph loses .*Keep the worst"):
        release_quantized(packed, flat, test, "1.2.0", tmp_path, latency_rounds=1)
    assert not (tmp_path / "net-1.2.0").exists()


def test_a_label_of_two_classes_is_refused_and_its_index_is_not(tmp_path: Path) -> None:
    twice = (*"abc", "a")
    for name, fault in (("a", True), ("3", False)):
        folder = tmp_path / name
        (folder / name).mkdir(parents=True)
        Image.new("RGB", SIZE).save(folder / name / "1.png")
        if fault:
            with pytest.raises(DataError, match=r"'a' is the label of the classes 0 and 3; name"):
                list_labelled(folder, twice)
        else:
            assert [file.label for file in list_labelled(folder, twice).files] == [3]


Fault = Callable[[Path], Path]


def _empty(folder: Path) -> Path:
    return folder


def _no_label(folder: Path) -> Path:
    (folder / "zebra").mkdir()
    Image.new("RGB", SIZE).save(folder / "zebra" / "1.png")
    return folder


def _one_class_twice(folder: Path) -> Path:
    for name in ("b", "1"):
        (folder / name).mkdir()
        Image.new("RGB", SIZE).save(folder / name / "1.png")
    return folder


def _empty_class(folder: Path) -> Path:
    (folder / "a").mkdir()
    return folder


def _csv(*lines: str) -> Fault:
    def write(folder: Path) -> Path:
        Image.new("RGB", SIZE).save(folder / "there.png")
        (folder / "broken.png").write_bytes(b"no image")
        (folder / "list.csv").write_text("\n".join(lines))
        return folder / "list.csv"

    return write


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (_empty, r"holds no folder of images, and at least 1 are needed"),
        (_no_label, r"'zebra' is none of the network's 7 labels \('a', 'b', 'c', …\) and no index"),
        (_empty_class, "holds no images"),
        (_one_class_twice, r"the class folders '1' and 'b' in .* are one class, 1; merge them"),
        (lambda folder: folder / "gone.csv", r"gone\.csv does not exist; name a folder"),
        (_csv("path,label"), "names no image"),
        (_csv("gone.png,a"), r"line 1: there is no file .*gone\.png; paths are relative to"),
        (_csv("there.png,7"), r"line 1: '7' is none .* no index of one, 0 to 6"),
        (_csv("there.png,a,b"), "line 1 has 3 cells; each line holds a path and a label"),
        (_csv("broken.png,a"), r"broken\.png is no image that is known.*; mend it, or take it out"),
    ],
)
def test_labelled_images_at_fault_are_refused_in_a_line(
    tmp_path: Path, packed: Bundle, fault: Fault, says: str
) -> None:
    with pytest.raises(DataError, match=says) as error:
        list(list_labelled(fault(tmp_path), LABELS).chunks(packed.manifest.input))
    assert "\n" not in str(error.value)
