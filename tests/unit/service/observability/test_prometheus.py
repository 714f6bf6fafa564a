from __future__ import annotations

from service.inference.batcher import Batcher
from service.observability.prometheus import ServiceMetrics


async def run_nothing(_items: object) -> list[object]:
    return []


def answered(metrics: ServiceMetrics, images: int = 3) -> None:
    metrics.of_model("keras-bn", "1.0.0").succeeded(
        images=images, queue_s=0.25, input_s=0.5, infer_s=1.0, output_s=2.0
    )


def test_applications_do_not_share_their_counters() -> None:
    first, second = ServiceMetrics(), ServiceMetrics()
    answered(first)
    sample = 'foldnorm_images_total{model="keras-bn",version="1.0.0"} 3.0'
    assert sample in first.render().decode()
    assert sample not in second.render().decode()


def test_batches_and_queues_are_shown_by_model() -> None:
    metrics = ServiceMetrics()
    batcher = Batcher(run_nothing, capacity=9, max_batch_size=9)
    batcher.queued_size = 5
    metrics.watch_queues({("keras-bn", "1.0.0"): batcher})
    metrics.of_model("keras-bn", "1.0.0").ran(4, 0.25)
    text = metrics.render().decode()
    assert 'foldnorm_queue_images{model="keras-bn",version="1.0.0"} 5.0' in text
    labels = '{images="4",model="keras-bn",version="1.0.0"}'
    assert f"foldnorm_batches_total{labels} 1.0" in text
    assert f"foldnorm_batch_seconds_total{labels} 0.25" in text


def test_a_model_that_is_gone_has_no_queue() -> None:
    metrics = ServiceMetrics()
    batcher = Batcher(run_nothing, capacity=9, max_batch_size=9)
    batcher.queued_size = 5
    metrics.watch_queues({("old", "1.0.0"): batcher})
    metrics.sample()
    metrics.watch_queues({})
    assert 'foldnorm_queue_images{model="old",version="1.0.0"} 0.0' in metrics.render().decode()
