"""`foldnorm-serve`: processes that listen, answer and drain."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.bundle import BundleError
from service.errors import ServiceError
from service.logs import configure_logging
from service.metrics_folder import shared_metrics
from service.settings import SettingsError, load_settings, variable_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.settings import Settings

HEALTHCHECK_SECONDS = 30  # a worker that starts on a busy machine answers late
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal; exits 1 with one line if the service cannot start."""
    try:
        with _leaving_on_signals():
            overrides = _overrides(arguments)
            for name, value in overrides.items():  # workers are spawned and read the environment
                os.environ[variable_name(name)] = str(value)
            serve(load_settings(**overrides))
    except (SettingsError, BundleError, ServiceError, OSError) as error:
        sys.stderr.write(f"foldnorm-serve: {error}\n")
        sys.exit(1)


def serve(settings: Settings) -> None:
    """Answer in one process or in several, until a signal has drained them.

    Raises:
        BundleError, ServiceError, OSError: the service cannot start.
    """
    configure_logging(settings.log_level)
    # onnxruntime reads it when it is imported; else it opens a database and starts a thread to
    # report to its makers, in the process that is about to fork.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    count = _worker_count(settings)
    if count > 1:
        _serve_many(settings, count)
        return
    from service.worker import serve_alone

    serve_alone(settings)


@contextmanager
def _leaving_on_signals() -> Iterator[None]:
    """Exit with 0 on a signal that comes before there is anything to drain.

    Python would end with a traceback (SIGINT), and as the first process of a container not end at
    all (SIGTERM).
    """
    before = {number: signal.signal(number, _leave) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(_number: int, _frame: object) -> None:
    sys.exit(0)


def _worker_count(settings: Settings) -> int:
    """Return how many processes to run.

    The provider is looked for only where it decides: a process that has talked to the CUDA driver
    must not fork.
    """
    if not hasattr(os, "fork"):
        return 1
    if settings.workers != "auto":
        return settings.workers
    from service.providers import CPU, choose_provider

    provider = CPU if settings.cuda == "off" else choose_provider(settings.cuda).name
    return settings.worker_count(provider)


def _serve_many(settings: Settings, count: int) -> None:
    import uvicorn

    with shared_metrics():
        uvicorn.run(
            "service.app:create_app",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=count,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
            timeout_worker_healthcheck=HEALTHCHECK_SECONDS,
        )


def _overrides(arguments: Sequence[str] | None) -> dict[str, Any]:
    """Return the settings that the command line gives."""
    given = vars(_parser().parse_args(arguments))
    return {name: value for name, value in given.items() if value is not None}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="foldnorm-serve",
        description="Classify images over HTTP, and compare the twins.",
        epilog="Everything else is set by FOLDNORM_ variables; docs/settings.md lists them.",
    )
    parser.add_argument("--host", help="address to listen on (FOLDNORM_HOST)")
    parser.add_argument("--port", type=int, help="port, 0 for a free one (FOLDNORM_PORT)")
    parser.add_argument("--artifacts", type=Path, help="artefacts' folder (FOLDNORM_ARTIFACTS)")
    parser.add_argument("--workers", help="processes, or auto (FOLDNORM_WORKERS)")
    return parser


if __name__ == "__main__":
    main()
