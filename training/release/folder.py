"""An artifact's folder: written under a temporary name, flushed to disk and renamed.

So a folder of that name is always whole, and an existing one is never written to.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import onnx

from models.bundle import MANIFEST_FILE, VERSION_PATTERN
from models.manifest import FileRecord, GraphRecord, Latency, Manifest, Variant
from training.errors import ExportError
from training.evaluation.graph_statistics import multiply_accumulates, node_counts, parameter_count

GRAPH_FILES: dict[Variant, str] = {
    "folded": "model.onnx",
    "plain": "model.onnx",
    "unfolded": "model.unfolded.onnx",
    "int8": "model.int8.onnx",
}
GOLDEN_FILE = "golden.npz"
INT8_GOLDEN_FILE = "golden.int8.npz"
HISTORY_FILE = "history.jsonl"


def free_place(folder: Path, name: str, version: str) -> Path:
    """Return where the artifact will be.

    Raises:
        ExportError: the version cannot be read back, or the artifact exists already.
    """
    if not VERSION_PATTERN.fullmatch(version):
        raise ExportError(f"version {version!r} must be like 1.0.0")
    target = folder / f"{name}-{version}"
    if target.exists():
        raise ExportError(f"{target} exists, and a release is never changed; raise --version")
    return target


def next_version(version: str) -> str:
    """Return the next minor version: of what changes no answer that was given before."""
    major, minor, _ = version.split(".")
    return f"{major}.{int(minor) + 1}.0"


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `target` at the end, and vanishes on an error."""
    temporary = target.with_name(f".{target.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for path in (*temporary.iterdir(), temporary):
            _flush_to_disk(path)
        temporary.rename(target)
    except OSError as exc:
        shutil.rmtree(temporary, ignore_errors=True)
        raise ExportError(f"cannot write {target}: {exc.strerror or exc}; make room") from exc
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def file_record(path: Path) -> FileRecord:
    """Return the name and hash of a written file."""
    return FileRecord(path.name, hashlib.sha256(path.read_bytes()).hexdigest())


def graph_records(
    models: Mapping[Variant, onnx.ModelProto], latency: Mapping[Variant, tuple[Latency, ...]]
) -> dict[Variant, GraphRecord]:
    """Return what is stated of each graph's file."""
    return {
        variant: GraphRecord(
            file=GRAPH_FILES[variant],
            sha256=hashlib.sha256(content := model.SerializeToString()).hexdigest(),
            size_bytes=len(content),
            opset=model.opset_import[0].version,
            nodes=node_counts(model),
            parameters=parameter_count(model),
            macs=multiply_accumulates(model),
            latency=latency[variant],
        )
        for variant, model in models.items()
    }


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the manifest into the artifact's folder."""
    text = json.dumps(asdict(manifest), indent=1) + "\n"
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
