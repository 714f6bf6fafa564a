"""One process that answers alone."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import uvicorn

from service.app import build_app, build_state
from service.listener import open_listener, url_of
from service.server import DrainingServer

if TYPE_CHECKING:
    from service.settings import Settings
    from service.state import ServiceState

LAST_SECONDS = 1  # for what is still in progress when draining is over, before it is cancelled


def serve_alone(settings: Settings) -> None:
    """Listen, load the models, then answer until a signal has drained the process.

    Raises:
        OSError: the address cannot be listened on.
        BundleError, ServiceError: a model cannot be served.
    """
    listener = open_listener(settings.host, settings.port)
    state = build_state(settings)
    gc.freeze()  # what is there now stays: collecting it over again only costs time
    server = _server(settings, state, url=url_of(settings.host, listener))
    server.run(sockets=[listener])


def _server(settings: Settings, state: ServiceState, url: str) -> DrainingServer:
    """Return uvicorn; the fast loop and parser are demanded, not hoped for."""
    config = uvicorn.Config(
        build_app(state),
        loop="asyncio" if sys.platform == "win32" else "uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=LAST_SECONDS,
    )
    return DrainingServer(config, state.lifecycle, settings.drain_seconds, url=url)
