"""What is stated of the released artifacts, against the artifacts."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
from onnxscript.rewriter import rewrite
from torch import nn

from models.bundle import load_catalogue
from service.inference.startup_checks import MAX_SUMMED_PRODUCTS
from training.data.cifar10 import load_test_split
from training.errors import GraphError
from training.evaluation.graph_statistics import node_counts
from training.evaluation.onnx_runner import GraphRunner
from training.folding.proof.tolerances import rounding_allowance
from training.recipes.recipe import available_recipes, load_recipe
from training.release.model_card import CARD_FILE, model_card
from training.release.quantization.effect import MAX_LOSS_POINTS
from training.release.quantization.int8_verdict import weight_error_steps
from training.release.reports.results_table import results_table
from training.trainer.networks import network_of

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "models" / "artifacts"
SAMPLE = ROOT / "tests" / "fixtures" / "cifar10-test-100.npz"


@pytest.fixture(scope="module")
def artifacts():
    return load_catalogue(ARTIFACTS)


def by_name(artifacts):
    return {artifact.name: artifact for artifact in artifacts}


def stated_metrics(artifact, variant):
    manifest = artifact.manifest
    return manifest.quantization.effect.test if variant == "int8" else manifest.metrics.test


def test_every_file_is_the_released_one(artifacts):
    for artifact in artifacts:
        artifact.verify()


def test_the_cards_say_what_the_manifests_say(artifacts):
    for artifact in artifacts:
        assert (artifact.path / CARD_FILE).read_text(encoding="utf-8") == model_card(
            artifact.manifest
        )


def test_the_page_and_the_readme_show_the_results_of_the_artifacts(artifacts):
    page = (ROOT / "docs" / "figures" / "results.md").read_text(encoding="utf-8")
    assert results_table(artifacts) == page
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for artifact in artifacts:
        (row,) = [line for line in readme.splitlines() if line.startswith(f"| **{artifact.name}**")]
        _, _, float32, int8, training, norms, _ = row.split("|")
        assert float32.strip() == f"{artifact.manifest.metrics.test.accuracy * 100:.2f} %"
        assert int8.strip() == f"{artifact.manifest.quantization.effect.test.accuracy * 100:.2f} %"
        provenance = artifact.manifest.provenance
        minutes = round(provenance.total_seconds / 60)
        assert training.strip() == f"{provenance.epochs} epochs, {minutes} min"
        trained = artifact.manifest.graphs.get("unfolded", artifact.manifest.graphs.get("plain"))
        assert norms.strip() == f"{trained.nodes.get('BatchNormalization', 0)}, 0"


def test_the_metrics_are_of_the_last_epoch(artifacts):
    """Exported and trained networks may differ by rounding, in a few of 10,000 labels."""
    for artifact in artifacts:
        history = artifact.read_history()
        epochs = 50 if artifact.name.startswith("keras-") else 20
        assert len(history) == artifact.manifest.provenance.epochs == epochs
        assert abs(history[-1].test_accuracy - artifact.manifest.metrics.test.accuracy) <= 5e-4


def test_each_sample_image_is_right_or_wrong_as_the_manifest_says(artifacts):
    with np.load(SAMPLE) as sample:
        images, labels, indices = sample["images"], sample["labels"], sample["indices"]
    for artifact in artifacts:
        for variant in artifact.manifest.graphs:
            predicted = GraphRunner(artifact.read_graph(variant)).logits(images).argmax(axis=1)
            expected = stated_metrics(artifact, variant).correct_mask()[indices]
            assert expected.tolist() == (predicted == labels).tolist()


def test_the_golden_logits_are_met_and_those_of_the_other_network_are_not(artifacts):
    for artifact in artifacts:
        golden = artifact.read_golden()
        scale = np.abs(golden.logits).max()
        logits = GraphRunner(artifact.read_graph(artifact.served_variant)).logits(golden.images)
        # float32 rounds each of some hundred sums; 1e-6 of scale is what the unfolded graph errs by
        allowance = rounding_allowance(1e-6 * scale, scale)
        assert np.abs(logits - golden.logits).max() <= allowance
        others = [b for b in artifacts if b.name != artifact.name]
        for other in others:
            wrong = GraphRunner(other.read_graph(other.served_variant)).logits(golden.images)
            assert np.abs(wrong - golden.logits).max() > 1000 * allowance


def test_every_proof_holds(artifacts):
    folded = [artifact for artifact in artifacts if artifact.manifest.fold]
    assert {artifact.name for artifact in folded} == {"keras-bn", "air94", "air-tiny"}
    for fold in (artifact.manifest.fold for artifact in folded):
        assert fold.proof.holds
        assert fold.proof.images == 10_000
        assert fold.proof.unexplained_label_changes == 0
        assert fold.proof.algebra_error_float64 <= 1e-10 * fold.proof.scale
        assert [layer.into is not None for layer in fold.layers] == [True] * 6


def optimized_by_onnxruntime(content, level, path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it warns that the saved graph is for this machine
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return onnx.load(path)


@pytest.mark.parametrize("name", ["air94", "air-tiny"])
def test_stock_tools_leave_three_of_the_six_batch_norms_of_an_air_network(
    artifacts, name, tmp_path
):
    artifact = by_name(artifacts)[name]
    level, path = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED, tmp_path / "o.onnx"
    unfolded, served = artifact.read_graph("unfolded"), artifact.read_graph("folded")
    trained = onnx.load_from_string(unfolded)
    graphs = {
        "as trained": trained,
        "onnxscript": onnx_ir.to_proto(rewrite(onnx_ir.from_proto(trained))),
        "onnxruntime": optimized_by_onnxruntime(unfolded, level, path),
        "served": onnx.load_from_string(served),
    }
    left = {tool: node_counts(graph).get("BatchNormalization", 0) for tool, graph in graphs.items()}
    assert left == {"as trained": 6, "onnxscript": 3, "onnxruntime": 3, "served": 0}


def test_int8_states_figures_that_fit_together(artifacts):
    for artifact in artifacts:
        report = artifact.manifest.quantization
        assert report.effect.test.images == 10_000
        assert abs(report.effect.accuracy_difference_points) <= MAX_LOSS_POINTS
        difference = report.effect.test.correct - artifact.manifest.metrics.test.correct
        changes = report.effect.wrong_to_right - report.effect.right_to_wrong
        assert difference == changes == round(100 * report.effect.accuracy_difference_points)


def test_int8_weights_are_the_rounded_float32_weights_and_no_others(artifacts):
    for artifact in artifacts:
        source, int8 = (
            onnx.load_from_string(artifact.read_graph(variant))
            for variant in (artifact.served_variant, "int8")
        )
        assert weight_error_steps(source, int8) <= 0.5 + 1e-5
        for other in artifacts:
            if other.name != artifact.name:
                stranger = onnx.load_from_string(other.read_graph(other.served_variant))
                assert are_other_weights(stranger, int8)


def are_other_weights(source, int8):
    try:
        return weight_error_steps(source, int8) > 10
    except GraphError:  # they differ in shape or number already
        return True


def test_int8_meets_its_own_golden_logits_and_the_other_network_does_not(artifacts):
    for artifact in artifacts:
        golden = artifact.read_golden("int8")
        logits = GraphRunner(artifact.read_graph("int8")).logits(golden.images)
        assert np.abs(logits - golden.logits).max() <= golden.tolerance
        for other in artifacts:
            if other.name != artifact.name:
                wrong = GraphRunner(other.read_graph("int8")).logits(golden.images)
                assert np.abs(wrong - golden.logits).max() > 10 * golden.tolerance


def test_int8_gives_its_stated_answers_on_test_images(artifacts, data_dir):
    """`foldnorm verify` asks for all of them, which takes a minute."""
    test = load_test_split(data_dir)
    images, labels = test.images[:1000], test.labels[:1000]
    for artifact in artifacts:
        effect = artifact.manifest.quantization.effect
        stated = effect.test.correct_mask()[:1000]
        unlike = {
            variant: (GraphRunner(content).logits(images).argmax(axis=1) == labels) != stated
            for variant, content in (
                ("int8", artifact.read_graph("int8")),
                ("float32", artifact.read_graph(artifact.served_variant)),
            )
        }
        # None on integer kernels; a machine without them may do as the emulation, a few times over.
        assert unlike["int8"].sum() <= 3 * effect.emulation_label_changes
        assert unlike["float32"].sum() > unlike["int8"].sum()


@pytest.mark.parametrize("name", available_recipes())
def test_the_start_up_tolerance_covers_the_sums_of_every_recipe(name):
    """A layer adds up as many products as one of its filters has weights."""
    network = network_of(load_recipe(name))
    layers = [one for one in network.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    assert 2 * sum(layer.weight[0].numel() for layer in layers) < MAX_SUMMED_PRODUCTS
