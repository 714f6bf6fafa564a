"""The model card: an artifact's README.md, generated from its manifest alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.bundle import Bundle
from models.manifest import (
    FoldReport,
    InitialWeights,
    Manifest,
    PackedFrom,
    QuantizationReport,
    TemperatureFit,
    TemperatureReport,
)
from models.metrics import BestEpoch, Metrics, TestMetrics

CARD_FILE = "README.md"
MAX_LABELS = 20  # that the card names


def write_model_card(artifact: Bundle) -> None:
    """Write the card into the artifact's folder."""
    (artifact.path / CARD_FILE).write_text(model_card(artifact.manifest), encoding="utf-8")


def model_card(manifest: Manifest) -> str:
    """Return the card as Markdown."""
    sections = [f"# {manifest.name} {manifest.version}\n\n{manifest.title}.", _use(manifest)]
    if manifest.metrics:
        sections.append(_accuracy(manifest, manifest.metrics))
    sections.append(_graphs(manifest))
    sections.append(_origin(manifest.packed) if manifest.packed else _training(manifest))
    if manifest.fold:
        sections.append(_fold(manifest.fold))
    if manifest.temperature:
        sections.append(_temperature(manifest.temperature))
    if manifest.quantization:
        sections.append(_quantization(manifest.quantization))
    return "\n\n".join(sections) + "\n"


def _use(manifest: Manifest) -> str:
    shape = ", ".join(map(str, manifest.input.shape))
    outputs = " and ".join(f"`{output.name}`" for output in manifest.outputs)
    return (
        "## Use\n\n"
        f"Input `{manifest.input.name}`: {manifest.input.dtype} `[{shape}]`, RGB, 0 to 255; "
        f"the graph scales it. Outputs {outputs}: float32 `[N, {len(manifest.labels)}]`. "
        f"{_classes(manifest.labels)}\n\n{_shown(manifest)}"
    )


def _classes(labels: tuple[str, ...]) -> str:
    if len(labels) > MAX_LABELS:
        return f"{len(labels):,} classes; the manifest names them."
    return f"Classes in order: {', '.join(labels)}."


def _shown(manifest: Manifest) -> str:
    """Return what pictures become, and what the network was made for."""
    spec = manifest.input
    height, width, _ = spec.image_shape
    if not manifest.packed:
        number = "ten" if len(manifest.labels) == 10 else f"{len(manifest.labels):,}"
        return (
            f"Trained on {_images(manifest)} of {height} by {width} pixels; it names one of the "
            f"{number} classes for anything it is shown, and was measured on nothing else."
        )
    return (
        f"A picture is turned upright and resized by the rule {spec.resize} "
        f"({', '.join(map(str, spec.resize_to))}; {spec.interpolation}), then its central {height} "
        f"by {width} pixels are cut out. The network names one of its classes for anything it is "
        "shown."
    )


def _images(manifest: Manifest) -> str:
    """Return what a network was trained on, for a sentence."""
    folder = manifest.provenance and manifest.provenance.images
    if not folder:
        return "CIFAR-10 photographs"
    how = f"drawn by seed {folder.test_seed}" if folder.split == "drawn" else "as given"
    return (
        f"{sum(folder.train.values()):,} images of the folder `{folder.name}` and tested on "
        f"{sum(folder.test.values()):,} others (split {how}), all resized to images"
    )


def _accuracy(manifest: Manifest, metrics: Metrics) -> str:
    test, best = metrics.test, metrics.best_epoch
    low, high = test.accuracy_interval_95
    shares = sorted(test.per_class_accuracy.items(), key=lambda one: one[1])
    named = shares[:MAX_LABELS] if len(shares) > MAX_LABELS else test.per_class_accuracy.items()
    rows = "\n".join(f"| {name} | {share:.1%} |" for name, share in named)
    return (
        "## Accuracy\n\n"
        f"**{test.accuracy:.2%}** of the {test.images:,} {_tested_on(test)}, single view"
        f"{_last_epoch(manifest)} (95 % interval {low:.2%} to {high:.2%}){_within_five(test)}. "
        f"Loss {test.loss:.4f}, expected calibration error {test.expected_calibration_error:.4f}."
        f"{_best_epoch(best)}\n\n"
        f"{_below_headline(manifest, metrics)}"
        f"{_least_accurate(shares)}| class | accuracy |\n|---|---|\n{rows}"
    )


def _tested_on(test: TestMetrics) -> str:
    return f"images of `{test.tested_on.name}`" if test.tested_on else "test images"


def _within_five(test: TestMetrics) -> str:
    if test.top5_accuracy is None:
        return ""
    low, high = test.top5_interval_95
    return f"; {test.top5_accuracy:.2%} among the five likeliest ({low:.2%} to {high:.2%})"


def _least_accurate(shares: Sequence[object]) -> str:
    if len(shares) <= MAX_LABELS:
        return ""
    return f"The {MAX_LABELS} of {len(shares):,} classes that are told apart least:\n\n"


def _last_epoch(manifest: Manifest) -> str:
    """Return which epoch's weights these are, where Foldnorm trained them."""
    made = manifest.provenance
    if not made:
        return ""
    if not made.selected:
        return f", after the last of {made.epochs} epochs"
    return (
        f", after epoch {made.selected.epoch}, selected for its {made.selected.accuracy:.2%} of "
        f"{made.selected.images:,} training images that were held out"
    )


def _best_epoch(best: BestEpoch | None) -> str:
    if not best:
        return ""
    return (
        f" The epoch that did best on the test set was {best.epoch} with {best.test_accuracy:.2%}; "
        "it was picked by looking at that set, so it estimates nothing."
    )


def _below_headline(manifest: Manifest, metrics: Metrics) -> str:
    """Return what stands below the headline: test-time augmentation, and the norms as trained."""
    text = ""
    views = metrics.test_time_augmentation
    if views:
        low, high = views.accuracy_interval_95
        text += (
            f"With test-time augmentation, which the service does not do: {views.accuracy:.2%} "
            f"({low:.2%} to {high:.2%}) over {views.views} views of each image, {views.method}.\n\n"
        )
    made = manifest.provenance
    before = made.accuracy_before_recalibration if made else None
    if before is not None:
        text += (
            "The statistics of the batch norms were computed anew on the training images without "
            f"augmentation; with those of the training steps it was {before:.2%}.\n\n"
        )
    return text


def _graphs(manifest: Manifest) -> str:
    rows = [
        f"| `{graph.file}` | {variant} | {graph.parameters:,} | {graph.macs:,} | "
        f"{graph.nodes.get('BatchNormalization', 0)} | {graph.size_bytes:,} |"
        for variant, graph in manifest.graphs.items()
    ]
    timings = [
        f"| {variant} | {run.optimization} | {run.batch_size} | {run.median_ms:.3f} | "
        f"{run.p10_ms:.3f} to {run.p90_ms:.3f} | {run.runs} |"
        for variant, graph in manifest.graphs.items()
        for run in graph.latency
    ]
    return (
        "## Graphs\n\n"
        "| file | variant | parameters | MACs per image | BatchNormalization nodes | bytes |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n\n"
        f"Run time alone in onnxruntime, one thread, on {_hardware(manifest)}:"
        "\n\n| variant | optimization | batch | median ms | p10 to p90 | runs |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(timings)
    )


def _hardware(manifest: Manifest) -> str:
    """Return where the run times were measured: an int8 graph's later than the others'."""
    made = manifest.packed.environment if manifest.packed else manifest.trained.export
    machine = str(made["hardware"])
    report = manifest.quantization
    if report is None or report.environment["hardware"] == machine:
        return machine
    return f"{machine} (int8: {report.environment['hardware']})"


def _origin(packed: PackedFrom) -> str:
    """Return where a network came from that Foldnorm did not train."""
    return (
        "## Origin\n\n"
        f"Packed from `{packed.file}` ({packed.size_bytes:,} bytes, SHA-256 `{packed.sha256}`), "
        f"written by {packed.producer}; licence: {packed.licence or 'not stated'}. In the graph, "
        f"before the network: {packed.pixels}. Scores: {packed.scores}. Golden batch: "
        f"{packed.golden}."
    )


def _training(manifest: Manifest) -> str:
    provenance = manifest.trained
    recipe = provenance.recipe
    session = provenance.sessions[-1]
    versions = ", ".join(f"{name} {version}" for name, version in session["versions"].items())
    return (
        "## Training\n\n"
        f"Recipe `{recipe['name']}`: {provenance.epochs} epochs of batches of "
        f"{recipe['batch_size']}, {_optimizer(recipe['optimizer'])}, "
        f"seed {provenance.seed}. {provenance.median_epoch_seconds:.1f} s an epoch (median), "
        f"{provenance.total_seconds / 60:.0f} minutes in all, on {session['hardware']} "
        f"({session['threads']} thread(s)"
        # Before precision was a choice, everything was float32.
        f"{', ' + session['precision'] if 'precision' in session else ''}; "
        f"{versions}; commit {session['commit']})." + _beginning(provenance.initial_weights)
    )


def _beginning(initial: InitialWeights | None) -> str:
    """Return what a run began with that was not random."""
    if not initial:
        return ""
    return (
        f" It began with the weights of {initial.source} (recipe `{initial.recipe}`, seed "
        f"{initial.seed}, {initial.epochs} epochs)."
    )


def _optimizer(optimizer: dict[str, Any]) -> str:
    """Return what a recipe's optimizer is called, and its rate."""
    names = {"muon": "Muon", "sgd": "SGD", "plain-sgd": "SGD", "adam": "Adam", "rmsprop": "RMSprop"}
    # The first recipes had RMSprop alone, and no kind.
    name = names[optimizer.get("kind", "rmsprop")]
    if "filters" not in optimizer:
        return f"{name} with learning rate {optimizer['learning_rate']:g}"
    return f"{name} with learning rate {optimizer['filters']['learning_rate']:g} for the filters"


def _fold(fold: FoldReport) -> str:
    rows = "\n".join(
        f"| {layer.norm} | {layer.channels} | "
        + (f"{layer.into} | {layer.largest_scale:.3g} |" if layer.into else f"{layer.reason} | |")
        for layer in fold.layers
    )
    proof = fold.proof
    return (
        "## Folding\n\n"
        f"| batch norm | channels | folded into | largest scale |\n|---|---|---|---|\n{rows}\n\n"
        f"On the {proof.images:,} test images (largest logit {proof.scale:.4g}): error of the "
        f"algebra in float64 {proof.algebra_error_float64:.2g}; error against float64 of the "
        f"unfolded graph {proof.unfolded_error_float32:.2g}, of the folded one "
        f"{proof.folded_error_float32:.2g}; largest logit difference between them "
        f"{proof.largest_logit_difference:.2g}; label changes {proof.label_changes}, of which "
        f"{proof.unexplained_label_changes} are not explained by rounding. "
        f"The proof {'holds' if proof.holds else 'FAILS'}."
    )


def _temperature(report: TemperatureReport) -> str:
    before = report.test_before
    rows = "\n".join(
        f"| {one.seed} | {one.epochs} | {one.images:,} (split {one.split_seed}) | "
        f"{one.accuracy:.2%} | {one.temperature:.3f} | {one.loss_before:.4f} | "
        f"{one.loss_after:.4f} |"
        for one in report.siblings
    )
    if report.fitted_on:
        rows = _fitted(report.fitted_on)
    else:
        rows = (
            "It was fitted on training images that these runs of the same recipe held out:\n\n"
            "| seed | epochs | held out | accuracy on them | temperature | loss before | after |\n"
            "|---|---|---|---|---|---|---|\n" + rows
        )
    return (
        "## Temperature\n\n"
        f"All logits are divided by **{report.temperature:.3f}**, in the last layer's weights, so "
        "that the probabilities are right as often as they say. It changes no answer. Before, the "
        f"loss on the test set was {before.loss:.4f} and the expected calibration error "
        f"{before.expected_calibration_error:.4f}. {rows}"
    )


def _fitted(fit: TemperatureFit) -> str:
    return (
        f"It was fitted on {fit.images:,} labelled images of `{fit.source}` that were set aside "
        f"(seed {fit.seed}): accuracy {fit.accuracy:.2%}, loss {fit.loss_before:.4f} before and "
        f"{fit.loss_after:.4f} after."
    )


def _quantization(report: QuantizationReport) -> str:
    effect, scheme, calibration = report.effect, report.scheme, report.calibration
    low, high = effect.test.accuracy_interval_95
    rows = "\n".join(
        f"| {gain.batch_size} | {gain.float32.median_ms:.3f} "
        f"({gain.float32.p10_ms:.3f} to {gain.float32.p90_ms:.3f}) | {gain.int8.median_ms:.3f} "
        f"({gain.int8.p10_ms:.3f} to {gain.int8.p90_ms:.3f}) | {gain.ratio:.2f} |"
        for gain in report.speed
    )
    return (
        "## Int8\n\n"
        f"`model.int8.onnx` is the {report.source} graph in bytes. Activations: "
        f"{scheme.activations}. Weights: {scheme.weights}. Ranges from {calibration.images:,} "
        f"training images ({calibration.method}, seed {calibration.seed}).\n\n"
        f"**{effect.test.accuracy:.2%}** of the {effect.test.images:,} test images (95 % interval "
        f"{low:.2%} to {high:.2%}), {effect.accuracy_difference_points:+.2f} points against "
        f"float32. It changes {effect.label_changes:,} labels: {effect.right_to_wrong:,} from "
        f"right to wrong, {effect.wrong_to_right:,} from wrong to right. Logits differ by "
        f"{effect.root_mean_square_difference:.2g} (root mean square), at most by "
        f"{effect.largest_logit_difference:.3g}. Emulated in float32 instead of run on integer "
        f"kernels its logits differ by at most {effect.emulation_difference:.2g}; label changes "
        f"{effect.emulation_label_changes:,}.\n\n"
        f"In turns with float32, one thread, on {report.environment['hardware']} "
        f"({' '.join(report.environment['instructions'])}), median ms (p10 to p90):\n\n"
        f"| batch | float32 | int8 | times as fast |\n|---|---|---|---|\n{rows}"
    )
