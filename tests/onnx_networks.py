"""Small ONNX networks as text, with random weights and batch norms far from fresh ones."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from training.folding.onnx_frontend.folded_model import fold_model
from training.folding.proof.inputs.seeded import feeds
from training.folding.proof.inputs.sizes import input_specs, sizes_to_try
from training.folding.proof.running.precision import in_float64
from training.folding.proof.running.reference import Reference
from training.folding.proof.running.sessions import Session, written

# Float64 rounding of at most a few hundred products, amplified by scales up to 170.
ALGEBRA = 1e-10
NORM = ("gamma", "beta", "mean", "var")


def network(text, weights=None, *, opset=17, ir_version=8, functions=""):
    """Return a model from ONNX's text format: `(float[N,3,8,8] x) => (float[] y) { … }`."""
    head = f'<ir_version: {ir_version}, opset_import: ["": {opset}, "local": 1]>'
    proto = onnx.parser.parse_model(f"{head} network {text} {functions}")
    if not functions:
        del proto.opset_import[1]
    for name, array in (weights or {}).items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    for output in proto.graph.output:
        if not output.type.tensor_type.shape.dim:
            output.type.tensor_type.ClearField("shape")
    return ir.from_proto(proto)


def layer(*shape, name="w", seed=0, dtype=np.float32):
    """Return random weights."""
    rng = np.random.default_rng([seed, *shape])
    return {name: rng.normal(size=shape).astype(dtype)}


def norm(channels, name="", seed=1, dtype=np.float32, positive=False):
    """Return random parameters of a batch norm."""
    rng = np.random.default_rng([seed, channels])
    gamma = rng.uniform(0.3, 1.7, channels)
    signs = 1 if positive else rng.choice([-1, 1], channels)
    stats = (gamma * signs, rng.normal(size=channels), rng.normal(size=channels))
    arrays = (*stats, rng.uniform(1e-4, 2, channels))
    return {name + key: array.astype(dtype) for key, array in zip(NORM, arrays, strict=True)}


def batch_norms(model):
    """Return the names of the batch norms that are left, those in bodies as well."""
    nodes = (node for graph in model.graphs() for node in graph)
    return [node.outputs[0].name for node in nodes if node.op_type == "BatchNormalization"]


def operators(model):
    """Return the operators of the graph in order."""
    return [node.op_type for node in model.graph]


def algebra_error(model, other=None, **options):
    """Return the largest error of a fold over the largest output, both in float64."""
    other = other or fold_model(in_float64(model), **options).model
    return max(_errors(Reference(model), Reference(other), model))


def served_error(model, other):
    """Return the largest error of a folded model as onnxruntime runs it, over the scale."""
    original = Reference(model)
    with written(other) as path:
        sessions = [Session(path, level) for level in ("disable_all", "enable_all")]
    return max(
        _error(truth, served)
        for feed in _feeds(model)
        for session in sessions
        for truth, served in zip(original.run(feed.arrays), session.run(feed).values(), strict=True)
    )


def _errors(original, other, model):
    for feed in _feeds(model):
        pairs = zip(original.run(feed.arrays), other.run(feed.arrays), strict=True)
        yield from (_error(truth, result) for truth, result in pairs)


def _feeds(model):
    specs = input_specs(model)
    return list(feeds(specs, sizes_to_try(specs)[0]))[:2]


def _error(truth, other):
    assert truth.shape == other.shape
    scale = np.abs(truth).max(initial=0.0) or 1.0
    return float(np.abs(truth - other.astype(np.float64)).max(initial=0.0) / scale)
