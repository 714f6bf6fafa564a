"""From a released artifact to the next version of it, with an int8 graph."""

import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from models.bundle import BundleError, load_bundle
from service.errors import ModelRefusedError
from service.inference.session import Scores
from service.inference.startup_checks import prove_answers
from service.registry.catalogue import served_variants
from tests import synthetic
from training.data.cifar10 import Split
from training.errors import ExportError, VerificationError
from training.evaluation.onnx_runner import GraphRunner
from training.release.folder import next_version
from training.release.model_card import model_card
from training.release.quantization.int8_verdict import judge_quantization
from training.release.quantization.quantized_release import (
    release_quantized,
)
from training.release.reports.results_table import results_table

# A quarter of the channels of the second layer dead: single ones are so on these images anyway.
ALIVE = (np.arange(16) % 4 != 3)[:, None, None, None]
NETWORKS = {"tiny-bn": 2, "tiny-plain": 1}


@pytest.fixture(scope="module")
def train():
    return Split(synthetic.random_images(20, 60), np.zeros(60, np.int64))


@pytest.fixture(scope="module")
def tests_of():
    """Test images that a network classifies right and clearly, but for one of each class."""

    def split(name):
        network = synthetic.random_network(NETWORKS[name], norms=name == "tiny-bn")
        images = synthetic.random_images(21, 800)
        logits = network.logits(images)
        best, second = np.sort(logits, axis=1)[:, :-3:-1].T
        clearest = np.argsort(second - best)[:200]
        images, labels = images[clearest], logits[clearest].argmax(axis=1)
        labels[:10] = np.arange(10)
        return Split(images, labels)

    return split


@pytest.fixture(scope="module", params=list(NETWORKS))
def source(request, artifacts):
    return load_bundle(artifacts / f"{request.param}-1.0.0")


@pytest.fixture(scope="module")
def quantized(source, train, tests_of, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized")
    return release(source, train, tests_of(source.name), folder)


def release(source, train, test, folder, version="1.1.0", **options):
    options = {"calibration_images": 50, "latency_rounds": 1} | options
    return release_quantized(source, train, test, version, folder, **options)


def test_all_but_the_int8_graph_is_as_it_was(source, quantized):
    quantized.verify()
    for record in (*source.manifest.graphs.values(), source.manifest.golden):
        assert (source.path / record.file).read_bytes() == (
            quantized.path / record.file
        ).read_bytes()
    assert source.read_history() == quantized.read_history()
    graphs = {v: g for v, g in quantized.manifest.graphs.items() if v != "int8"}
    without = replace(quantized.manifest, version="1.0.0", graphs=graphs, quantization=None)
    assert source.manifest == without


def test_the_folder_holds_what_the_manifest_names_and_a_card(source, quantized):
    added = {"model.int8.onnx", "golden.int8.npz", "README.md"}
    assert added | {path.name for path in source.path.iterdir()} == {
        path.name for path in quantized.path.iterdir()
    }
    assert quantized.path.name == f"{source.name}-1.1.0"


def test_the_report_states_what_the_graph_gives(source, quantized, tests_of):
    report = quantized.manifest.quantization
    assert report.source == source.served_variant
    assert [gain.batch_size for gain in report.speed] == [1, 64]
    assert all(gain.ratio > 0 for gain in report.speed)
    assert report.calibration.images == 50
    assert 0.94 <= report.effect.test.accuracy < 1
    verdict = judge_quantization(quantized, tests_of(source.name))
    assert verdict.effect == report.effect
    assert verdict.holds
    assert verdict.answers_unlike_stated == 0


def test_the_int8_graph_is_served_and_its_start_up_proof_holds(quantized):
    assert (f"{quantized.name}-int8", "int8") in served_variants(quantized)
    golden = quantized.read_golden("int8")
    assert prove_answers(RunnerSession(quantized.read_graph("int8")), golden).golden_error <= 1e-5


@pytest.mark.parametrize("optimization", ["disable_all", "enable_all"])
def test_the_proof_holds_on_integer_kernels_and_emulated(quantized, optimization):
    golden = quantized.read_golden("int8")
    # 200 test images are few to take the largest difference from, so it is tripled here.
    stated = replace(golden, tolerance=3 * golden.tolerance + 1e-5)
    prove_answers(RunnerSession(quantized.read_graph("int8"), optimization), stated)


@pytest.mark.parametrize(
    ("tensor", "damage"),
    [
        ("bias1_quantized", lambda steps: steps * 0),
        ("kernel1_quantized", lambda steps: steps * ALIVE),
        ("kernel0_quantized", lambda steps: steps[::-1]),
        ("head_scale", lambda scale: scale * 1.1),
    ],
    ids=["a dropped bias", "dead channels", "channels in another order", "a wrong scale"],
)
def test_the_proof_refuses_a_damaged_int8_graph(quantized, tensor, damage):
    model = onnx.load_from_string(quantized.read_graph("int8"))
    (found,) = [t for t in model.graph.initializer if t.name == tensor]
    before = numpy_helper.to_array(found)
    wrong = np.ascontiguousarray(damage(before)).astype(before.dtype)
    found.CopyFrom(numpy_helper.from_array(wrong, tensor))
    with pytest.raises(ModelRefusedError, match="golden logits are off"):
        prove_answers(RunnerSession(model.SerializeToString()), quantized.read_golden("int8"))


def test_the_int8_graph_would_not_pass_for_the_float32_graph(quantized):
    with pytest.raises(ModelRefusedError, match=r"golden logits are off .* is rounding"):
        prove_answers(RunnerSession(quantized.read_graph("int8")), quantized.read_golden())


class RunnerSession:
    """onnxruntime as the service asks it, at a level of optimization."""

    def __init__(self, graph, optimization="enable_all"):
        self._runner = GraphRunner(graph, optimization)

    def run(self, images):
        return Scores(*self._runner.run(images))


def test_a_manifest_that_states_another_accuracy_is_noticed(quantized, tests_of):
    test = tests_of(quantized.name)
    other = Split(test.images, (test.labels + 1) % 10)
    verdict = judge_quantization(quantized, other)
    assert verdict.answers_unlike_stated > 100
    assert not verdict.holds


def test_an_artifact_without_int8_has_no_verdict(source, tests_of):
    assert judge_quantization(source, tests_of(source.name)) is None


def test_quantizing_again_makes_the_same_graph_anew(quantized, train, tests_of, tmp_path):
    test = tests_of(quantized.name)
    again = release(quantized, train, test, tmp_path, next_version(quantized.version))
    assert again.version == "1.2.0"
    first, second = (b.manifest.graphs["int8"].sha256 for b in (quantized, again))
    assert first == second
    assert {path.name for path in again.path.iterdir()} == {
        path.name for path in quantized.path.iterdir()
    }


def test_a_release_is_never_overwritten(quantized, source, train, tests_of):
    before = (quantized.path / "manifest.json").read_bytes()
    with pytest.raises(ExportError, match=r"raise --version"):
        release(source, train, tests_of(source.name), quantized.path.parent)
    assert before == (quantized.path / "manifest.json").read_bytes()


def test_a_damaged_artifact_is_not_quantized(source, train, tests_of, tmp_path):
    copy = load_bundle(shutil.copytree(source.path, tmp_path / "copy"))
    with (copy.path / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match=r"model\.onnx has SHA-256"):
        release(copy, train, tests_of(source.name), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_too_great_a_loss_is_refused_with_the_layers_that_lose_most(source, train, tmp_path):
    noise = Split(synthetic.random_images(22, 300), np.arange(300) % 10)
    allowed = -100.0  # int8 would have to gain a hundred points
    says = (
        r"loses .* points .* at most -100\.0 are accepted\. .* alone is rounded: "
        r"(\S+ \d+\.\d%(, )?)+\. Keep the worst .*--keep \S+,"
    )
    with pytest.raises(VerificationError, match=says):
        release_quantized(source, train, noise, "1.9.0", tmp_path, max_loss_points=allowed)
    assert list(tmp_path.iterdir()) == []


def test_the_next_version_is_the_next_minor_one():
    assert next_version("1.0.7") == "1.1.0"
    assert next_version("2.9.0") == "2.10.0"


def test_the_card_and_the_table_say_it(quantized, source):
    effect = quantized.manifest.quantization.effect
    assert f"**{effect.test.accuracy:.2%}** of the 200 test images" in model_card(
        quantized.manifest
    )
    assert "## Int8" not in model_card(source.manifest)
    table = results_table([source, quantized])
    assert f"| labels of the test set that int8 changes |  | {effect.label_changes} |" in table
    assert "int8" not in results_table([source])
