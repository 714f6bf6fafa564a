"""What an artifact is: one immutable folder per trained network, and the catalogue of them.

    keras-bn-1.1.0/
      manifest.json         everything that is known of it (`models.manifest`)
      model.onnx            what is served
      model.unfolded.onnx   networks with batch norm: the same before folding
      model.int8.onnx       quantized artifacts: what is served, in integers
      history.jsonl         its learning curve (`models.history`), where Foldnorm trained it
      golden.npz            a few images and their logits in float64 from the unfolded network
      golden.int8.npz       quantized artifacts: the int8 graph's own logits of the same images
      README.md             the model card, for people

Needs neither torch nor onnx: training and serving share this format, not code.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.history import EpochRecord, read_history
from models.manifest import SCHEMA_VERSION, BundleError, FileRecord, GraphRecord, Manifest, Variant
from models.records import RecordError, record_from_dict
from models.tensors import SCORE_NAMES, Resize

__all__ = [
    "MANIFEST_FILE",
    "NAME_PATTERN",
    "VERSION_PATTERN",
    "Bundle",
    "BundleError",
    "Golden",
    "load_bundle",
    "load_catalogue",
    "scan_catalogue",
]

MANIFEST_FILE = "manifest.json"
NAME_PATTERN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
VERSION_PATTERN = re.compile(r"\d+\.\d+\.\d+")
RESIZE_NUMBERS: dict[Resize, int] = {"central-crop": 0, "shortest-side": 1, "exact": 2}
FILE_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Golden:
    """Fixed real images (n, H, W, 3) uint8 and their logits (n, classes) float64.

    `tolerance` is how far, in logits, a sound machine may be off them; None where that is float32
    rounding and can be derived; `summed_products` is then how many there are on the longest way
    through the network, None where that is not stated.
    """

    images: NDArray[np.uint8]
    logits: NDArray[np.float64]
    tolerance: float | None = None
    summed_products: int | None = None

    def first(self, count: int) -> Golden:
        """Return the first `count` images with their logits."""
        return replace(self, images=self.images[:count], logits=self.logits[:count])


@dataclass(frozen=True)
class Bundle:
    """An artifact on disk whose manifest has been read; files are verified as they are read."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The network's name, such as `keras-bn`."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The release, such as `1.1.0`."""
        return self.manifest.version

    @property
    def served_variant(self) -> Variant:
        """The variant of `model.onnx`: `folded`, or `plain` for a network without batch norm."""
        return "folded" if "folded" in self.manifest.graphs else "plain"

    def read_graph(self, variant: Variant) -> bytes:
        """Return the bytes of an ONNX file after checking its hash.

        Raises:
            BundleError: the artifact has no such variant, or the file is not the released one.
        """
        if variant not in self.manifest.graphs:
            raise BundleError(
                f"{self.path.name} has no {variant} graph; it has {', '.join(self.manifest.graphs)}"
            )
        return self._read(self.manifest.graphs[variant])

    def read_golden(self, variant: Variant | None = None) -> Golden:
        """Return the golden images and a variant's logits after checking the files' hashes.

        `folded`, `unfolded` and `plain` graphs are one network and share their golden logits; an
        `int8` graph has its own, for it is off theirs by quantization and not by rounding.

        Raises:
            BundleError: a file is missing, not the released one, or does not hold them.
        """
        images, logits = self._read_arrays(self.manifest.golden, "images", "logits")
        if variant != "int8":
            packed = self.manifest.packed
            return Golden(
                images, logits, summed_products=packed.summed_products if packed else None
            )
        report = self.manifest.quantization
        if report is None:
            raise BundleError(f"{self.path.name} has no int8 graph; 'foldnorm quantize' makes one")
        (logits,) = self._read_arrays(report.golden, "logits")
        return Golden(images, logits.astype(np.float64), report.effect.emulation_difference)

    def read_history(self) -> list[EpochRecord]:
        """Return the learning curve after checking the file's hash; none of a packed network.

        Raises:
            BundleError: the file is missing, not the released one, or no learning curve.
        """
        if self.manifest.history is None:
            return []
        self._read(self.manifest.history)
        try:
            return read_history(self.path / self.manifest.history.file)
        except RecordError as exc:
            raise BundleError(f"{exc}; export the artifact again") from exc

    def verify(self) -> None:
        """Check the hash of every file that the manifest names.

        Raises:
            BundleError: a file is missing or is not the released one.
        """
        for record in _file_records(self.manifest):
            self._read(record)

    def _read_arrays(self, record: FileRecord, *names: str) -> list[NDArray[Any]]:
        content = self._read(record)
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return [arrays[name] for name in names]
        except Exception as exc:  # np.load raises zip, value, key and type errors alike
            raise BundleError(
                f"{self.path / record.file} does not hold the arrays {' and '.join(names)} "
                f"({exc}); export the artifact again"
            ) from exc

    def _read(self, record: GraphRecord | FileRecord) -> bytes:
        path = self.path / record.file
        try:
            content = path.read_bytes()
        except OSError as exc:
            raise BundleError(
                f"cannot read {path} ({exc.strerror}); the artifact is incomplete, fetch it again"
            ) from exc
        actual = hashlib.sha256(content).hexdigest()
        if actual != record.sha256:
            raise BundleError(
                f"{path} has SHA-256 {actual[:12]}…, its manifest says {record.sha256[:12]}…; "
                "the file was changed or damaged, fetch the artifact again"
            )
        return content


def load_bundle(path: Path) -> Bundle:
    """Read an artifact's manifest; its other files are verified when they are read.

    Raises:
        BundleError: no manifest, an unknown schema, or a manifest that is not what it must be.
    """
    source = path / MANIFEST_FILE
    try:
        table = json.loads(source.read_text(encoding="utf-8"))
    except OSError as exc:
        raise BundleError(
            f"cannot read {source} ({exc.strerror}); name the folder of an artifact"
        ) from exc
    except (ValueError, RecursionError) as exc:
        raise BundleError(f"{source} is not JSON: {exc}") from exc
    version = table.get("schema_version") if isinstance(table, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{source} has schema_version {version!r}, this version of Foldnorm reads "
            f"{SCHEMA_VERSION}; use the Foldnorm that wrote it, or export it again"
        )
    try:
        manifest = record_from_dict(Manifest, table, str(source))
    except RecordError as exc:
        raise BundleError(str(exc)) from exc
    if (manifest.provenance is None) == (manifest.packed is None):
        raise BundleError(
            f"{source} must say either how the network was trained (provenance) or what was packed "
            "(packed), and not both; make the artifact again"
        )
    _check_names(manifest, source)
    _check_tensors(manifest, source)
    if ("int8" in manifest.graphs) != (manifest.quantization is not None):
        raise BundleError(
            f"{source} has an int8 graph or its quantization report, and not the other; "
            "'foldnorm quantize' writes both, make the artifact again"
        )
    return Bundle(path, manifest)


def _check_names(manifest: Manifest, source: Path) -> None:
    """Refuse names that would not be one path component or could not stand in a URL."""
    if not NAME_PATTERN.fullmatch(manifest.name):
        raise BundleError(f"{source}: name {manifest.name!r} must be lower-case words joined by -")
    if not VERSION_PATTERN.fullmatch(manifest.version):
        raise BundleError(f"{source}: version {manifest.version!r} must be like 1.0.0")
    for record in _file_records(manifest):
        if not FILE_PATTERN.fullmatch(record.file):
            raise BundleError(f"{source}: {record.file!r} must be a file name inside the artifact")


def _check_tensors(manifest: Manifest, source: Path) -> None:
    """Refuse input, outputs and labels that do not belong to one classifier of images."""
    spec, classes = manifest.input, len(manifest.labels)
    sizes = spec.shape[1:]
    sound = all(isinstance(size, int) and size > 0 for size in sizes)
    channels = 1 if spec.colour_order == "grey" else 3
    if spec.dtype != "uint8" or len(sizes) != 3 or not sound or sizes[2] != channels:
        raise BundleError(
            f"{source}: the input is {spec.dtype} {list(spec.shape)}; images are uint8 "
            f"[N, height, width, {channels}], make the artifact again"
        )
    numbers = RESIZE_NUMBERS[spec.resize]
    if len(spec.resize_to) != numbers or not all(size > 0 for size in spec.resize_to):
        raise BundleError(
            f"{source}: resize_to = {list(spec.resize_to)}, and the rule {spec.resize} has "
            f"{numbers} sizes above 0; make the artifact again"
        )
    outputs = {output.name: (output.dtype, output.shape[1:]) for output in manifest.outputs}
    for name in SCORE_NAMES:
        if outputs.get(name) != ("float32", (classes,)):
            found = "missing" if name not in outputs else f"{outputs[name][0]} {outputs[name][1]}"
            raise BundleError(
                f"{source}: the output {name} is {found}, and there are {classes} labels; it must "
                f"be float32 [N, {classes}], export the artifact again"
            )


def _file_records(manifest: Manifest) -> list[GraphRecord | FileRecord]:
    """Return the record of every file that the manifest names."""
    records: list[GraphRecord | FileRecord] = list(manifest.graphs.values())
    records.append(manifest.golden)
    if manifest.history is not None:
        records.append(manifest.history)
    if manifest.quantization is not None:
        records.append(manifest.quantization.golden)
    return records


def load_catalogue(folder: Path) -> list[Bundle]:
    """Return every artifact in a folder, by name and then newest version first.

    Raises:
        BundleError: the folder holds none, two of the same name and version, or a broken one.
    """
    bundles, broken = scan_catalogue(folder)
    for error in broken.values():
        raise error
    if not bundles:
        raise BundleError(f"no artifact in {folder}: no folder there holds a {MANIFEST_FILE}")
    return bundles


def scan_catalogue(folder: Path) -> tuple[list[Bundle], dict[Path, BundleError]]:
    """Return the artifacts in a folder, in the order of `load_catalogue`, and what is broken.

    One broken artifact, damaged or half copied, says nothing about the others. Hidden folders are
    passed over: one may be an artifact that is still being written.
    """
    bundles: list[Bundle] = []
    broken: dict[Path, BundleError] = {}
    for found in sorted(folder.glob(f"[!.]*/{MANIFEST_FILE}")):
        try:
            bundles.append(load_bundle(found.parent))
        except BundleError as error:
            broken[found.parent] = error
    bundles.sort(key=lambda bundle: [-int(part) for part in bundle.version.split(".")])
    bundles.sort(key=lambda bundle: bundle.name)
    for first, second in pairwise(bundles):
        if (first.name, first.version) == (second.name, second.version):
            broken[second.path] = BundleError(
                f"{first.path} and {second.path} are both {first.name} {first.version}; remove one"
            )
    return [bundle for bundle in bundles if bundle.path not in broken], broken
