"""What keeps the process from starting, with real graphs in real onnxruntime."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest

from models.bundle import BundleError
from service.app import build_state
from service.errors import ModelRefusedError
from service.inference.providers import CPU, Provider
from service.inference.session import OrtSession
from service.settings import Settings
from tests import synthetic
from tests.images import SPEC

NETWORK = synthetic.random_network(7, norms=True)
OTHER = synthetic.random_network(8, norms=True)


def start(folder: Path) -> None:
    build_state(Settings(artifacts=folder, threads=1, cuda="off"))


def artifact(
    folder: Path, unfolded: onnx.ModelProto, folded: onnx.ModelProto | None = None
) -> None:
    graphs = {"folded": folded or synthetic.build_graph(NETWORK.folded()), "unfolded": unfolded}
    synthetic.write_graphs(folder, "bad-bn", "1.0.0", graphs, NETWORK)


def test_a_sound_artifact_starts(tmp_path: Path) -> None:
    artifact(tmp_path, synthetic.build_graph(NETWORK))
    start(tmp_path)


def test_a_graph_in_training_mode_is_refused(tmp_path: Path) -> None:
    artifact(tmp_path, synthetic.build_graph(NETWORK, training_mode=1))
    with pytest.raises(ModelRefusedError, match=r"bad-bn-unfolded 1\.0\.0 .*in training mode"):
        start(tmp_path)


def test_a_graph_that_centres_by_its_batch_is_refused(tmp_path: Path) -> None:
    artifact(tmp_path, synthetic.build_graph(NETWORK, batch_dependent=True))
    with pytest.raises(ModelRefusedError, match="golden logits are off"):
        start(tmp_path)


def test_the_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    artifact(tmp_path, synthetic.build_graph(NETWORK), synthetic.build_graph(OTHER.folded()))
    with pytest.raises(ModelRefusedError, match=r"bad-bn 1\.0\.0 .*golden logits are off"):
        start(tmp_path)


def test_a_changed_file_is_refused(tmp_path: Path, artifacts: Path) -> None:
    copy = tmp_path / "tiny-plain-1.0.0"
    shutil.copytree(artifacts / "tiny-plain-1.0.0", copy)
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match=r"model\.onnx has SHA-256"):
        start(tmp_path)


def test_a_graph_of_another_interface_is_refused() -> None:
    model = synthetic.build_graph(NETWORK)
    model.graph.input[0].name = "picture"
    model.graph.node[0].input[0] = "picture"
    with pytest.raises(ModelRefusedError, match=r"picture.* its manifest says image uint8"):
        open_session(model.SerializeToString())


def test_bytes_that_onnxruntime_cannot_load_are_refused() -> None:
    with pytest.raises(ModelRefusedError, match="onnxruntime cannot load the graph"):
        open_session(b"\x00garbage")


@pytest.mark.parametrize("optimization", ["disable_all", "basic", "extended", "enable_all"])
def test_every_level_of_optimization_gives_the_same_logits(optimization: str) -> None:
    images = synthetic.random_images(7, 4)
    session = open_session(synthetic.build_graph(NETWORK).SerializeToString(), optimization)
    truth = NETWORK.logits(images)
    # The golden tolerance that service.inference.startup_checks derives.
    assert abs(session.run(images).logits - truth).max() <= 6.2e-5 * abs(truth).max()


def open_session(graph: bytes, optimization: str = "enable_all") -> OrtSession:
    provider = Provider(CPU, "a test")
    return OrtSession(graph, spec=SPEC, classes=10, provider=provider, optimization=optimization)


def test_a_graph_of_other_classes_than_its_labels_is_refused(tmp_path: Path) -> None:
    """Served, it would name classes that it has no label for."""
    wide = synthetic.random_network(7, norms=False, classes=100)
    synthetic.write_graphs(tmp_path, "wide", "1.0.0", {"plain": synthetic.build_graph(wide)}, wide)
    with pytest.raises(ModelRefusedError, match=r"logits is tensor\(float\) \[100\].* 10 labels"):
        start(tmp_path)


def test_a_graph_of_another_image_size_than_its_manifest_is_refused(tmp_path: Path) -> None:
    small = synthetic.random_network(7, norms=False, image_shape=(16, 16, 3))
    graph = synthetic.build_graph(small, image_shape=(16, 16, 3))
    synthetic.write_graphs(tmp_path, "small", "1.0.0", {"plain": graph}, NETWORK)
    with pytest.raises(ModelRefusedError, match=r"\[16, 16, 3\].*manifest says .*\[N, 32, 32, 3\]"):
        start(tmp_path)


def test_a_graph_that_leaves_its_classes_open_is_counted_by_its_answers(tmp_path: Path) -> None:
    wide = synthetic.random_network(7, norms=False, classes=12)
    graph = synthetic.build_graph(wide)
    for output in graph.graph.output:
        output.type.tensor_type.shape.dim[1].dim_param = "C"
    synthetic.write_graphs(tmp_path, "open", "1.0.0", {"plain": graph}, NETWORK)
    with pytest.raises(ModelRefusedError, match="logits"):
        start(tmp_path)
