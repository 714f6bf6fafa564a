"""One process that answers: alone, or as one of several under a supervisor."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

import uvicorn

from service.app import build_app, build_state
from service.control import Coordinator
from service.server import DrainingServer

if TYPE_CHECKING:
    import socket

    from service.settings import Settings
    from service.state import ServiceState

LAST_SECONDS = 1  # for what is still in progress when draining is over, before it is cancelled


def serve_alone(settings: Settings) -> None:
    """Load the models, then listen until a signal has drained the process."""
    state = build_state(settings)
    gc.freeze()  # what is there now stays: collecting it over again only costs time
    config = _config(state, host=settings.host, port=settings.port)
    DrainingServer(config, state.lifecycle, settings.drain_seconds).run()


def serve_worker(
    settings: Settings, listener: socket.socket, line: socket.socket, unloaded: frozenset[str]
) -> None:
    """Load the models, then answer on a socket until a signal has drained the process."""
    state = build_state(settings, unloaded=unloaded, coordinator=Coordinator(line))
    gc.freeze()  # what is there now stays: collecting it over again costs time, and shared pages
    server = DrainingServer(_config(state), state.lifecycle, settings.drain_seconds)
    server.run(sockets=[listener])


def _config(state: ServiceState, **where: Any) -> uvicorn.Config:
    """Return uvicorn's settings; the fast loop and parser are demanded, not hoped for."""
    return uvicorn.Config(
        build_app(state),
        loop="asyncio" if sys.platform == "win32" else "uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=LAST_SECONDS,
        **where,
    )
