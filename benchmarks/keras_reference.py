"""What Keras 3 makes of the same weights and images, for tests/golden/test_keras_reference.py.

It runs where `keras`, `torch` and `scipy` are installed, and writes the arrays into
`tests/golden/keras-reference.npz` and the versions beside them:

    KERAS_BACKEND=torch .venv-keras/bin/python -m benchmarks.keras_reference

Names in the file are `dtype/network/what`. float32 is what users run. Every network is run in
float64 as well, where a difference of algebra does not hide among roundings: for this Keras' table
of types, which on torch rounds every product and batch norm to float32, gets the entry that it has
on TensorFlow. Nothing else of Keras is touched.
"""

from __future__ import annotations

import json
import platform
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import scipy
import torch
from keras import layers
from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from numpy.typing import NDArray

from benchmarks import keras_inputs as inputs

GLOROT_DRAWS = 2_000_000  # enough for the largest to come within 1e-5 of the limit


def main() -> None:
    """Write the arrays and what they come from."""
    if keras.backend.backend() != "torch":
        raise SystemExit("set KERAS_BACKEND=torch; the arrays are those of Keras on torch")
    arrays: dict[str, Any] = {}
    for dtype in ("float64", "float32"):
        BIT64_TO_BIT32_DTYPE["float64"] = dtype
        keras.config.set_floatx(dtype)
        keras.config.set_dtype_policy(dtype)  # the first layer built has fixed it
        found = dict(clipped_losses(dtype)) | {"rates": learning_rates()}
        for name in ("baseline", "twin"):
            found |= {f"{name}/{key}": value for key, value in network_arrays(name, dtype)}
        arrays |= {f"{dtype}/{key}": value for key, value in found.items()}
    arrays |= {"glorot": glorot_limits(), "shifted": shifted_images()}
    np.savez_compressed(inputs.ARRAYS, **arrays)
    inputs.PROVENANCE.write_text(json.dumps(provenance(), indent=2) + "\n", encoding="utf-8")


def provenance() -> dict[str, object]:
    """Return the versions, and the settings that are Keras' own defaults."""
    norm, optimizer = layers.BatchNormalization(), keras.optimizers.RMSprop()
    return {
        "command": "KERAS_BACKEND=torch .venv-keras/bin/python -m benchmarks.keras_reference",
        "versions": {
            "keras": keras.version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "python": platform.python_version(),
        },
        "defaults": {
            "batch_norm": {"momentum": norm.momentum, "epsilon": norm.epsilon},
            "rmsprop": {"rho": optimizer.rho, "epsilon": optimizer.epsilon},
            "loss_clip": keras.backend.epsilon(),
        },
    }


def build(name: str) -> keras.Model:
    """Return the reference's network with the drawn weights; dropout, which is random, left out."""
    batch_norm = name == "twin"
    stack: list[layers.Layer] = [keras.Input((32, 32, 3))]

    def linear_map(layer: layers.Layer, activation: str) -> None:
        stack.append(layer)
        if batch_norm:
            stack.append(layers.BatchNormalization(name=f"{layer.name}_bn"))
        stack.append(layers.Activation(activation))

    for block, channels in enumerate((32, 64)):
        first, second = 2 * block + 1, 2 * block + 2
        linear_map(layers.Conv2D(channels, 3, padding="same", name=f"conv{first}"), "relu")
        linear_map(layers.Conv2D(channels, 3, name=f"conv{second}"), "relu")
        stack.append(layers.MaxPooling2D(2))
    stack.append(layers.Flatten())
    linear_map(layers.Dense(512, name="dense1"), "relu")
    linear_map(layers.Dense(10, name="dense2"), "softmax")

    model = keras.Sequential(stack)
    weights = inputs.draw_weights(batch_norm)
    assert {variable_name(each) for each in model.weights} == set(weights)
    for variable in model.weights:
        variable.assign(weights[variable_name(variable)])
    return model


def variable_name(variable: keras.Variable) -> str:
    """Return `conv1.kernel` for the kernel of `conv1`."""
    return ".".join(variable.path.split("/")[-2:])


def values_of(variables: list[keras.Variable]) -> dict[str, NDArray[Any]]:
    """Return copies of the values by name."""
    return {variable_name(each): as_array(each) for each in variables}


def network_arrays(name: str, dtype: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield what one network answers and how it learns, by name."""
    model = build(name)
    yield "drawn_sums", inputs.sums(values_of(model.weights))
    answers = keras.Model(model.inputs[0], model.layers[-2].output)  # the logits
    images, labels = next(inputs.batches(dtype))
    with torch.no_grad():
        yield "logits", as_array(answers(images, training=False))
        loss = keras.losses.CategoricalCrossentropy()(one_hot(labels), model(images))
        yield "loss", as_array(loss)
        if name == "twin":
            yield from training_mode(model, answers, dtype)
    yield from three_steps(build(name), name, dtype)


def training_mode(
    model: keras.Model, answers: keras.Model, dtype: str
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the logits of training mode, and the statistics after each batch; weights stand still.

    Statistics are (3, 714): all channels of all batch norms in the order of the layers.
    """
    kept: dict[str, list[NDArray[Any]]] = defaultdict(list)
    for images, _ in inputs.batches(dtype):
        kept["training_logits"].append(as_array(answers(images, training=True)))
        for statistic in ("moving_mean", "moving_variance"):
            found = [each for each in model.weights if each.path.endswith(f"/{statistic}")]
            kept[statistic].append(np.concatenate([as_array(each) for each in found]))
    yield "training_logits", kept.pop("training_logits")[0]
    for key, values in kept.items():
        yield key, np.stack(values)


def three_steps(model: keras.Model, name: str, dtype: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield losses, gradients and weights of Keras' own training loop, (3, …) for its steps."""
    rate = keras.optimizers.schedules.InverseTimeDecay(
        inputs.LEARNING_RATES[name], decay_steps=1, decay_rate=inputs.DECAY
    )
    model.compile(keras.optimizers.RMSprop(rate), loss="categorical_crossentropy")
    drawn = values_of(model.trainable_weights)
    kept: dict[str, list[NDArray[Any]]] = defaultdict(list)
    for images, labels in inputs.batches(dtype):
        model.reset_metrics()  # the loss is a mean over all batches since
        kept["losses"].append(np.array(model.train_on_batch(images, one_hot(labels))))
        gradients = {
            variable_name(each): as_array(each.value.grad) for each in model.trainable_weights
        }
        weights = values_of(model.trainable_weights)
        kept["gradients"].append(inputs.probes(gradients))
        kept["weights"].append(inputs.probes(weights))
        if dtype == "float64":  # in float32 two right runs part once a rounding flips a ReLU
            moved = {key: weights[key] - drawn[key] for key in weights}
            kept["gradient_sums"].append(inputs.sums(gradients))
            kept["moved_sums"].append(inputs.sums(moved))
    for key, values in kept.items():
        yield key, np.stack(values)


def clipped_losses(dtype: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the losses (5,) of logits in and beyond the clip, and their gradients (5, 3)."""
    logits = torch.tensor(inputs.CLIP_LOGITS, dtype=getattr(torch, dtype), requires_grad=True)
    loss = keras.losses.categorical_crossentropy(
        one_hot(np.array(inputs.CLIP_LABELS), classes=3), keras.ops.softmax(logits)
    )
    loss.sum().backward()
    assert logits.grad is not None, "the sum was differentiated"
    yield "clip/loss", loss.detach().numpy()
    yield "clip/gradient", logits.grad.numpy()


def learning_rates() -> NDArray[Any]:
    """Return the rates of the recipes' decay at some steps."""
    schedule = keras.optimizers.schedules.InverseTimeDecay(1e-3, decay_steps=1, decay_rate=1e-6)
    return np.array([float(schedule(step)) for step in inputs.RATE_STEPS])


def glorot_limits() -> NDArray[Any]:
    """Return the largest of millions of draws of Keras' default kernels, by layer, (6,)."""
    largest = []
    for shape in inputs.KERNELS.values():
        initializer = layers.Dense(1, kernel_initializer="glorot_uniform").kernel_initializer
        assert type(initializer) is type(layers.Conv2D(1, 1).kernel_initializer)
        draws = max(GLOROT_DRAWS // int(np.prod(shape)), 1)
        # A fresh seed for every draw: one initializer repeats itself.
        fresh = [type(initializer)(seed=seed) for seed in range(draws)]
        largest.append(max(float(np.abs(as_array(each(shape))).max()) for each in fresh))
    return np.array(largest)


def shifted_images() -> NDArray[np.float32]:
    """Return one image as Keras' generator shifts and mirrors it, (3, 32, 32, 3)."""
    generator = ImageDataGenerator()
    image = next(inputs.batches(np.float32))[0][0]
    # `tx` is the shift of the rows in Keras 2.2 and that of the columns in Keras 3, which swaps
    # the axes; both draw the two from the same interval.
    return np.stack(
        [
            generator.apply_transform(image, {"tx": x, "ty": y, "flip_horizontal": mirrored})
            for y, x, mirrored in inputs.SHIFTS
        ]
    )


def one_hot(labels: NDArray[np.int64], classes: int = 10) -> NDArray[Any]:
    """Return labels (N,) as (N, classes) in Keras' float type."""
    return np.eye(classes, dtype=keras.config.floatx())[labels]


def as_array(tensor: Any) -> NDArray[Any]:
    """Return a copy of a variable or tensor, which a later step does not change."""
    return np.array(keras.ops.convert_to_numpy(tensor))


if __name__ == "__main__":
    main()
