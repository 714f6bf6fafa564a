"""Files: what is read is whole, what is written is complete; every refusal says what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tests.onnx_models import Builder, outputs
from training.errors import FoldError
from training.folding.onnx_frontend import files
from training.folding.onnx_frontend.files import read_model, write_model
from training.folding.onnx_frontend.folded_model import fold_model

IMAGE = (2, 3, 7, 8)


@pytest.fixture
def model() -> ir.Model:
    builder = Builder(IMAGE)
    builder.conv(3, 4)
    builder.norm(4)
    return builder.model()


@pytest.fixture
def external(model: ir.Model, tmp_path: Path) -> Path:
    """A model with its weights in a file of their own."""
    path = tmp_path / "model.onnx"
    ir.save(model, path, external_data="weights.bin")
    return path


def test_what_is_written_is_what_other_readers_read(model: ir.Model, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_model(model, path)
    again = onnx.load(path)
    wanted = ir.to_proto(model)
    del wanted.graph.value_info[:]  # of the initializers, which say it themselves
    assert again == wanted
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_the_model_is_unchanged_by_writing_it(model: ir.Model, tmp_path: Path) -> None:
    before = ir.to_proto(model)
    write_model(model, tmp_path / "model.onnx")
    assert ir.to_proto(model) == before


def test_external_weights_are_read_folded_and_written(external: Path, model: ir.Model) -> None:
    folded = fold_model(read_model(external)).model
    write_model(folded, external.with_name("folded.onnx"))
    x = np.random.default_rng(1).standard_normal(IMAGE).astype(np.float32)
    again = read_model(external.with_name("folded.onnx"))
    (left,), (right,) = outputs(model, x), outputs(again, x)
    assert np.abs(left - right).max() <= 1e-5 * np.abs(left).max()


def test_a_model_that_one_file_cannot_hold_gets_a_second(
    model: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LIMIT_BYTES", 100)
    write_model(model, tmp_path / "big.onnx")
    monkeypatch.undo()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["big.onnx", "big.onnx.data"]
    x = np.random.default_rng(1).standard_normal(IMAGE).astype(np.float32)
    loaded = read_model(tmp_path / "big.onnx")
    ir.external_data.load_to_model(loaded)
    assert np.array_equal(outputs(loaded, x)[0], outputs(model, x)[0])


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "without outputs"), (b"no model at all", "ONNX model"), (b"\x08\x08\x3a", "ONNX model")],
)
def test_what_is_no_model_is_refused_by_name(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(FoldError, match=words) as caught:
        read_model(path)
    assert str(path) in str(caught.value)
    assert "export the network again" in str(caught.value)


def test_a_file_cut_short_is_refused(model: ir.Model, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_model(model, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(FoldError, match="damaged"):
        read_model(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FoldError, match="no such file"):
        read_model(tmp_path / "nowhere.onnx")


def test_a_file_beyond_the_limit_names_it(external: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LIMIT_BYTES", 100)
    with pytest.raises(FoldError, match=r"holds at most 100; .* external data"):
        read_model(external)


def test_an_opset_that_is_not_known_is_named(model: ir.Model, tmp_path: Path) -> None:
    model.graph.opset_imports[""] = 99
    path = tmp_path / "model.onnx"
    path.write_bytes(ir.to_proto(model).SerializeToString())
    with pytest.raises(FoldError, match="opset 99, and 7 to"):
        read_model(path)


def test_weights_that_are_missing_or_short_are_named(external: Path) -> None:
    data = external.with_name("weights.bin")
    data.write_bytes(data.read_bytes()[:-8])
    with pytest.raises(FoldError, match=r"weights\.bin, which has .* copy the model with all"):
        read_model(external)
    data.unlink()
    with pytest.raises(FoldError, match="which is missing"):
        read_model(external)


def test_weights_outside_of_the_folder_are_not_followed(external: Path) -> None:
    outside = external.parent.parent / "outside.bin"
    outside.write_bytes(external.with_name("weights.bin").read_bytes())
    proto = onnx.load(external, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../outside.bin"
    external.write_bytes(proto.SerializeToString())
    with pytest.raises(FoldError, match="outside of the model's folder"):
        read_model(external)


def test_what_was_there_stays_if_writing_fails(external: Path, tmp_path: Path) -> None:
    model = read_model(external)  # its weights are mapped when they are needed
    external.with_name("weights.bin").unlink()
    folder = tmp_path / "there"
    folder.mkdir()
    path = folder / "model.onnx"
    path.write_bytes(b"before")
    with pytest.raises(FoldError, match="cannot be written"):
        write_model(model, path)
    assert path.read_bytes() == b"before"
    assert list(folder.iterdir()) == [path]
