"""From a checkpoint to an artifact: what is written, and what stops it from being written."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from models.bundle import BundleError, load_bundle
from models.history import EpochRecord
from models.networks import build_network
from training.cli.entry import main
from training.data.cifar10 import Split
from training.errors import ExportError, RecipeError, VerificationError
from training.evaluation.metrics import measure
from training.evaluation.onnx_runner import GraphRunner
from training.evaluation.test_time_augmentation import measure_augmented
from training.recipes import load_recipe
from training.release.artifact_check import check_contract, check_golden
from training.release.release import release
from training.release.reports.figures import accuracy_figure, loss_figure, save_figure
from training.release.reports.learning_curves import curve_of_artifact
from training.release.verification import exact_logits, verify_graphs
from training.trainer.run.checkpoint import Checkpoint, Progress
from training.trainer.run.saved_networks import network_from_artifact

SAMPLE = Path(__file__).parents[2] / "fixtures" / "cifar10-test-100.npz"


@pytest.fixture(scope="module")
def sample():
    """100 real test images, ten of each class."""
    with np.load(SAMPLE) as arrays:
        return Split(arrays["images"], arrays["labels"])


def checkpoint(recipe_name, seed=0, **options):
    """A run of two epochs whose weights and statistics are random."""
    recipe = load_recipe(recipe_name)
    network = replace(recipe.network, options={**recipe.network.options, **options})
    recipe = replace(recipe, network=network)
    torch.manual_seed(seed)
    network = build_network(recipe.network.architecture, recipe.network.options)
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(1e-3, 1.5)
            torch.nn.init.uniform_(module.weight, 0.3, 1.7)
            torch.nn.init.normal_(module.bias)
    row = EpochRecord(1, 1e-3, 1.5, 0.4, 1.4, 0.5, 100.0, 5.0)
    history = [row.to_dict(), replace(row, epoch=2, test_accuracy=0.45).to_dict()]
    session = {
        "first_epoch": 1,
        "started": "2026-01-01T00:00:00+00:00",
        "commit": "0" * 40,
        "versions": {"torch": "2.13.0"},
        "device": "cpu",
        "hardware": "a processor",
        "threads": 1,
    }
    outcome = {"accuracy_before_recalibration": 0.44} if recipe.recalibrate else None
    return Checkpoint(
        recipe.to_dict(),
        7,
        Progress(epoch=2),
        network.state_dict(),
        {},
        history,
        [session],
        outcome=outcome,
    )


PARAMETERS = {"keras-bn": 1_250_858, "keras-baseline": 1_250_858, "air-tiny": 497_528}
PRODUCTS = {"keras-bn": 20_741_120, "keras-baseline": 20_741_120, "air-tiny": 33_066_272}
NORMS = {"keras-bn": 6, "keras-baseline": 0, "air-tiny": 6}


@pytest.fixture(scope="module", params=["keras-bn", "keras-baseline", "air-tiny"])
def artifact(request, sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    return release(checkpoint(request.param), "1.2.3", sample, folder, latency_rounds=1)


def graph_of(artifact, variant):
    return onnx.load_from_string(artifact.read_graph(variant))


def operators(model):
    return [node.op_type for node in model.graph.node]


def test_the_folder_holds_what_the_manifest_names_and_a_card(artifact):
    artifact.verify()
    named = {graph.file for graph in artifact.manifest.graphs.values()}
    expected = named | {"golden.npz", "history.jsonl", "manifest.json", "README.md"}
    assert expected == {path.name for path in artifact.path.iterdir()}
    assert artifact.path.name == f"{artifact.name}-1.2.3"


def test_the_served_graph_has_no_batch_norm_and_the_unfolded_one_six(artifact):
    served = operators(graph_of(artifact, artifact.served_variant))
    assert "BatchNormalization" not in served
    layers = [served.count("Conv"), served.count("Gemm") + served.count("MatMul")]
    assert layers == ([7, 1] if artifact.name == "air-tiny" else [4, 2])
    if NORMS[artifact.name]:
        unfolded = operators(graph_of(artifact, "unfolded"))
        assert unfolded.count("BatchNormalization") == NORMS[artifact.name]


def test_the_graphs_hold_no_debris_and_no_trace_of_where_they_were_made(artifact):
    for variant in artifact.manifest.graphs:
        model = graph_of(artifact, variant)
        debris = {"Identity", "Constant", "Shape", "Concat", "Expand", "CastLike", "Squeeze"}
        assert set() == debris & set(operators(model))
        assert str(Path.cwd()).encode() not in artifact.read_graph(variant)
        assert b"training/" not in artifact.read_graph(variant)


def test_the_graph_takes_bytes_of_any_batch_size(artifact, sample):
    runner = GraphRunner(artifact.read_graph(artifact.served_variant))
    for size in (1, 2, 7, 100):
        logits, probabilities = runner.run(sample.images[:size])
        assert logits.shape == probabilities.shape == (size, 10)
        assert np.abs(probabilities.sum(axis=1) - 1).max() < 10 * np.finfo(np.float32).eps


def test_the_manifest_states_what_the_graph_gives(artifact, sample):
    logits = GraphRunner(artifact.read_graph(artifact.served_variant)).logits(sample.images)
    measured = measure(logits, sample.labels, artifact.manifest.labels)
    assert measured == artifact.manifest.metrics.test
    assert artifact.manifest.metrics.best_epoch.epoch == 1
    served = artifact.manifest.graphs[artifact.served_variant]
    assert (served.parameters, served.macs) == (PARAMETERS[artifact.name], PRODUCTS[artifact.name])


def test_what_the_service_does_not_do_stands_below_the_headline(artifact, sample):
    views = artifact.manifest.metrics.test_time_augmentation
    assert views == measure_augmented(
        GraphRunner(artifact.read_graph(artifact.served_variant)), sample
    )
    assert (views.views, len(sample.labels)) == (6, 100)
    before = artifact.manifest.provenance.accuracy_before_recalibration
    assert before == (0.44 if artifact.name == "air-tiny" else None)
    card = (artifact.path / "README.md").read_text(encoding="utf-8")
    headline = (
        f"**{artifact.manifest.metrics.test.accuracy:.2%}** of the 100 test images, single view"
    )
    assert card.index(headline) < card.index("With test-time augmentation, which the service does")
    assert ("it was 44.00%" in card) == (artifact.name == "air-tiny")


def test_the_network_comes_back_from_the_graph_to_the_bit(artifact):
    original = checkpoint(artifact.name).network
    restored = network_from_artifact(artifact).state_dict()
    weights = {name for name in original if not name.endswith("num_batches_tracked")}
    assert all(torch.equal(original[name], restored[name]) for name in weights)


def test_the_golden_logits_are_the_unfolded_networks_in_float64(artifact):
    golden = artifact.read_golden()
    assert golden.logits.dtype == np.float64
    expected = exact_logits(network_from_artifact(artifact), golden.images)
    assert (expected == golden.logits).all()


def test_the_proof_holds_and_is_in_the_manifest(artifact, sample):
    assert (artifact.manifest.fold is not None) == bool(NORMS[artifact.name])
    if artifact.manifest.fold:
        assert artifact.manifest.fold.proof.holds
        folded = sum(layer.into is not None for layer in artifact.manifest.fold.layers)
        assert folded == NORMS[artifact.name]


@pytest.mark.parametrize("artifact", ["keras-bn"], indirect=True)
@pytest.mark.parametrize(
    ("weight", "fault"),
    [
        (
            "network.conv2.weight",
            lambda w: w * np.where(np.arange(32) == 5, 1.01, 1).reshape(-1, 1, 1, 1),
        ),
        ("network.dense1.bias", lambda b: b * 0),
        ("network.conv4.bias", lambda b: b + 1e-3),
    ],
    ids=["a channel scaled by 1.01", "beta dropped", "a bias off by 0.001"],
)
def test_the_proof_rejects_a_wrong_folded_graph(artifact, sample, weight, fault):
    model = graph_of(artifact, "folded")
    (tensor,) = [t for t in model.graph.initializer if t.name == weight]
    wrong = fault(onnx.numpy_helper.to_array(tensor)).astype(np.float32)
    tensor.CopyFrom(onnx.numpy_helper.from_array(wrong, weight))
    verification = verify_graphs(
        network_from_artifact(artifact),
        artifact.read_graph("unfolded"),
        model.SerializeToString(),
        sample.images,
    )
    assert verification.torch.holds
    assert not verification.holds


def test_a_run_without_an_epoch_is_not_released(sample, tmp_path):
    empty = replace(checkpoint("keras-bn"), history=[])
    with pytest.raises(ExportError, match="no finished epoch"):
        release(empty, "1.0.0", sample, tmp_path)


def test_a_run_stopped_inside_an_epoch_is_not_released(sample, tmp_path):
    stopped = replace(checkpoint("keras-bn"), progress=Progress(epoch=2, step=500))
    with pytest.raises(ExportError, match="stopped inside epoch 3: its weights are newer"):
        release(stopped, "1.0.0", sample, tmp_path)


def test_a_network_with_another_number_of_classes_is_not_released(sample, tmp_path):
    with pytest.raises(RecipeError, match="has 100 classes, and the dataset has 10 labels; write"):
        release(checkpoint("keras-bn", num_classes=100), "1.0.0", sample, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("artifact", ["keras-bn"], indirect=True)
def test_labels_manifest_and_graphs_that_do_not_fit_together_are_not_verified(artifact):
    check_contract(artifact)
    manifest = artifact.manifest
    fewer = replace(manifest, labels=manifest.labels[:9])
    with pytest.raises(VerificationError, match="states 10 logits, and names 9 labels"):
        check_contract(replace(artifact, manifest=fewer))
    outputs = tuple(replace(spec, shape=("N", 9)) for spec in manifest.outputs)
    with pytest.raises(VerificationError, match=r"'logits' of model.onnx is \(10,\) an image"):
        check_contract(replace(artifact, manifest=replace(fewer, outputs=outputs)))
    taller = replace(manifest.input, shape=("N", 48, 32, 3))
    with pytest.raises(VerificationError, match=r"'image' of model.onnx is \(32, 32, 3\) an image"):
        check_contract(replace(artifact, manifest=replace(manifest, input=taller)))


def test_golden_logits_of_another_network_are_noticed(artifact, tmp_path):
    copy = load_bundle(shutil.copytree(artifact.path, tmp_path / "copy"))
    check_golden(copy, network_from_artifact(artifact))
    golden = copy.read_golden()
    np.savez(copy.path / "golden.npz", images=golden.images, logits=golden.logits * 1.01)
    digest = hashlib.sha256((copy.path / "golden.npz").read_bytes()).hexdigest()
    manifest = replace(copy.manifest, golden=replace(copy.manifest.golden, sha256=digest))
    with pytest.raises(VerificationError, match="golden logits are off by"):
        check_golden(replace(copy, manifest=manifest), network_from_artifact(artifact))


def test_a_broken_variance_stops_the_release(sample, tmp_path):
    broken = checkpoint("keras-bn")
    broken.network["conv2_bn.running_var"][3] = -1.0
    with pytest.raises(VerificationError):
        release(broken, "1.0.0", sample, tmp_path, latency_rounds=1)
    assert list(tmp_path.iterdir()) == []


def test_the_figures_are_drawn_from_the_histories_and_are_reproducible(artifact, tmp_path):
    for name, draw in (("accuracy", accuracy_figure), ("loss", loss_figure)):
        first, second = tmp_path / f"{name}-1.svg", tmp_path / f"{name}-2.svg"
        save_figure(draw([curve_of_artifact(artifact)]), first)
        save_figure(draw([curve_of_artifact(artifact)]), second)
        assert first.read_bytes() == second.read_bytes()
        assert artifact.name in first.read_text()


def test_weights_of_another_network_are_noticed(artifact, tmp_path):
    copy = shutil.copytree(artifact.path, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    options = manifest["provenance"]["recipe"]["network"]["options"]
    if artifact.name == "air-tiny":
        options["widths"] = [32, 128, 64]
    else:
        other = {} if options.get("norm") == "batch" else {"norm": "batch"}
        manifest["provenance"]["recipe"]["network"]["options"] = other
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"disagree on|do not fit"):
        network_from_artifact(load_bundle(copy))


def evaluated(artifact, sample, monkeypatch, capsys, *options):
    """Return what `foldnorm evaluate` says as JSON, of the sample instead of the test set."""
    monkeypatch.setattr("training.data.cifar10.load_test_split", lambda _data_dir: sample)
    command = ["foldnorm", "evaluate", str(artifact.path), "--data-dir", "x", "--json", *options]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return ended.value.code, json.loads(said.out), said.err


def test_evaluate_augments_at_test_time_only_when_asked_to(artifact, sample, monkeypatch, capsys):
    code, found, _ = evaluated(artifact, sample, monkeypatch, capsys)
    assert code == 0
    assert found["correct"] == artifact.manifest.metrics.test.correct
    assert "test_time_augmentation" not in found
    code, found, _ = evaluated(artifact, sample, monkeypatch, capsys, "--six-views")
    assert code == 0
    views = artifact.manifest.metrics.test_time_augmentation
    assert found["test_time_augmentation"]["correct"] == views.correct


@pytest.mark.parametrize("artifact", ["air-tiny"], indirect=True)
@pytest.mark.parametrize(
    ("place", "how"), [("test", ""), ("test_time_augmentation", " with test-time augmentation")]
)
def test_evaluate_notices_a_manifest_that_states_another_number(
    artifact, sample, monkeypatch, capsys, tmp_path, place, how
):
    copy = shutil.copytree(artifact.path, tmp_path / artifact.path.name)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["metrics"][place]["correct"] += 1
    (copy / "manifest.json").write_text(json.dumps(manifest))
    code, _, error = evaluated(load_bundle(copy), sample, monkeypatch, capsys, "--six-views")
    assert code == 3
    stated = manifest["metrics"][place]["correct"]
    assert f"measured {stated - 1} correct{how}, its manifest says {stated}" in error
