"""The events for TensorBoard, read back by TensorBoard itself."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from models.history import EpochRecord
from training.trainer.session.tensorboard_events import write_tensorboard

SPLITS = ("train", "test")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own
def test_tensorboard_reads_back_each_epoch(tmp_path):
    for epoch, accuracy in ((1, 0.5), (2, 0.75)):
        record = EpochRecord(epoch, 1e-3, 1.5, 0.25, 1.25, accuracy, 100.0, 5.0)
        write_tensorboard(record, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    tags = {f"{measure}/{split}" for measure in ("loss", "accuracy", "seconds") for split in SPLITS}
    assert tags | {"learning_rate"} == set(events.Tags()["scalars"])
    curve = [(event.step, event.value) for event in events.Scalars("accuracy/test")]
    assert curve == [(1, 0.5), (2, 0.75)]
