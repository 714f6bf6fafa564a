from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from service.inference.batcher import Batcher
from service.observability.prometheus import ServiceMetrics
from service.observability.statistics import Duration

ROOT = Path(__file__).resolve().parents[4]
COUNT = """
import sys
from service.observability.prometheus import ServiceMetrics
metrics = ServiceMetrics()
metrics.of_model("keras-bn", "1.0.0").succeeded(
    images=2, queue_s=0.0, input_s=0.0, infer_s=0.5, output_s=0.0
)
metrics.sample()
print("counted", flush=True)
sys.stdin.read()
"""
RENDER = """
import sys
from prometheus_client.multiprocess import mark_process_dead
from service.observability.prometheus import ServiceMetrics
for pid in sys.argv[1:]:
    mark_process_dead(int(pid))
print(ServiceMetrics().render().decode())
"""


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


def test_stages_are_recorded_in_seconds_and_under_tritons_names_in_microseconds() -> None:
    metrics = ServiceMetrics()
    answered(metrics)
    metrics.of_model("keras-bn", "1.0.0").failed("REJECTED")
    text = metrics.render().decode()
    labels = 'model="keras-bn",version="1.0.0"'
    assert f'foldnorm_stage_seconds_sum{{{labels[:16]},stage="decode",{labels[17:]}}} 0.5' in text
    assert f"nv_inference_compute_input_duration_us{{{labels}}} 500000.0" in text
    assert f"nv_inference_request_duration_us{{{labels}}} 3.75e+06" in text
    assert f"nv_inference_request_success{{{labels}}} 1.0" in text
    assert f"nv_inference_count{{{labels}}} 3.0" in text
    assert 'nv_inference_request_failure{model="keras-bn",reason="REJECTED"' in text


def test_statistics_are_those_of_one_model() -> None:
    metrics = ServiceMetrics()
    answered(metrics)
    metrics.of_model("keras-bn", "1.0.0").ran(8, 0.5)
    found = metrics.statistics("keras-bn", "1.0.0")
    assert (found.inference_count, found.execution_count) == (3, 1)
    assert found.success == Duration(1, 3_750_000_000)
    assert found.compute_infer == Duration(1, 1_000_000_000)
    assert found.batches == {8: Duration(1, 500_000_000)}
    assert metrics.statistics("keras-bn", "2.0.0").inference_count == 0


def test_workers_are_summed_and_a_dead_one_leaves_its_counts_but_not_its_gauges(
    tmp_path: Path,
) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def python(program: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    images = 'foldnorm_images_total{model="keras-bn",version="1.0.0"} 4.0'
    with python(COUNT) as dies, python(COUNT) as lives:
        for worker in (dies, lives):
            assert worker.stdout.readline() == "counted\n"
        with python(RENDER) as asked:
            before = asked.communicate(timeout=60)[0]
        assert images in before
        assert "foldnorm_workers 3.0" in before  # the one that is asked is one of them
        dies.send_signal(signal.SIGKILL)
        dies.wait(60)
        with python(RENDER, str(dies.pid), str(asked.pid)) as asked_again:
            after = asked_again.communicate(timeout=60)[0]
        assert images in after
        assert "foldnorm_workers 2.0" in after
