"""Checkpoints: everything that a killed run needs to go on as if nothing had happened.

A checkpoint is one file, written under a temporary name, flushed to disk and renamed, so there is
always a whole one. It is read with torch's restricted loader, which executes no pickle code.
"""

from __future__ import annotations

import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from models.files import replacing
from training.errors import CheckpointError
from training.recipes import Recipe, recipe_from_dict

FILE_NAME = "checkpoint.pt"
FORMAT = 2


@dataclass
class Progress:
    """Where a run stands: `epoch` counts finished epochs, `step` the steps of the one under way.

    The sums are over the images that the current epoch has seen; the generator states are None
    between epochs, where each is seeded anew.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    augmentation_state: torch.Tensor | None = None
    dropout_state: torch.Tensor | None = None
    device_type: str = "cpu"  # whose generators' states these are

    @property
    def at_start(self) -> bool:
        """Whether no step has been taken."""
        return not self.epoch and not self.step


@dataclass
class Checkpoint:
    """The identity of a run, its weights and where it stands."""

    recipe: dict[str, Any]
    seed: int
    progress: Progress
    network: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)  # one per process that trained it
    average: dict[str, torch.Tensor] | None = None  # the second set of weights, where there is one
    outcome: dict[str, Any] | None = None  # of the finished run
    probing: dict[str, Any] | None = None  # what the probes have measured
    origin: dict[str, Any] | None = None  # of the first weights, where they were not random
    selected: dict[str, Any] | None = None  # why this epoch was kept beside the last
    images: dict[str, Any] | None = None  # the folder it was trained on; None of CIFAR-10


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write the checkpoint so that `path` holds either the old one or the new one, whole.

    Raises:
        OSError: it cannot be written, for lack of room as a rule.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    shallow = {**vars(checkpoint), "progress": asdict(checkpoint.progress), "format": FORMAT}
    with replacing(path) as file:
        try:
            torch.save(shallow, file)
        except RuntimeError as exc:  # torch's writer hides the error of the disk
            cause = exc.__context__
            raise cause if isinstance(cause, OSError) else OSError(str(exc)) from exc


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Raises:
        CheckpointError: there is none, it is damaged, or of another format.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}: nothing was trained there yet")
    try:
        _check_sums(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        version = content.pop("format")
        if version == FORMAT:
            return Checkpoint(**{**content, "progress": Progress(**content["progress"])})
    except Exception as exc:  # torch.load raises zip, pickle, runtime and OS errors alike
        reason = str(exc).partition("\n")[0]
        raise CheckpointError(f"{path} is not a readable checkpoint: {reason}") from exc
    raise CheckpointError(f"{path} has format {version}, this version reads {FORMAT}")


def require_same_run(checkpoint: Checkpoint, recipe: Recipe, seed: int, device_type: str) -> None:
    """Refuse a checkpoint that another recipe or seed has left.

    What decides no weight may differ: name, title and patience, and the number of epochs where the
    recipe's schedules do not depend on it.

    Raises:
        CheckpointError: it is of another run, or of an epoch that only another device can finish.
    """
    wanted = {**recipe.to_dict(), "seed": seed}
    # Read, since an earlier release may have had fewer keys.
    before = recipe_from_dict(checkpoint.recipe, "the checkpoint's recipe")
    found = {**before.to_dict(), "seed": checkpoint.seed}
    if checkpoint.progress.step and checkpoint.progress.device_type != device_type:
        raise CheckpointError(
            f"the run was stopped inside an epoch on {checkpoint.progress.device_type!r}, "
            f"whose random numbers {device_type!r} cannot continue; resume it with "
            f"--device {checkpoint.progress.device_type}"
        )
    free = {"name", "title", "patience"} | (set() if recipe.bound_to_epochs else {"epochs"})
    for key in sorted(wanted.keys() | found.keys()):
        if key not in free and wanted.get(key) != found.get(key):
            raise CheckpointError(
                f"the checkpoint is of another run: its {key} is {found.get(key)!r}, "
                f"here it is {wanted.get(key)!r}; use another --run-dir or the same {key}"
            )


def require_same_images(checkpoint: Checkpoint, images: dict[str, Any] | None) -> None:
    """Refuse to go on with other images than those that a run was trained on so far.

    `images` is the record of the folder (`models.manifest.ImageFolder`), None of CIFAR-10.

    Raises:
        CheckpointError: they are others; the folder's name may differ.
    """
    before, now = ({**(one or {}), "name": None} for one in (checkpoint.images, images))
    if before == now:
        return
    differing = next(key for key in {**before, **now} if before.get(key) != now.get(key))
    raise CheckpointError(
        "the checkpoint's run was trained on other images: "
        f"{_folder_name(checkpoint.images)} there and {_folder_name(images)} here differ in "
        f"{differing}; name the folder as it was, or use another --run-dir"
    )


def _folder_name(images: dict[str, Any] | None) -> str:
    return f"the folder {images['name']!r}" if images else "CIFAR-10"


def _check_sums(path: Path) -> None:
    """Compare the checksums that torch writes and does not read: a damaged weight is no weight."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise zipfile.BadZipFile(f"the checksum of {damaged} in it is wrong")
