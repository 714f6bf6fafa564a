"""`foldnorm-serve`: processes that listen, answer and drain."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.bundle import BundleError
from service.errors import ServiceError
from service.logs import configure_logging
from service.providers import CPU, choose_provider
from service.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.settings import Settings

SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client when it is imported
EXTRA_STOP_SECONDS = 3.0  # beyond draining, before a worker is killed


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal; exits 1 with one line if the service cannot start."""
    try:
        status = serve(load_settings(**_overrides(arguments)))
    except (SettingsError, BundleError, ServiceError, OSError) as error:
        sys.stderr.write(f"foldnorm-serve: {error}\n")
        sys.exit(1)
    sys.exit(status)


def serve(settings: Settings) -> int:
    """Answer in one process or in several, until a signal has drained them."""
    configure_logging(settings.log_level)
    if _worker_count(settings) == 1:
        from service.worker import serve_alone

        serve_alone(settings)
        return 0
    return _serve_many(settings, _worker_count(settings))


def _worker_count(settings: Settings) -> int:
    """Return how many processes to run.

    The provider is looked for only where it decides: a process that has talked to the CUDA driver
    must not fork.
    """
    if settings.workers != "auto":
        return settings.workers
    if not hasattr(os, "fork"):
        return 1
    provider = CPU if settings.cuda == "off" else choose_provider(settings.cuda).name
    return settings.worker_count(provider)


def _serve_many(settings: Settings, count: int) -> int:
    folder = tempfile.mkdtemp(prefix="foldnorm-metrics-")
    os.environ[SHARED_METRICS] = folder
    try:
        # Imported here, for prometheus_client must find its folder; and before the fork, so that
        # the workers share the memory.
        from service.supervisor import Supervisor
        from service.worker import serve_worker

        def work(listener: socket.socket, line: socket.socket, unloaded: frozenset[str]) -> None:
            try:
                serve_worker(settings, listener, line, unloaded)
            except (BundleError, ServiceError) as error:
                sys.stderr.write(f"foldnorm-serve: {error}\n")
                raise SystemExit(1) from error

        supervisor = Supervisor(
            host=settings.host,
            port=settings.port,
            count=count,
            work=work,
            stop_seconds=settings.drain_seconds + EXTRA_STOP_SECONDS,
        )
        return supervisor.run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
