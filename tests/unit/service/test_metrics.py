from __future__ import annotations

from service.batcher import Batcher
from service.metrics import ServiceMetrics


async def run_nothing(_items: object) -> list[object]:
    return []


def test_applications_do_not_share_their_counters() -> None:
    first, second = ServiceMetrics(), ServiceMetrics()
    first.count_images(3)
    assert b"foldnorm_images_total 3.0" in first.render()
    assert b"foldnorm_images_total 0.0" in second.render()


def test_batches_and_queues_are_shown_by_model() -> None:
    metrics = ServiceMetrics()
    batcher = Batcher(run_nothing, capacity=9, max_batch=9)
    batcher.queued_size = 5
    metrics.watch_queue("keras-bn", "1.0.0", batcher)
    metrics.batch_observer("keras-bn", "1.0.0")(4, 0.25)
    text = metrics.render().decode()
    assert 'foldnorm_queue_images{model="keras-bn",version="1.0.0"} 5.0' in text
    assert 'foldnorm_batch_images_sum{model="keras-bn",version="1.0.0"} 4.0' in text
    assert 'foldnorm_run_seconds_total{model="keras-bn",version="1.0.0"} 0.25' in text


def test_stages_are_recorded_in_seconds() -> None:
    metrics = ServiceMetrics()
    metrics.observe_stage("decode", 250.0)
    assert 'foldnorm_stage_seconds_sum{stage="decode"} 0.25' in metrics.render().decode()
