"""`foldnorm-serve`: one process that listens, answers and drains."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from models.bundle import BundleError
from service.app import build_app, build_state
from service.errors import ServiceError
from service.logs import configure_logging
from service.server import DrainingServer
from service.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.settings import Settings

LAST_SECONDS = 1  # for what is still in progress when draining is over, before it is cancelled


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal; exits 1 with one line if the service cannot start."""
    try:
        serve(load_settings(**_overrides(arguments)))
    except (SettingsError, BundleError, ServiceError) as error:
        sys.stderr.write(f"foldnorm-serve: {error}\n")
        sys.exit(1)


def serve(settings: Settings) -> None:
    """Load the models, then listen until a signal has drained the process."""
    configure_logging(settings.log_level)
    state = build_state(settings)
    config = uvicorn.Config(
        build_app(state),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=LAST_SECONDS,
    )
    DrainingServer(config, state.lifecycle, settings.drain_seconds).run()


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
    return parser


if __name__ == "__main__":
    main()
