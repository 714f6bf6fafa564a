"""What the server and its models say of themselves: metadata, configuration, statistics."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from models.tensors import TensorSpec
from service.api.v2.datatypes import config_datatype, protocol_datatype
from service.inference.served_model import ServedModel
from service.observability.statistics import Duration, ModelStatistics
from service.settings import Settings

Document = dict[str, Any]

SERVER = "foldnorm"
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_repository",
    "model_configuration",
    "statistics",
    "schedule_policy",
    "parameters",
)
PLATFORM = "onnx_onnxv1"  # the protocol's own name for it
CONFIG_PLATFORM = "onnxruntime_onnx"  # Triton's, whose schema the configuration has
INFERENCE_STAGES = (
    "success",
    "fail",
    "queue",
    "compute_input",
    "compute_infer",
    "compute_output",
    "cache_hit",
    "cache_miss",
)


NOT_MEASURED = Duration()  # these two belong to requests, of which a batch has several


def server_metadata() -> Document:
    """Return the name, the version and the extensions of this server."""
    return {"name": SERVER, "version": _own_version(), "extensions": list(EXTENSIONS)}


def model_metadata(model: ServedModel, versions: Iterable[str]) -> Document:
    """Return a model's inputs and outputs; `versions` are all that are served under its name."""
    manifest = model.bundle.manifest
    return {
        "name": model.name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [_tensor(manifest.input)],
        "outputs": [_tensor(spec) for spec in manifest.outputs],
    }


def model_config(model: ServedModel, settings: Settings) -> Document:
    """Return a model's configuration in Triton's schema, as its tools read it.

    The first axis of every tensor is the batch and is left out where `max_batch_size` is not 0.
    """
    manifest = model.bundle.manifest
    graph = manifest.graphs[model.variant]
    return {
        "name": model.name,
        "platform": CONFIG_PLATFORM,
        "backend": "onnxruntime",
        "default_model_filename": graph.file,
        "version_policy": {"all": {}},
        "max_batch_size": settings.max_images,
        "input": [{**_config_tensor(manifest.input), "format": "FORMAT_NHWC"}],
        "output": [_config_tensor(spec) for spec in manifest.outputs],
        "dynamic_batching": {
            "preferred_batch_size": [],
            "max_queue_delay_microseconds": 0,
            "default_queue_policy": {
                "timeout_action": "REJECT",
                "default_timeout_microseconds": settings.deadline_ms * 1000,
                "allow_timeout_override": True,
                "max_queue_size": settings.queue_capacity_images,
            },
        },
        "parameters": {
            "variant": {"string_value": model.variant},
            "sha256": {"string_value": graph.sha256},
        },
    }


def model_statistics(model: ServedModel, statistics: ModelStatistics) -> Document:
    """Return what a model has done since its first request."""
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": statistics.last_inference_ms,
        "inference_count": statistics.inference_count,
        "execution_count": statistics.execution_count,
        "inference_stats": {
            stage: _duration(getattr(statistics, stage)) for stage in INFERENCE_STAGES
        },
        "batch_stats": [
            {
                "batch_size": images,
                "compute_input": _duration(NOT_MEASURED),
                "compute_infer": _duration(duration),
                "compute_output": _duration(NOT_MEASURED),
            }
            for images, duration in sorted(statistics.batches.items())
        ],
    }


def _own_version() -> str:
    try:
        return version(SERVER)
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"


def _tensor(spec: TensorSpec) -> Document:
    shape = [-1 if isinstance(size, str) else size for size in spec.shape]
    return {"name": spec.name, "datatype": protocol_datatype(spec.dtype), "shape": shape}


def _config_tensor(spec: TensorSpec) -> Document:
    return {
        "name": spec.name,
        "data_type": config_datatype(spec.dtype),
        "dims": list(spec.shape[1:]),
    }


def _duration(duration: Duration) -> Document:
    return {"count": duration.count, "ns": duration.ns}
