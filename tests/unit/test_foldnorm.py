"""The public functions do what they promise; what is behind them has tests of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import foldnorm
from models.bundle import BundleError
from service.errors import UnknownModelError
from service.settings import SettingsError
from tests import synthetic
from tests.onnx_models import Builder
from training.errors import FoldError, VerificationError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model() -> onnx.ModelProto:
    """A convolution and its batch norm."""
    builder = Builder((2, 3, 7, 8))
    builder.conv(3, 4)
    builder.norm(4, positive=True)
    return builder.proto()


@pytest.fixture
def model_file(model: onnx.ModelProto, tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    return path


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_a_torch_network_is_folded_and_left_alone_itself() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    network(3 * torch.randn(16, 3, 8, 8))  # moves the statistics away from the identity
    network.eval()
    images = torch.randn(4, 3, 8, 8)
    folded = foldnorm.fold(network, images)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.network.modules())
    assert [row.into for row in folded.rows] == [("0",)]
    torch.testing.assert_close(folded.network(images), network(images))
    assert isinstance(network[1], nn.BatchNorm2d)


def test_a_folded_torch_network_prints_as_a_table_and_is_proved() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
    folded = foldnorm.fold(network, torch.randn(4, 3, 8, 8))
    assert folded.verdict is not None
    assert folded.verdict.holds
    assert "1 batch norm: 1 folded, 0 kept; the proof holds" in repr(folded)
    assert "<td>1</td><td>8</td><td>0</td>" in folded._repr_html_()
    assert foldnorm.fold(network, torch.randn(4, 3, 8, 8), proof=False).verdict is None


def test_a_torch_network_is_folded_in_place() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
    folded = foldnorm.fold(network, torch.randn(4, 3, 8, 8), in_place=True)
    assert folded.network is network
    assert isinstance(network[1], nn.Identity)
    assert folded.verdict is not None
    assert folded.verdict.holds


def test_copies_of_layers_have_no_place_in_the_network_itself() -> None:
    with pytest.raises(ValueError, match="clones and in_place exclude each other"):
        foldnorm.fold(nn.Linear(2, 2), torch.ones(1, 2), in_place=True, clones=True)


def test_an_onnx_model_is_folded_and_proved(model: onnx.ModelProto) -> None:
    folded = foldnorm.fold_onnx(model)
    assert folded.verdict.holds
    assert operators(folded.model) == ["Conv"]
    assert [row.folded for row in folded.rows] == [True]
    assert "BatchNormalization" in operators(model)


def test_a_file_is_folded_into_a_file_that_is_the_same_network(
    model_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "folded.onnx"
    output.write_text("of an earlier run")
    foldnorm.fold_onnx(str(model_file), output)
    assert operators(onnx.load(output)) == ["Conv"]
    assert foldnorm.verify(model_file, output).holds


def test_another_network_is_told_apart(model: onnx.ModelProto) -> None:
    other = onnx.ModelProto.FromString(model.SerializeToString())
    mean = next(one for one in other.graph.initializer if one.name == "mean1")
    mean.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(mean) + 0.1, "mean1"))
    assert not foldnorm.verify(model, other).holds


def test_a_fold_whose_proof_fails_is_raised_and_not_written(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = foldnorm.verify(model_file, model_file)
    wrong = type(judged)(**{**vars(judged), "unexplained_label_changes": 1})
    monkeypatch.setattr("training.folding.onnx_fold.prove_fold", lambda *_, **__: wrong)
    with pytest.raises(VerificationError, match="the proof fails, nothing was written"):
        foldnorm.fold_onnx(model_file, tmp_path / "folded.onnx")
    assert not (tmp_path / "folded.onnx").exists()


def test_the_model_itself_is_never_overwritten(model_file: Path) -> None:
    with pytest.raises(FoldError, match="is the model itself"):
        foldnorm.fold_onnx(model_file, model_file)


def test_a_loaded_model_of_an_unknown_opset_is_refused_like_a_file(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 6
    with pytest.raises(FoldError, match=r"the ONNX model: opset 6, and 7 to 26 are known"):
        foldnorm.fold_onnx(model)


@pytest.mark.parametrize("arguments", [{}, {"other": "b.onnx", "data_dir": "data"}])
def test_verify_wants_two_models_or_an_artifact_and_its_data(arguments: dict[str, str]) -> None:
    with pytest.raises(TypeError, match="two ONNX models, or the path of an artifact"):
        foldnorm.verify("a.onnx", **arguments)  # type: ignore[call-overload] # that is the point


def test_doctor_finds_what_is_wrong(model: onnx.ModelProto, tmp_path: Path) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == "var1":
            dead = onnx.numpy_helper.to_array(tensor).copy()
            dead[2] = 0
            tensor.CopyFrom(onnx.numpy_helper.from_array(dead, tensor.name))
    onnx.save(model, tmp_path / "model.onnx")
    diagnosis = foldnorm.doctor(tmp_path / "model.onnx")
    assert diagnosis.batch_norms == 1
    assert diagnosis.findings


def test_doctor_cannot_measure_what_has_no_data(model_file: Path, tmp_path: Path) -> None:
    with pytest.raises(FoldError, match="nothing can be measured"):
        foldnorm.doctor(model_file, tmp_path)


def test_a_model_is_loaded_by_name_and_by_folder(artifacts: Path) -> None:
    image = synthetic.random_images(3, 1)
    by_name = foldnorm.load("tiny-bn", artifacts=artifacts)
    by_folder = foldnorm.load(artifacts / "tiny-bn-1.0.0")
    assert by_name.predict(image, top_k=10) == by_folder.predict(image, top_k=10)


def test_the_service_s_settings_apply(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDNORM_ARTIFACTS", str(artifacts))
    assert foldnorm.load("tiny-plain").version == "1.0.0"
    monkeypatch.setenv("FOLDNORM_ARTEFACTS", str(artifacts))
    with pytest.raises(SettingsError, match="did you mean FOLDNORM_ARTIFACTS"):
        foldnorm.load("tiny-plain")


def test_an_unknown_name_is_answered_with_those_that_there_are(artifacts: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"tiny-bn@1\.0\.0.*tiny-plain@1\.0\.0"):
        foldnorm.load("resnet", artifacts=artifacts)


def test_a_folder_that_is_not_there_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="an installed package brings no trained networks"):
        foldnorm.load("keras-bn", artifacts=tmp_path / "artifacts")


@pytest.mark.parametrize(
    ("call", "package", "extra"),
    [
        ("fold(None, None)", "torch", "'foldnorm[train]'"),
        ("fold_onnx('model.onnx')", "onnx", "'foldnorm[fold]'"),
        ("verify('a.onnx', 'b.onnx')", "onnx_ir", "'foldnorm[fold]'"),
        ("verify('artifact', data_dir='data')", "torch", "'foldnorm[train]'"),
        ("doctor('model.onnx')", "onnx", "'foldnorm[fold]'"),
        ("doctor('network.pt')", "torch", "'foldnorm[train]'"),
        ("load('keras-bn')", "onnxruntime", "foldnorm"),
    ],
)
def test_what_is_not_installed_is_named_with_what_to_install(
    call: str, package: str, extra: str
) -> None:
    code = f"""if True:
        import sys
        sys.modules[{package!r}] = None  # makes importing it fail as if it were not installed
        import foldnorm
        try:
            foldnorm.{call}
        except foldnorm.MissingExtraError as error:
            print(error)
    """
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    function = call.partition("(")[0]
    assert result.stdout.strip() == (
        f"foldnorm.{function} needs the package {package!r}; install it with: pip install {extra}"
    )


def test_a_missing_module_of_ours_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "service.registry.local_model", None)
    with pytest.raises(ModuleNotFoundError, match="local_model") as raised:
        foldnorm.load("keras-bn")
    assert not isinstance(raised.value, foldnorm.MissingExtraError)


def test_predictions_are_equal_for_a_batch_and_for_one_image(artifacts: Path) -> None:
    images = synthetic.random_images(5, 3)
    model = foldnorm.load("tiny-bn", artifacts=artifacts)
    alone = [model.predict(image)[0].probability for image in images]
    together = [found.probability for found in model.predict(images)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
