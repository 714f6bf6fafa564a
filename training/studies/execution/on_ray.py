"""Runs as tasks of Ray: on this machine, or on the machines of a cluster.

Ray gives each run its CPUs or its share of a GPU, starts it where there is room and takes it up
again on another worker if its own is killed. The run trains inside the task, not in a process of
its own, since a child of a killed worker would go on in the folder of the new one. Only small
results travel: data and run folders are read from disk, which the machines of a cluster must share.

Reference:
    Ray 2.60, "Fault tolerance: tasks" and "Out-of-memory prevention".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.errors import DivergedError
from training.studies.execution.job import RETRIES, Job, Outcome
from training.trainer.device import choose_device, choose_precision, keep_freed_memory
from training.trainer.distributed import Workers
from training.trainer.run.run_directory import RunDirectory
from training.trainer.session.session import TrainingSession

LOCAL = "local"
STORE_BYTES = 80 << 20  # the least that Ray takes: nothing but small results is stored
WAIT_S = 2.0
ATTEMPTS_FILE = "attempts.txt"  # one line for each attempt: the process that trained
# Ray sends usage reports and, out of memory, tries for ever, unless it is told otherwise.
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_task_oom_retries": str(RETRIES)}


@dataclass(frozen=True)
class RayExecutor:
    """Trains on the cluster at `address`; `local` starts one of this machine for `jobs` runs.

    A run takes `threads` CPUs; on a GPU it takes the `jobs`th share of one.
    """

    address: str
    jobs: int
    threads: int

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yield each job as it ends; one that was killed more than `RETRIES` times has failed."""
        ray = self._connect()
        try:
            yield from self._train(ray, jobs)
        finally:
            ray.shutdown()

    def _connect(self) -> Any:
        os.environ.update({k: v for k, v in ENVIRONMENT.items() if k not in os.environ})
        import ray  # slow to import, and reads the environment then

        local: dict[str, Any] = {
            "num_cpus": self.jobs * self.threads,
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
        }
        ray.init(
            address=self.address,
            log_to_driver=False,
            configure_logging=False,
            **(local if self.address == LOCAL else {}),
        )
        return ray

    def _train(self, ray: Any, jobs: Sequence[Job]) -> Iterator[Outcome]:
        pending = {self._task(ray, job).remote(job): job for job in jobs}
        while pending:
            ready, _ = ray.wait(list(pending), num_returns=1, timeout=WAIT_S)
            for reference in ready:
                job = pending.pop(reference)
                yield Outcome(job, _attempts(job.folder), _result(ray, reference))

    def _task(self, ray: Any, job: Job) -> Any:
        on_gpu = job.device != "cpu" and torch.cuda.is_available()
        return ray.remote(
            num_cpus=self.threads,
            num_gpus=1 / self.jobs if on_gpu else 0,
            max_calls=1,  # a process of its own for each run, as its number of threads needs
            max_retries=RETRIES,  # of killed workers; an exception is tried once
            retry_exceptions=False,
        )(train_job)


def train_job(job: Job) -> None:
    """Train a job in this process, from its checkpoint if it has one.

    A run that diverges ends without an error: its folder says so.
    """
    folder = RunDirectory(job.folder)
    folder.path.mkdir(parents=True, exist_ok=True)
    with (folder.path / ATTEMPTS_FILE).open("a", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
    torch.set_num_threads(job.threads)
    keep_freed_memory()
    device = choose_device(job.device)
    session = TrainingSession(
        job.recipe,
        device,
        choose_precision(None, job.recipe, device),
        Workers(),
        compiled=False,
        resume=folder.holds_run,
        tensorboard=False,
    )
    seed = job.recipe.seed
    try:
        session.train_seeds(range(seed, seed + 1), job.data_dir, folder.path)
    except DivergedError:
        if not folder.divergence_file.exists():
            raise


def _attempts(folder: Path) -> int:
    path = folder / ATTEMPTS_FILE
    return len(path.read_text(encoding="ascii").split()) if path.exists() else 0


def _result(ray: Any, reference: Any) -> str:
    """Return the error that a task ended with, if any."""
    try:
        ray.get(reference)
    except Exception as exc:  # whatever the run raised, or Ray's own: a killed worker, a lost node
        return str(exc).strip().splitlines()[-1]
    return ""
