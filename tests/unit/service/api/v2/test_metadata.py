from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError

import pytest

from service.api.v2 import metadata
from service.inference.served_model import ServedModel
from service.observability.statistics import Duration, ModelStatistics
from service.settings import Settings

STATISTICS = ModelStatistics(
    inference_count=7,
    execution_count=3,
    last_inference_ms=1_700_000_000_000,
    success=Duration(4, 4_000),
    fail=Duration(1),
    batches={2: Duration(2, 300), 1: Duration(1, 100)},
)


@pytest.fixture
def model(make_model: Callable[..., ServedModel]) -> ServedModel:
    return make_model()


def test_metadata_has_the_tensors_of_the_manifest_with_an_open_batch(model: ServedModel) -> None:
    assert metadata.model_metadata(model, ["1.0.0", "0.9.0"]) == {
        "name": "tiny-bn",
        "versions": ["1.0.0", "0.9.0"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}],
        "outputs": [
            {"name": "logits", "datatype": "FP32", "shape": [-1, 10]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
        ],
    }


def test_the_configuration_leaves_the_batch_out_and_names_its_limit(model: ServedModel) -> None:
    config = metadata.model_config(model, Settings(threads=1))
    assert config["max_batch_size"] == 64
    assert config["input"] == [
        {"name": "image", "data_type": "TYPE_UINT8", "dims": [32, 32, 3], "format": "FORMAT_NHWC"}
    ]
    assert [output["dims"] for output in config["output"]] == [[10], [10]]
    policy = config["dynamic_batching"]["default_queue_policy"]
    assert policy["default_timeout_microseconds"] == 10_000_000
    sha256 = model.bundle.manifest.graphs["folded"].sha256
    assert config["parameters"]["sha256"] == {"string_value": sha256}


def test_statistics_have_every_field_of_the_extension(model: ServedModel) -> None:
    document = metadata.model_statistics(model, STATISTICS)
    assert document["inference_count"] == 7
    assert document["execution_count"] == 3
    assert document["last_inference"] == 1_700_000_000_000
    assert document["inference_stats"]["success"] == {"count": 4, "ns": 4_000}
    assert document["inference_stats"]["cache_hit"] == {"count": 0, "ns": 0}
    assert [batch["batch_size"] for batch in document["batch_stats"]] == [1, 2]
    assert document["batch_stats"][1]["compute_infer"] == {"count": 2, "ns": 300}
    assert set(document["inference_stats"]) == {
        "success",
        "fail",
        "queue",
        "compute_input",
        "compute_infer",
        "compute_output",
        "cache_hit",
        "cache_miss",
    }


def test_only_served_extensions_are_advertised() -> None:
    extensions = metadata.server_metadata()["extensions"]
    assert not [name for name in extensions if "memory" in name or "trace" in name]
    assert "statistics" in extensions


def test_a_checkout_that_was_never_installed_has_no_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(_name: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(metadata, "version", missing)
    assert metadata.server_metadata()["version"] == "unknown"
