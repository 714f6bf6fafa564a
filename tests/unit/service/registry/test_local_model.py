"""A model without a server sees what the service sees, however the picture is handed over."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.bundle import BundleError
from service.errors import TooManyPixelsError, UndecodableImageError, UnknownModelError
from service.registry.local_model import MAX_BATCH_SIZE, LocalModel, load_local_model
from service.settings import Settings
from tests import synthetic
from tests.orientations import TURNS


@pytest.fixture(scope="module")
def model(artifacts: Path) -> LocalModel:
    return load_local_model("tiny-bn", Settings(artifacts=artifacts, cuda="off"))


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    """Not square, and larger than what the network takes."""
    return np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_path_bytes_picture_and_array_are_one_image(
    model: LocalModel, pixels: NDArray[np.uint8], tmp_path: Path
) -> None:
    picture = Image.fromarray(pixels)
    path = tmp_path / "image.png"
    path.write_bytes(encoded(picture))
    forms = [path, str(path), path.read_bytes(), picture, pixels]
    found = model.predict(forms, top_k=10)
    assert len(found) == len(forms)
    assert all(prediction == found[0] for prediction in found)
    assert model.predict(path, top_k=10)[0].label == found[0].label


@pytest.mark.parametrize("orientation", TURNS)
def test_a_picture_is_turned_upright_by_its_exif(
    model: LocalModel, pixels: NDArray[np.uint8], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.open(io.BytesIO(encoded(Image.fromarray(pixels), exif=exif.tobytes())))
    upright = np.ascontiguousarray(TURNS[orientation](pixels))
    (expected,), (found,) = model.predict(upright, top_k=10), model.predict(stored, top_k=10)
    assert [one.index for one in found.top] == [one.index for one in expected.top]
    np.testing.assert_allclose(
        [one.probability for one in found.top],
        [one.probability for one in expected.top],
        rtol=0.05,  # resampling before or after the turn rounds pixels differently
    )


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "LA", "1", "YCbCr"])
def test_a_picture_of_any_mode_is_taken(model: LocalModel, mode: str) -> None:
    assert len(model.predict(Image.new(mode, (40, 30)))) == 1


def test_the_best_classes_come_first(model: LocalModel, pixels: NDArray[np.uint8]) -> None:
    (found,) = model.predict(pixels, top_k=3)
    chances = [one.probability for one in found.top]
    assert len(chances) == 3
    assert chances == sorted(chances, reverse=True)
    assert (found.index, found.label) == (found.top[0].index, found.top[0].label)
    assert found.label == model.labels[found.index]


def test_any_number_of_images_is_classified_in_their_order(model: LocalModel) -> None:
    images = synthetic.random_images(7, MAX_BATCH_SIZE + 3)
    assert [one.label for one in model.predict(images)] == [
        model.predict(image)[0].label for image in images
    ]
    assert model.predict([]) == []


@pytest.mark.parametrize("top_k", [0, 11])
def test_top_k_names_the_limit(model: LocalModel, top_k: int) -> None:
    with pytest.raises(ValueError, match=rf"top_k={top_k} is out of range: .* ask for 1 to 10"):
        model.predict(b"", top_k)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((32, 32, 3), np.float32),
        np.zeros((32, 32), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
    ],
)
def test_an_array_that_is_no_image_is_refused(model: LocalModel, array: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"is no image; give uint8 \(H, W, 3\)"):
        model.predict(array)


def test_a_damaged_file_is_refused(model: LocalModel, pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(UndecodableImageError):
        model.predict(encoded(Image.fromarray(pixels))[:200])


def test_the_settings_bound_the_pixels(artifacts: Path, pixels: NDArray[np.uint8]) -> None:
    small = load_local_model("tiny-bn", Settings(artifacts=artifacts, cuda="off", max_pixels=100))
    with pytest.raises(TooManyPixelsError, match="at most 100"):
        small.predict(pixels)


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("tiny-bn", "tiny-bn"),
        ("tiny-bn@1.0.0", "tiny-bn"),
        ("tiny-bn-unfolded", "tiny-bn-unfolded"),
        ("tiny-bn-unfolded@1.0.0", "tiny-bn-unfolded"),
    ],
)
def test_names_are_those_of_the_service(artifacts: Path, wanted: str, name: str) -> None:
    found = load_local_model(wanted, Settings(artifacts=artifacts, cuda="off"))
    assert (found.name, found.version) == (name, "1.0.0")


def test_a_name_without_a_version_means_the_newest(tmp_path: Path) -> None:
    for version in ("1.9.0", "1.10.0"):
        synthetic.write_artifact(tmp_path, "tiny", norms=False, version=version)
    settings = Settings(artifacts=tmp_path, cuda="off")
    assert load_local_model("tiny", settings).version == "1.10.0"
    assert load_local_model("tiny@1.9.0", settings).version == "1.9.0"


def test_a_folder_means_its_served_graph(artifacts: Path) -> None:
    found = load_local_model(artifacts / "tiny-bn-1.0.0", Settings(cuda="off"))
    assert found.name == "tiny-bn"


def test_a_damaged_neighbour_does_no_harm_and_is_named_where_a_name_is_not_found(
    tmp_path: Path,
) -> None:
    synthetic.write_artifact(tmp_path, "tiny", norms=False)
    damaged = synthetic.write_artifact(tmp_path, "half", norms=False)
    (damaged / "manifest.json").write_text("{")
    settings = Settings(artifacts=tmp_path, cuda="off")
    assert load_local_model("tiny", settings).name == "tiny"
    with pytest.raises(UnknownModelError, match=r"no model 'half' .* tiny@1\.0\.0.* is not JSON"):
        load_local_model("half", settings)


def test_a_changed_graph_is_refused(tmp_path: Path) -> None:
    path = synthetic.write_artifact(tmp_path, "tiny", norms=False)
    with (path / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match="SHA-256"):
        load_local_model(path, Settings(cuda="off"))
