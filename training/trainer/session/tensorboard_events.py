"""What a run tells TensorBoard."""

from __future__ import annotations

from pathlib import Path

from models.history import EpochRecord


def write_tensorboard(record: EpochRecord, folder: Path) -> None:
    """Append the epoch's figures to TensorBoard's events, as `loss/train`, `accuracy/test`, …."""
    from torch.utils.tensorboard import SummaryWriter  # optional, and slow to import

    # An epoch that is trained again, after a stop before its checkpoint, replaces itself.
    with SummaryWriter(str(folder / "tensorboard"), purge_step=record.epoch) as writer:
        for name, value in record.to_dict().items():
            split, _, measure = name.partition("_")
            if split in ("train", "test"):
                writer.add_scalar(f"{measure}/{split}", value, record.epoch)
        writer.add_scalar("learning_rate", record.learning_rate, record.epoch)
