"""Anybody's classifier as an artifact: what it scores, that it is served, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import foldnorm
from models.bundle import BundleError, load_bundle
from models.tensors import ImageSpec
from service.registry.local_model import load_local_model
from service.settings import load_settings
from tests.onnx_models import Builder
from tests.small_runs import random_images
from training.cli.app import app
from training.errors import ExportError, FoldError, VerificationError
from training.evaluation.onnx_runner import GraphRunner, open_session
from training.release.folder import file_record
from training.release.packing.pack import Packing, pack
from training.release.packing.pipeline import Pipeline, from_preprocessor, from_timm, read_labels
from training.release.packing.proof import check_packed
from training.release.quantization.quantized_release import release_quantized

LABELS = tuple("abcde")
SIZE = (12, 16)
ROOT = Path(__file__).parents[3]


def classifier(
    shape: tuple[int | str, ...] = ("N", 3, *SIZE), ending: str | None = None, classes: int = 5
) -> Builder:
    """Convolution, batch norm, activation, mean over the map, dense; channels first."""
    build = Builder(shape)
    build.conv(int(shape[1]), 8, pads=[1, 1, 1, 1])
    build.norm(8)
    build.add("Relu")
    build.add("GlobalAveragePool")
    build.add("Flatten")
    build.add("Gemm", build.last, build.random("dense", 8, classes), build.random("shift", classes))
    if ending:
        build.add(ending)
    return build


def saved(folder: Path, proto: onnx.ModelProto, name: str = "net.onnx") -> Path:
    onnx.save(proto, folder / name)
    return folder / name


def asked(**pipeline: object) -> Packing:
    return Packing("net", "1.0.0", LABELS, Pipeline(**pipeline))  # type: ignore[arg-type]


def packed(tmp_path: Path, proto: onnx.ModelProto, given: Packing | None = None):
    return pack(saved(tmp_path, proto), given or asked(), tmp_path / "artifacts", latency_rounds=1)


def scores_of(path: Path, images: np.ndarray) -> np.ndarray:
    session = open_session(path, "disable_all")
    return np.asarray(session.run(None, {"x": images.astype(np.float32)})[0])


def test_the_artifact_scores_what_the_file_scores_without_its_batch_norm(tmp_path: Path) -> None:
    mean, deviation = (120.0, 110.0, 100.0), (60.0, 50.0, 40.0)
    artifact = packed(
        tmp_path,
        classifier().proto(),
        asked(mean=mean, deviation=deviation, channels="BGR", resize_to=(20,)),
    )
    images = np.random.default_rng(1).integers(0, 256, (4, *SIZE, 3), np.uint8)
    pixels = ((images[..., ::-1] - np.array(mean)) / np.array(deviation)).transpose(0, 3, 1, 2)
    expected = scores_of(tmp_path / "net.onnx", pixels)
    for variant in ("folded", "unfolded"):
        logits, chances = GraphRunner(artifact.read_graph(variant)).run(images)
        assert np.abs(logits - expected).max() < 1e-5 * np.abs(expected).max()
        assert np.allclose(chances.sum(1), 1, atol=1e-6)
    graphs = artifact.manifest.graphs
    assert "BatchNormalization" not in graphs["folded"].nodes
    assert "Div" not in graphs["folded"].nodes  # the deviation went into the first layer
    assert graphs["unfolded"].nodes["BatchNormalization"] == 1
    assert artifact.manifest.fold is not None
    assert artifact.manifest.fold.proof.holds
    assert artifact.manifest.input == ImageSpec(
        "image",
        "uint8",
        ("N", *SIZE, 3),
        resize="shortest-side",
        resize_to=(20,),
        interpolation="bilinear",
        transparency="ignored",
    )
    artifact.verify()


def test_it_is_loaded_as_the_service_loads_it(tmp_path: Path) -> None:
    artifact = packed(tmp_path, classifier().proto())
    model = load_local_model(artifact.path, load_settings())
    image = np.random.default_rng(2).integers(0, 256, (*SIZE, 3), np.uint8)
    (found,) = model.predict(image, top_k=5)
    expected = scores_of(tmp_path / "net.onnx", image.transpose(2, 0, 1)[None])[0]
    assert [label.index for label in found.top] == np.argsort(-expected).tolist()
    assert artifact.read_history() == []
    with pytest.raises(BundleError, match="packed and not trained"):
        _ = artifact.manifest.trained
    with pytest.raises(BundleError, match="no accuracy is known"):
        _ = artifact.manifest.measured


def test_a_softmax_at_the_end_gives_the_logits_in_front_of_it(tmp_path: Path) -> None:
    artifact = packed(tmp_path, classifier(ending="Softmax").proto())
    plain = scores_of(saved(tmp_path, classifier().proto(), "plain.onnx"), golden_pixels(artifact))
    logits, chances = GraphRunner(artifact.read_graph("folded")).run(artifact.read_golden().images)
    assert np.abs(logits - plain).max() < 1e-5 * np.abs(plain).max()
    assert artifact.manifest.graphs["folded"].nodes["Softmax"] == 1
    assert np.allclose(
        chances, scores_of(tmp_path / "net.onnx", golden_pixels(artifact)), atol=1e-6
    )


def golden_pixels(artifact) -> np.ndarray:
    return artifact.read_golden().images.transpose(0, 3, 1, 2)


def test_probabilities_that_no_softmax_made_have_logarithms_for_logits(tmp_path: Path) -> None:
    build = classifier()
    exponents = build.add("Exp", build.add("Mul", build.last, build.constant("cold", 1e-3)))
    total = build.add("ReduceSum", exponents, build.constant("axis", [1], np.int64))
    build.add("Div", exponents, total)
    with pytest.raises(ExportError, match="add up to 1"):
        packed(tmp_path, build.proto())
    artifact = packed(tmp_path, build.proto(), replace(asked(), scores="probabilities"))
    logits, chances = GraphRunner(artifact.read_graph("folded")).run(artifact.read_golden().images)
    assert np.allclose(np.exp(logits), chances, atol=1e-6)


def test_channels_last_grey_and_trailing_axes_of_size_one(tmp_path: Path) -> None:
    build = Builder(("N", *SIZE, 1))
    build.add("Transpose", perm=[0, 3, 1, 2])
    build.conv(1, 5, pads=[1, 1, 1, 1])
    build.norm(5)
    build.add("GlobalAveragePool")  # (N, 5, 1, 1)
    artifact = packed(tmp_path, build.proto(), asked(channels="grey", mean=(5.0,)))
    images = artifact.read_golden().images
    assert images.shape[1:] == (*SIZE, 1)
    expected = scores_of(tmp_path / "net.onnx", images - 5.0).reshape(-1, 5)
    logits, _ = GraphRunner(artifact.read_graph("folded")).run(images)
    assert np.abs(logits - expected).max() < 1e-5 * np.abs(expected).max()
    assert artifact.manifest.input.colour_order == "grey"


def test_names_of_ours_that_a_network_has_already_are_given_up(tmp_path: Path) -> None:
    proto = classifier().proto()
    renamed = {"x": "image", proto.graph.node[2].output[0]: "logits"}
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    proto.graph.input[0].name = "image"
    artifact = packed(tmp_path, proto)
    assert artifact.manifest.graphs["folded"].nodes["Conv"] == 1


def test_a_network_without_batch_norm_is_served_plain(tmp_path: Path) -> None:
    build = Builder(("N", 3, *SIZE))
    build.conv(3, 5)
    build.add("GlobalAveragePool")
    build.add("Flatten")
    artifact = packed(tmp_path, build.proto())
    assert set(artifact.manifest.graphs) == {"plain"}
    assert artifact.manifest.fold is None


Change = Callable[[onnx.ModelProto], None]


def refused(change: Change) -> onnx.ModelProto:
    proto = classifier().proto()
    change(proto)
    return proto


def nan_weights(proto: onnx.ModelProto) -> None:
    array = numpy_helper.to_array(proto.graph.initializer[0]).copy()
    array.flat[3] = np.nan
    proto.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(array, proto.graph.initializer[0].name)
    )


def float16_input(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    proto.graph.node.insert(0, helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT))
    proto.graph.node[1].input[0] = "wide"


def text_input(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    proto.graph.node.insert(0, helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT))
    proto.graph.node[1].input[0] = "wide"


def two_outputs(proto: onnx.ModelProto) -> None:
    proto.graph.output.append(
        helper.make_tensor_value_info(proto.graph.node[0].output[0], TensorProto.FLOAT, None)
    )
    proto.graph.output[1].CopyFrom(onnx.shape_inference.infer_shapes(proto).graph.output[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nan_weights, "1 of the weights 'w0' are not finite"),
        (float16_input, r"is FLOAT16, .*model\.float\(\)"),
        (text_input, "is INT64, and images are float32"),
        (two_outputs, r"has 2 outputs .* --output-name"),
    ],
)
def test_what_is_no_classifier_of_images_is_refused(
    tmp_path: Path, change: Change, message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        packed(tmp_path, refused(change))
    assert not (tmp_path / "artifacts").exists() or not list((tmp_path / "artifacts").iterdir())


@pytest.mark.parametrize(
    ("build", "given", "message"),
    [
        (classifier(classes=7), asked(), "scores 7 classes, and there are 5 labels"),
        (classifier(ending="Sigmoid"), asked(), "several labels at once"),
        (classifier(("N", 3, "h", "w")), asked(), "free height or width.*--size 224"),
        (classifier(), asked(size=(24, 24)), "--size 24,24, but the network takes 12 by 16"),
        (classifier(), asked(channels="grey"), "no axis of 1 channels"),
        (classifier(("N", 3, 4, 3)), asked(), "may be NCHW or NHWC"),
        (classifier(), replace(asked(), name="My Net"), "--name 'My Net' must be lower-case"),
        (classifier(), replace(asked(), version="2"), "version '2' must be like"),
        (classifier(), replace(asked(), output="y"), "no output 'y'"),
        (classifier(ending="Softmax"), replace(asked(), scores="logits"), "come out of a Softmax"),
    ],
)
def test_what_contradicts_the_file_is_refused_by_name(
    tmp_path: Path, build: Builder, given: Packing, message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        packed(tmp_path, build.proto(), given)


def test_a_free_size_that_is_given_becomes_the_artifact_s(tmp_path: Path) -> None:
    artifact = packed(tmp_path, classifier(("N", 3, "h", "w")).proto(), asked(size=(10, 14)))
    assert artifact.manifest.input.image_shape == (10, 14, 3)


def test_a_detector_s_boxes_and_a_batch_that_is_fixed_are_refused(tmp_path: Path) -> None:
    boxes = Builder(("N", 3, *SIZE))
    boxes.conv(3, 5)
    with pytest.raises(ExportError, match=r"\(10, 5, 10, 14\).*a detector"):
        packed(tmp_path, boxes.proto())
    fixed = Builder((1, 3, *SIZE))
    fixed.conv(3, 5)
    fixed.add("Reshape", fixed.last, fixed.constant("one", [1, -1], np.int64))
    fixed.add("Gemm", fixed.last, fixed.random("dense", 5 * 10 * 14, 5), fixed.random("shift", 5))
    with pytest.raises(ExportError, match="free batch axis"):
        packed(tmp_path, fixed.proto())


def test_a_fixed_batch_that_nothing_depends_on_becomes_free(tmp_path: Path) -> None:
    artifact = packed(tmp_path, classifier((1, 3, *SIZE)).proto())
    logits, _ = GraphRunner(artifact.read_graph("folded")).run(artifact.read_golden().images)
    assert len(logits) == len(artifact.read_golden().images)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge.onnx"
    with huge.open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(FoldError, match="at most"):
        pack(huge, asked(), tmp_path / "artifacts")


def test_weights_of_three_gigabytes_in_another_file_are_refused(tmp_path: Path) -> None:
    proto = classifier().proto()
    large = proto.graph.initializer.add(
        name="large", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL
    )
    large.dims.append(3 << 28)
    for key, value in (("location", "net.data"), ("length", str(3 << 30))):
        large.external_data.add(key=key, value=value)
    with (tmp_path / "net.data").open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(ExportError, match=r"3,221,\d+,\d+ bytes with its weights.*at most"):
        packed(tmp_path, proto)


def test_an_artifact_that_is_there_is_never_written_to(tmp_path: Path) -> None:
    packed(tmp_path, classifier().proto())
    with pytest.raises(ExportError, match="raise --version"):
        packed(tmp_path, classifier().proto())


def test_a_preprocessor_of_transformers_says_it_in_its_own_units(tmp_path: Path) -> None:
    config = tmp_path / "preprocessor_config.json"
    table = {
        "do_resize": True,
        "size": {"shortest_edge": 256},
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "resample": 3,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.2, 0.4],
    }
    config.write_text(json.dumps(table))
    found = from_preprocessor(config)
    assert (found.size, found.resize, found.resize_to) == ((224, 224), "shortest-side", (256,))
    assert found.interpolation == "bicubic"
    assert found.mean == pytest.approx((127.5, 102, 76.5))
    assert found.deviation == pytest.approx((51, 51, 102))
    config.write_text(
        json.dumps(table | {"size": {"height": 8, "width": 9}, "do_center_crop": False})
    )
    exact = from_preprocessor(config)
    assert (exact.size, exact.resize, exact.resize_to) == ((8, 9), "exact", (8, 9))
    config.write_text(json.dumps(table | {"resample": 9}))
    with pytest.raises(ExportError, match="resample = 9"):
        from_preprocessor(config)


def test_a_configuration_of_timm_says_it_in_its_own_units() -> None:
    config = {
        "input_size": (3, 240, 240),
        "crop_pct": 0.875,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.5, 1.0),
    }
    found = from_timm(config)
    assert (found.size, found.resize, found.resize_to) == ((240, 240), "shortest-side", (274,))
    assert found.mean == pytest.approx((127.5,) * 3)
    assert found.deviation == pytest.approx((63.75, 127.5, 255))
    assert from_timm(config | {"crop_mode": "squash"}).resize_to == (274, 274)
    with pytest.raises(ExportError, match="crop_mode = border"):
        from_timm(config | {"crop_mode": "border"})


def test_labels_are_lines_a_list_or_a_table_by_index(tmp_path: Path) -> None:
    lines, table = tmp_path / "a.txt", tmp_path / "a.json"
    lines.write_text("cat\nsea dog\n")
    table.write_text(json.dumps({"id2label": {"1": "sea dog", "0": "cat"}}))
    assert read_labels(lines) == read_labels(table) == ("cat", "sea dog")
    for text, message in (("cat\n\ndog\n", "class 1 is empty"), ("cat\n", "names 1 classes")):
        lines.write_text(text)
        with pytest.raises(ExportError, match=message):
            read_labels(lines)
    table.write_text(json.dumps({"0": "cat", "2": "dog"}))
    with pytest.raises(ExportError, match="no label for class 1"):
        read_labels(table)


def test_the_command_needs_no_torch_and_ends_with_one_line(tmp_path: Path) -> None:
    path = saved(tmp_path, classifier().proto())
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(LABELS) + "\n")
    code = "import sys; sys.modules['torch'] = None\nfrom training.cli.app import run\nrun()"
    flags = ["pack", path, "--name", "net", "--labels", labels, "--mean", "127.5", "--std", "60"]
    flags += ["--resize", "16", "--interpolation", "bicubic", "--rounds", "1", "-o", tmp_path / "a"]
    command = [sys.executable, "-c", code, *map(str, flags)]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert "folded  1 of 1 batch norms and 1 constant; the proof holds" in first.stdout
    assert load_bundle(tmp_path / "a" / "net-1.0.0").manifest.input.resize_to == (16,)
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert again.stderr.startswith("foldnorm: ")
    assert len(again.stderr.splitlines()) == 1


class Network(torch.nn.Module):
    """A network as timm makes them, which says what it wants of pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = torch.nn.BatchNorm2d(8)
        self.head = torch.nn.Linear(8, 5)
        self.pretrained_cfg = {
            "input_size": (3, 12, 12),
            "crop_pct": 0.875,
            "interpolation": "bicubic",
            "mean": (0.5, 0.4, 0.3),
            "std": (0.25, 0.25, 0.5),
        }

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.bn(self.conv(x)).relu().mean((2, 3)))


def trained() -> Network:
    torch.manual_seed(0)
    network = Network()
    network.bn.running_mean.normal_()
    network.bn.running_var.uniform_(0.5, 2)
    torch.nn.init.normal_(network.bn.weight)
    return network.eval()


def test_a_torch_network_is_packed_in_one_call(tmp_path: Path) -> None:
    network = trained()
    artifact = foldnorm.pack(
        network, torch.rand(2, 3, 12, 12), name="net", labels=LABELS, output=tmp_path, rounds=1
    )
    images = np.random.default_rng(3).integers(0, 256, (4, 12, 12, 3), np.uint8)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255
    mean, deviation = (torch.tensor(network.pretrained_cfg[key]) for key in ("mean", "std"))
    with torch.inference_mode():
        expected = network.double()(
            (pixels - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1)
        ).numpy()
    logits, _ = GraphRunner(artifact.read_graph("folded")).run(images)
    assert np.abs(logits - expected).max() < 1e-5 * np.abs(expected).max()
    layers = {layer.norm: layer.into for layer in artifact.manifest.fold.layers}
    assert layers["bn"] == "conv"
    assert all(into == "conv" for into in layers.values())  # the deviation, too
    assert artifact.manifest.input.resize_to == (13,)
    assert artifact.manifest.input.interpolation == "bicubic"


def test_a_network_of_timm_s_is_packed_by_name_with_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create_model(name: str, **given: object) -> Network:
        if name != "small":
            raise RuntimeError(f"Unknown model ({name})\nmore")
        assert (given["num_classes"], given["pretrained"]) == (5, False)
        network = trained()
        network.load_state_dict(torch.load(str(given["checkpoint_path"])))
        return network

    monkeypatch.setitem(sys.modules, "timm", types.SimpleNamespace(create_model=create_model))
    labels, weights = tmp_path / "labels.txt", tmp_path / "small.pth"
    labels.write_text("\n".join(LABELS))
    torch.save(trained().state_dict(), weights)
    given = ["--name", "net", "--labels", str(labels), "-o", str(tmp_path), "--rounds", "1"]
    known = CliRunner().invoke(
        app, ["pack", "--timm", "small", "--checkpoint", str(weights), *given]
    )
    assert known.exit_code == 0, known.output
    assert "folded  1 of 1 batch norms" in known.output
    assert load_bundle(tmp_path / "net-1.0.0").manifest.input.resize_to == (13,)
    for arguments, message in (
        (["--timm", "large", "--checkpoint", str(weights)], "Unknown model"),
        (["--timm", "small", "--checkpoint", str(tmp_path / "no.pth")], "no such file"),
    ):
        refused = CliRunner().invoke(app, ["pack", *arguments, *given, "--version", "2.0.0"])
        assert isinstance(refused.exception, ExportError)
        assert message in str(refused.exception)
    assert CliRunner().invoke(app, ["pack", *given]).exit_code == 2


def test_what_python_is_asked_for_wrongly_is_said(tmp_path: Path) -> None:
    given = {"name": "net", "labels": LABELS, "output": tmp_path, "rounds": 1}
    with pytest.raises(TypeError, match="give an example"):
        foldnorm.pack(trained(), **given)
    with pytest.raises(TypeError, match="no keyword 'colour'"):
        foldnorm.pack(trained(), torch.rand(2, 3, 12, 12), colour="BGR", **given)
    with pytest.raises(ExportError, match=r"call eval\(\)"):
        foldnorm.pack(trained().train(), torch.rand(2, 3, 12, 12), **given)
    with pytest.raises(ExportError, match="--scores both"):
        foldnorm.pack(trained(), torch.rand(2, 3, 12, 12), scores="both", **given)


def test_a_packed_artifact_is_verified_without_data_and_a_changed_one_is_not(
    tmp_path: Path,
) -> None:
    artifact = packed(tmp_path, classifier().proto())
    assert check_packed(artifact).holds
    images, logits = artifact.read_golden().images, artifact.read_golden().logits
    np.savez(artifact.path / "golden.npz", images=images, logits=logits * 1.001)
    golden = replace(
        artifact.manifest.golden, sha256=file_record(artifact.path / "golden.npz").sha256
    )
    other = replace(artifact, manifest=replace(artifact.manifest, golden=golden))
    with pytest.raises(VerificationError, match="golden logits are off by"):
        check_packed(other)


@pytest.mark.parametrize("command", ["report", "train"])
def test_commands_that_need_a_training_say_that_there_was_none(
    tmp_path: Path, command: str
) -> None:
    artifact = str(packed(tmp_path, classifier().proto()).path)
    arguments = {
        "train": ["keras-bn", "--initialize-from", artifact, "--data-dir", str(tmp_path)],
        "report": [artifact],
    }[command]
    result = CliRunner().invoke(app, [command, *arguments])
    assert isinstance(result.exception, BundleError)
    assert "packed and not trained by Foldnorm" in str(result.exception)


def test_images_of_another_size_are_no_calibration_for_int8(tmp_path: Path) -> None:
    artifact, images = packed(tmp_path, classifier().proto()), random_images(20, 0)
    with pytest.raises(ExportError, match=r"takes images \(12, 16, 3\), .* \(32, 32, 3\)"):
        release_quantized(artifact, images, images, "1.1.0", tmp_path)
