"""Small artifacts of the released format, made in a second instead of hours.

A convolution, batch norm, another pair, a linear layer: random weights and random statistics, for
fresh ones would make batch norm nearly the identity and test nothing. The golden logits come from
NumPy in float64, so they depend on no ONNX runtime.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.history import EpochRecord, write_history
from models.manifest import (
    Calibration,
    FileRecord,
    FoldedLayer,
    FoldProof,
    FoldReport,
    GraphRecord,
    Latency,
    Manifest,
    Provenance,
    QuantizationEffect,
    QuantizationReport,
    QuantizationScheme,
    SpeedGain,
    Variant,
)
from models.metrics import BestEpoch, Metrics, TestMetrics
from models.tensors import ImageSpec, TensorSpec

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
EPS = 1e-3
CHANNELS = (3, 8, 16)
IMAGE_SHAPE = (32, 32, 3)
TEST_IMAGES = 400


@dataclass(frozen=True)
class Norm:
    """Random parameters and statistics of one batch norm."""

    gamma: NDArray[np.float32]
    beta: NDArray[np.float32]
    mean: NDArray[np.float32]
    var: NDArray[np.float32]

    @property
    def scale(self) -> NDArray[np.float64]:
        return self.gamma / np.sqrt(self.var.astype(np.float64) + EPS)


@dataclass(frozen=True)
class Network:
    """The weights of both layers, with their batch norms or without."""

    kernels: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]
    norms: tuple[Norm | None, ...]
    head: NDArray[np.float32]  # (classes, features)
    head_bias: NDArray[np.float32]

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the logits (N, classes) in float64."""
        x = images.transpose(0, 3, 1, 2) / np.float64(255)
        for kernel, bias, norm in zip(self.kernels, self.biases, self.norms, strict=True):
            x = _convolve(x, kernel) + bias[:, None, None].astype(np.float64)
            if norm is not None:
                centred = x - norm.mean[:, None, None].astype(np.float64)
                x = centred * norm.scale[:, None, None] + norm.beta[:, None, None]
            x = np.maximum(x, 0)
        return x.reshape(len(x), -1) @ self.head.T.astype(np.float64) + self.head_bias

    def folded(self) -> Network:
        """Return the network with each batch norm inside its convolution."""
        kernels, biases = [], []
        for kernel, bias, norm in zip(self.kernels, self.biases, self.norms, strict=True):
            assert norm is not None
            kernels.append((kernel * norm.scale[:, None, None, None]).astype(np.float32))
            biases.append(((bias - norm.mean) * norm.scale + norm.beta).astype(np.float32))
        none = (None,) * len(kernels)
        return Network(tuple(kernels), tuple(biases), none, self.head, self.head_bias)


def _convolve(x: NDArray[np.float64], kernel: NDArray[np.float32]) -> NDArray[np.float64]:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    return np.einsum("ncyxij,ocij->noyx", windows, kernel.astype(np.float64), optimize=True)


def random_network(
    seed: int,
    *,
    norms: bool,
    hidden: int = 0,
    image_shape: tuple[int, int, int] = IMAGE_SHAPE,
    classes: int = len(LABELS),
) -> Network:
    """Return a network of random weights; `hidden` channels more make its file larger."""
    generator = np.random.default_rng(seed)
    channels = (*CHANNELS[:-1], CHANNELS[-1] + hidden)

    def normal(*shape: int, fan_in: int = 1) -> NDArray[np.float32]:
        return (generator.normal(size=shape) / np.sqrt(fan_in)).astype(np.float32)

    pairs = list(itertools.pairwise(channels))
    features = channels[-1] * (image_shape[0] // 4) * (image_shape[1] // 4)
    return Network(
        kernels=tuple(normal(o, i, 3, 3, fan_in=9 * i) for i, o in pairs),
        biases=tuple(normal(o) for _, o in pairs),
        norms=tuple(_random_norm(generator, o) if norms else None for _, o in pairs),
        head=normal(classes, features, fan_in=features) * np.float32(4),
        head_bias=normal(classes),
    )


def _random_norm(generator: np.random.Generator, channels: int) -> Norm:
    return Norm(
        gamma=generator.uniform(0.3, 1.7, channels).astype(np.float32),
        beta=generator.normal(size=channels).astype(np.float32),
        mean=generator.normal(size=channels).astype(np.float32),
        var=generator.uniform(EPS, 2, channels).astype(np.float32),
    )


def build_graph(
    network: Network,
    *,
    training_mode: int = 0,
    batch_dependent: bool = False,
    opset: int = 20,
    image_shape: tuple[int, int, int] = IMAGE_SHAPE,
) -> onnx.ModelProto:
    """Return the graph from bytes to probabilities; the switches make it one to be refused."""
    tensors = {"scale_255": np.array(255, np.float32)}
    nodes = [
        helper.make_node("Transpose", ["image"], ["chw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["chw"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "scale_255"], ["x"]),
    ]
    last = "x"
    layers = zip(network.kernels, network.biases, network.norms, strict=True)
    for index, (kernel, bias, norm) in enumerate(layers):
        tensors |= {f"kernel{index}": kernel, f"bias{index}": bias}
        inputs = [last, f"kernel{index}", f"bias{index}"]
        last = f"conv{index}"
        nodes.append(helper.make_node("Conv", inputs, [last], pads=[1] * 4, strides=[2, 2]))
        if norm is not None:
            nodes.append(_norm_node(index, norm, tensors, training_mode))
            last = f"norm{index}"
        nodes.append(helper.make_node("Relu", [last], [f"relu{index}"]))
        last = f"relu{index}"
    if batch_dependent:
        tensors["batch_axis"] = np.array([0], np.int64)
        nodes.append(helper.make_node("ReduceMean", [last, "batch_axis"], ["mean"], keepdims=1))
        nodes.append(helper.make_node("Sub", [last, "mean"], ["centred"]))
        last = "centred"
    tensors |= {"head": network.head, "head_bias": network.head_bias}
    nodes += [
        helper.make_node("Flatten", [last], ["features"]),
        helper.make_node("Gemm", ["features", "head", "head_bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "synthetic",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *image_shape])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", len(network.head)])
            for name in ("logits", "probabilities")
        ],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def _norm_node(
    index: int, norm: Norm, tensors: dict[str, NDArray[Any]], training_mode: int
) -> onnx.NodeProto:
    names = {f"{part}{index}": getattr(norm, part) for part in ("gamma", "beta", "mean", "var")}
    tensors |= names
    outputs = [f"norm{index}"]
    attributes = {"epsilon": EPS}
    if training_mode:
        outputs += [f"new_mean{index}", f"new_var{index}"]
        attributes["training_mode"] = training_mode
    inputs = [f"conv{index}", *names]
    name = f"batch_norm_{index}"
    return helper.make_node("BatchNormalization", inputs, outputs, name=name, **attributes)


def random_images(
    seed: int, number: int, image_shape: tuple[int, int, int] = IMAGE_SHAPE
) -> NDArray[np.uint8]:
    """Return noise, (N, H, W, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (number, *image_shape), dtype=np.uint8)


def write_artifact(
    folder: Path,
    name: str,
    *,
    norms: bool,
    seed: int = 0,
    version: str = "1.0.0",
    hidden: int = 0,
    image_shape: tuple[int, int, int] = IMAGE_SHAPE,
    labels: tuple[str, ...] = LABELS,
) -> Path:
    """Write a complete artifact into a folder and return its path."""
    network = random_network(
        seed, norms=norms, hidden=hidden, image_shape=image_shape, classes=len(labels)
    )
    graphs: dict[Variant, onnx.ModelProto] = {
        "plain": build_graph(network, image_shape=image_shape)
    }
    if norms:
        graphs = {
            "folded": build_graph(network.folded(), image_shape=image_shape),
            "unfolded": build_graph(network, image_shape=image_shape),
        }
    return write_graphs(folder, name, version, graphs, network, seed, image_shape, labels)


def write_graphs(
    folder: Path,
    name: str,
    version: str,
    graphs: dict[Variant, onnx.ModelProto],
    network: Network,
    seed: int = 0,
    image_shape: tuple[int, int, int] = IMAGE_SHAPE,
    labels: tuple[str, ...] = LABELS,
) -> Path:
    """Write an artifact of these graphs, its golden logits from the network."""
    path = folder / f"{name}-{version}"
    path.mkdir(parents=True)
    images = random_images(seed, 8, image_shape)
    np.savez(path / "golden.npz", images=images, logits=network.logits(images))
    history = _history(seed)
    write_history(history, path / "history.jsonl")
    manifest = Manifest(
        schema_version=1,
        name=name,
        version=version,
        title=f"Synthetic {name}",
        labels=labels,
        input=ImageSpec("image", "uint8", ("N", *image_shape)),
        outputs=(
            TensorSpec("logits", "float32", ("N", len(labels))),
            TensorSpec("probabilities", "float32", ("N", len(labels))),
        ),
        graphs={variant: _write_graph(path, variant, model) for variant, model in graphs.items()},
        golden=FileRecord("golden.npz", _sha256(path / "golden.npz")),
        history=FileRecord("history.jsonl", _sha256(path / "history.jsonl")),
        fold=_fold_report(network) if "folded" in graphs else None,
        metrics=_metrics(seed, history, labels),
        provenance=_provenance(name, seed, history),
    )
    (path / "manifest.json").write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
    return path


def add_int8(path: Path, tolerance: float = 0.1) -> Path:
    """Give an artifact an int8 variant: its served graph with every logit a hundredth higher.

    So the variant has golden logits of its own, as a quantized one has, and is as easy to compute.
    """
    file = path / "manifest.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    served = manifest["graphs"].get("folded") or manifest["graphs"]["plain"]
    model = onnx.load(path / served["file"])
    (bias,) = [tensor for tensor in model.graph.initializer if tensor.name == "head_bias"]
    shifted = numpy_helper.to_array(bias) + np.float32(0.01)
    bias.CopyFrom(numpy_helper.from_array(shifted, bias.name))
    with np.load(path / "golden.npz") as golden:
        np.savez(path / "golden.int8.npz", logits=golden["logits"] + 0.01)
    manifest["graphs"]["int8"] = asdict(_write_graph(path, "int8", model))
    manifest["quantization"] = asdict(_quantization(path, manifest["metrics"]["test"], tolerance))
    file.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return path


def _quantization(path: Path, test: dict[str, Any], tolerance: float) -> QuantizationReport:
    slow, fast = (Latency("enable_all", 1, 1, 10, ms, 0.9 * ms, 1.1 * ms) for ms in (0.2, 0.1))
    return QuantizationReport(
        source="folded" if (path / "model.unfolded.onnx").exists() else "plain",
        scheme=QuantizationScheme("uint8", "int8", 7, per_channel=True, bias_correction=True),
        calibration=Calibration(100, 0, "a test's"),
        effect=QuantizationEffect(
            test=TestMetrics(**test),
            accuracy_difference_points=0.0,
            label_changes=4,
            right_to_wrong=2,
            wrong_to_right=2,
            largest_logit_difference=0.01,
            root_mean_square_difference=0.01,
            emulation_difference=tolerance,
            emulation_label_changes=0,
        ),
        speed=(SpeedGain(1, slow, fast, 2.0),),
        golden=FileRecord("golden.int8.npz", _sha256(path / "golden.int8.npz")),
        environment={"hardware": "a test", "instructions": []},
    )


def _write_graph(path: Path, variant: Variant, model: onnx.ModelProto) -> GraphRecord:
    file = f"model.{variant}.onnx" if variant in ("unfolded", "int8") else "model.onnx"
    content = model.SerializeToString()
    (path / file).write_bytes(content)
    operators = [node.op_type for node in model.graph.node]
    parameters = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    return GraphRecord(
        file=file,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        opset=model.opset_import[0].version,
        nodes={operator: operators.count(operator) for operator in sorted(set(operators))},
        parameters=parameters,
        macs=3 * 8 * 9 * 256 + 8 * 16 * 9 * 64 + 10 * 1024,
        latency=(Latency("enable_all", 1, 1, 10, 0.2, 0.1, 0.3),),
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _history(seed: int) -> list[EpochRecord]:
    generator = np.random.default_rng(seed)
    accuracies = np.minimum(0.5 + np.cumsum(generator.uniform(0.02, 0.1, 6)), 0.95)
    return [
        EpochRecord(
            epoch=index + 1,
            learning_rate=0.001,
            train_loss=2.0 - accuracy,
            train_accuracy=float(accuracy) - 0.05,
            test_loss=2.1 - float(accuracy),
            test_accuracy=float(accuracy),
            train_seconds=1.5,
            test_seconds=0.5,
        )
        for index, accuracy in enumerate(accuracies.tolist())
    ]


def _metrics(seed: int, history: list[EpochRecord], labels: tuple[str, ...]) -> Metrics:
    generator = np.random.default_rng(seed)
    classes = len(labels)
    true = np.arange(TEST_IMAGES) % classes
    correct = generator.random(TEST_IMAGES) < history[-1].test_accuracy
    predicted = np.where(correct, true, (true + 1) % classes)
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (true, predicted), 1)
    accuracy = float(correct.mean())
    test = TestMetrics(
        images=TEST_IMAGES,
        correct=int(correct.sum()),
        accuracy=accuracy,
        accuracy_interval_95=(max(0.0, accuracy - 0.04), min(1.0, accuracy + 0.04)),
        loss=history[-1].test_loss,
        expected_calibration_error=0.03,
        per_class_accuracy={
            label: float(correct[true == index].mean()) for index, label in enumerate(labels)
        },
        confusion_matrix=tuple(tuple(row) for row in confusion.tolist()),
        correct_bits=base64.b64encode(np.packbits(correct).tobytes()).decode("ascii"),
    )
    best = max(history, key=lambda record: record.test_accuracy)
    return Metrics(test, BestEpoch(best.epoch, best.test_accuracy))


def _fold_report(network: Network) -> FoldReport:
    layers = tuple(
        FoldedLayer(f"norm{index}", len(norm.gamma), f"conv{index}", None, float(norm.scale.max()))
        for index, norm in enumerate(network.norms)
        if norm is not None
    )
    proof = FoldProof(
        images=TEST_IMAGES,
        scale=10.0,
        algebra_error_float64=1e-14,
        unfolded_error_float32=1e-5,
        folded_error_float32=1e-5,
        largest_logit_difference=1.5e-5,
        mean_logit_difference=1e-6,
        relative_l2_difference=1e-6,
        largest_probability_difference=1e-6,
        adversarial_error_ratio=1.0,
        label_changes=0,
        unexplained_label_changes=0,
        holds=True,
    )
    return FoldReport(layers, proof)


def _provenance(name: str, seed: int, history: list[EpochRecord]) -> Provenance:
    return Provenance(
        recipe={
            "name": name,
            "epochs": len(history),
            "batch_size": 32,
            "optimizer": {"learning_rate": 0.001},
        },
        seed=seed,
        epochs=len(history),
        data_md5={"test_batch": "0" * 32},
        sessions=({"hardware": "a test", "threads": 1, "versions": {}, "commit": "none"},),
        median_epoch_seconds=2.0,
        total_seconds=12.0,
        export={"commit": "none", "hardware": "a test"},
    )
