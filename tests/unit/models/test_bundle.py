"""Artifacts on disk: whole ones are read, anything else is refused by the name of its file."""

import hashlib
import io
import json
import shutil

import numpy as np
import pytest

from models.bundle import BundleError, load_bundle, load_catalogue
from tests import synthetic
from tests.conftest import RELEASED


@pytest.fixture
def folder(artifacts, tmp_path):
    """A copy of the synthetic twins that a test may break."""
    return shutil.copytree(artifacts, tmp_path / "artifacts")


@pytest.fixture
def path(folder):
    (found,) = folder.glob("tiny-bn-*")
    return found


@pytest.fixture
def quantized(path):
    """The same with an int8 variant."""
    return synthetic.add_int8(path)


def rewrite(path, change):
    file = path / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


def test_a_whole_artifact_is_read(path):
    bundle = load_bundle(path)
    bundle.verify()
    assert bundle.name == "tiny-bn"
    assert bundle.served_variant == "folded"
    golden = bundle.read_golden()
    assert golden.images.shape[1:] == (32, 32, 3)
    assert golden.logits.shape == (len(golden.images), 10)
    assert bundle.read_history()[0].epoch == 1


def test_a_network_without_batch_norm_is_served_plain(folder):
    (plain,) = folder.glob("tiny-plain-*")
    bundle = load_bundle(plain)
    assert bundle.served_variant == "plain"
    with pytest.raises(BundleError, match=r"tiny-plain.* has no unfolded graph; it has plain"):
        bundle.read_graph("unfolded")


@pytest.mark.parametrize(
    "name", ["model.onnx", "model.unfolded.onnx", "golden.npz", "history.jsonl"]
)
def test_a_changed_file_is_named(path, name):
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} has SHA-256 .*its manifest says"):
        load_bundle(path).verify()


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "history.jsonl"])
def test_a_missing_file_is_named(path, name):
    (path / name).unlink()
    with pytest.raises(BundleError, match=rf"cannot read .*{name}.*incomplete"):
        load_bundle(path).verify()


def test_a_changed_file_is_never_handed_out(path):
    (path / "golden.npz").write_bytes(b"changed")
    (path / "history.jsonl").write_bytes(b"changed")
    bundle = load_bundle(path)
    with pytest.raises(BundleError):
        bundle.read_golden()
    with pytest.raises(BundleError):
        bundle.read_history()


def release(path, key, content):
    """Replace a file and give the manifest its hash, as a release of the wrong file would."""
    (path / json.loads((path / "manifest.json").read_text())[key]["file"]).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    rewrite(path, lambda manifest: manifest[key].update(sha256=digest))


def archive(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def one_array():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"no archive", id="no archive"),
        pytest.param(one_array(), id="one array"),
        pytest.param(archive(images=np.zeros(3)), id="no logits"),
        pytest.param(
            archive(images=np.zeros(3), logits=np.array([{}], dtype=object)), id="a pickle"
        ),
        pytest.param(archive(images=np.zeros(3))[:-40], id="truncated"),
    ],
)
def test_a_released_golden_file_that_holds_no_golden_images_is_named(path, content):
    release(path, "golden", content)
    with pytest.raises(BundleError, match=r"golden\.npz does not hold the arrays images and"):
        load_bundle(path).read_golden()


def test_a_released_history_that_is_no_learning_curve_is_named(path):
    release(path, "history", b'{"epoch": 1}\n')
    with pytest.raises(BundleError, match=r"history\.jsonl:1: the key 'learning_rate' is missing"):
        load_bundle(path).read_history()


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_an_unknown_schema_is_refused_before_anything_else_is_read(path, version):
    (path / "manifest.json").write_text(json.dumps({"schema_version": version, "new": 1}))
    with pytest.raises(BundleError, match=rf"schema_version {version!r}, this version of Foldnorm"):
        load_bundle(path)


@pytest.mark.parametrize("text", ["", "no json", "[1]", "null"])
def test_another_file_in_the_manifests_place_is_refused(path, text):
    (path / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        load_bundle(path)


def test_a_folder_without_a_manifest_is_named(tmp_path):
    with pytest.raises(BundleError, match=rf"cannot read {tmp_path}/manifest.json"):
        load_bundle(tmp_path)


@pytest.mark.parametrize(
    "file", ["../model.onnx", "/etc/passwd", "a\\b", ".hidden", "sub/x", "", "a\0b"]
)
def test_a_file_outside_the_folder_is_refused(path, file):
    rewrite(path, lambda manifest: manifest["graphs"]["folded"].update(file=file))
    with pytest.raises(BundleError, match="must be a file name inside the artifact"):
        load_bundle(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../up"),
        ("name", "Upper"),
        ("name", "a--b"),
        ("version", "1.0"),
        ("version", "v1.0.0"),
    ],
)
def test_a_name_that_could_not_stand_in_a_path_is_refused(path, key, value):
    rewrite(path, lambda manifest: manifest.update({key: value}))
    with pytest.raises(BundleError, match=f"{key} '{value}' must be"):
        load_bundle(path)


def test_an_unknown_key_is_refused(path):
    rewrite(path, lambda manifest: manifest.update(surprise=1))
    with pytest.raises(BundleError, match="unknown key 'surprise'"):
        load_bundle(path)


def test_the_catalogue_is_by_name_and_newest_version_first(folder, path):
    for version in ("1.9.0", "1.10.0"):
        copy = shutil.copytree(path, folder / f"tiny-bn-{version}")
        rewrite(copy, lambda manifest, v=version: manifest.update(version=v))
    names = [(bundle.name, bundle.version) for bundle in load_catalogue(folder)]
    first = load_bundle(path).version
    assert [v for n, v in names if n == "tiny-bn"] == ["1.10.0", "1.9.0", first]
    assert [n for n, _ in names] == sorted(n for n, _ in names)


def test_two_of_one_name_and_version_are_refused(folder, path):
    shutil.copytree(path, folder / "copy")
    with pytest.raises(BundleError, match=r"are both tiny-bn .*remove one"):
        load_catalogue(folder)


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(BundleError, match=f"no artifact in {tmp_path}"):
        load_catalogue(tmp_path)


def test_an_unknown_variant_is_refused(path):
    rewrite(path, lambda m: m["graphs"].update(sneaky=m["graphs"]["folded"]))
    with pytest.raises(BundleError, match=r"graphs = 'sneaky' must be one of folded, unfolded"):
        load_bundle(path)


def test_a_manifest_nested_beyond_reason_is_refused(path):
    (path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(BundleError, match=r"manifest\.json is not JSON"):
        load_bundle(path)


def test_an_artifact_that_is_still_being_written_is_passed_over(folder, path):
    shutil.copytree(path, folder / f".{path.name}.partial")
    assert [b.path.name for b in load_catalogue(folder)] == ["tiny-bn-1.0.0", "tiny-plain-1.0.0"]


def test_an_int8_graph_has_golden_logits_and_a_tolerance_of_its_own(quantized):
    bundle = load_bundle(quantized)
    bundle.verify()
    assert bundle.served_variant == "folded"
    shared, own = bundle.read_golden("folded"), bundle.read_golden("int8")
    assert shared.tolerance is None
    assert own.tolerance == 0.1
    assert (own.images == shared.images).all()
    assert own.logits.dtype == np.float64
    assert np.abs(own.logits - shared.logits).max() == pytest.approx(0.01)


def test_every_other_graph_shares_the_golden_logits(quantized):
    bundle = load_bundle(quantized)
    for variant in (None, "folded", "unfolded"):
        assert (bundle.read_golden(variant).logits == bundle.read_golden().logits).all()


def test_an_artifact_without_int8_has_no_golden_logits_for_it(path):
    with pytest.raises(BundleError, match=r"has no int8 graph; 'foldnorm quantize' makes one"):
        load_bundle(path).read_golden("int8")


@pytest.mark.parametrize("name", ["model.int8.onnx", "golden.int8.npz"])
def test_a_changed_int8_file_is_named(quantized, name):
    with (quantized / name).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match=rf"{name} has SHA-256"):
        load_bundle(quantized).verify()


@pytest.mark.parametrize("missing", ["graph", "report"])
def test_an_int8_graph_and_its_report_come_together(quantized, missing):
    def remove(manifest):
        if missing == "graph":
            del manifest["graphs"]["int8"]
        else:
            del manifest["quantization"]

    rewrite(quantized, remove)
    with pytest.raises(BundleError, match="an int8 graph or its quantization report, and not the"):
        load_bundle(quantized)


def test_the_golden_file_of_int8_lies_in_the_folder_too(quantized):
    rewrite(quantized, lambda m: m["quantization"]["golden"].update(file="../golden.npz"))
    with pytest.raises(BundleError, match="must be a file name inside the artifact"):
        load_bundle(quantized)


def test_a_manifest_from_before_int8_is_read(path):
    rewrite(path, lambda manifest: manifest.pop("quantization"))
    assert load_bundle(path).manifest.quantization is None


def test_the_first_golden_images_keep_their_tolerance(quantized):
    golden = load_bundle(quantized).read_golden("int8")
    first = golden.first(2)
    assert [len(first.images), len(first.logits), first.tolerance] == [2, 2, golden.tolerance]
    assert (first.logits == golden.logits[:2]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["labels"].append("thirteen"), "there are 11 labels; it must be float32"),
        (lambda m: m["outputs"].pop(), "the output probabilities is missing"),
        (lambda m: m["outputs"][0].update(dtype="float16"), "the output logits is float16"),
        (lambda m: m["input"].update(shape=["N", 3, 32, 32]), r"uint8 \['N', 3, 32, 32\]; images"),
        (lambda m: m["input"].update(shape=["N", "H", "W", 3]), "images are uint8 .N, height"),
        (lambda m: m["input"].update(dtype="float32"), "the input is float32"),
        (lambda m: m["input"].update(resize="stretch"), "must be one of central-crop"),
        (lambda m: m["input"].update(interpolation="area"), "must be one of lanczos"),
        (lambda m: m["input"].update(transparency="black"), "must be one of white"),
        (lambda m: m["input"].update(colour_order="BGR"), "must be one of RGB"),
        (lambda m: m["input"].update(colour_order="grey"), r"images are uint8 .*width, 1\]"),
        (lambda m: m["input"].update(shape=["N", 32, 32, 1]), r"images are uint8 .*width, 3\]"),
        (
            lambda m: m["input"].update(resize_to=[36]),
            r"resize_to = \[36\], and the rule central-crop has 0 sizes",
        ),
        (
            lambda m: m["input"].update(resize="shortest-side"),
            r"resize_to = \[\], and the rule shortest-side has 1 sizes",
        ),
        (
            lambda m: m["input"].update(resize="exact", resize_to=[36]),
            r"resize_to = \[36\], and the rule exact has 2 sizes",
        ),
        (
            lambda m: m["input"].update(resize="exact", resize_to=[36, 0]),
            r"resize_to = \[36, 0\], .* sizes above 0; make",
        ),
    ],
)
def test_tensors_that_are_no_classifier_of_images_are_refused(path, change, message):
    rewrite(path, change)
    with pytest.raises(BundleError, match=message):
        load_bundle(path)


@pytest.mark.parametrize(
    "rule",
    [
        {"resize": "shortest-side", "resize_to": [36], "interpolation": "bicubic"},
        {"resize": "exact", "resize_to": [20, 40], "transparency": "ignored"},
        {"colour_order": "grey", "shape": ["N", 28, 30, 1]},
    ],
    ids=str,
)
def test_a_rule_for_pictures_is_read_as_it_stands(path, rule):
    rewrite(path, lambda manifest: manifest["input"].update(rule))
    spec = load_bundle(path).manifest.input
    assert {key: getattr(spec, key) for key in rule} == {
        key: tuple(value) if isinstance(value, list) else value for key, value in rule.items()
    }


def test_a_manifest_that_states_no_rule_for_pictures_means_the_first_one(path):
    silent = [
        released
        for released in load_catalogue(RELEASED)
        if set(json.loads((released.path / "manifest.json").read_text())["input"])
        == {"name", "dtype", "shape"}
    ]
    assert silent
    for released in silent:
        spec = released.manifest.input
        assert (spec.colour_order, spec.resize) == ("RGB", "central-crop")
        assert spec.image_shape == (32, 32, 3)
