"""One process that answers: alone, or as one of several under a supervisor."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import uvicorn

from models.bundle import BundleError
from service.app import build_app, build_state
from service.control import Coordinator
from service.errors import ServiceError
from service.listener import BACKLOG, open_listeners, url_of
from service.metrics_folder import count_as
from service.server import DrainingServer
from service.supervisor import StartError

if TYPE_CHECKING:
    from service.settings import Settings
    from service.state import ServiceState
    from service.worker_place import Assignment

LONGEST_REASON = 2000  # characters; a message has to fit into the reader's buffer
LAST_SECONDS = 1  # for what is still in progress when draining is over, before it is cancelled


def serve_alone(settings: Settings) -> None:
    """Listen, load the models, then answer until a signal has drained the process.

    Raises:
        OSError: the address cannot be listened on.
        BundleError, ServiceError: a model cannot be served.
    """
    (listener,) = open_listeners(settings.host, settings.port, 1)
    state = build_state(settings)
    gc.freeze()  # what is there now stays: collecting it over again only costs time
    server = _server(settings, state, url=url_of(settings.host, listener))
    server.run(sockets=[listener])


def serve_worker(settings: Settings, assignment: Assignment) -> None:
    """Load the models, then answer on a socket until a signal has drained the process.

    Raises:
        StartError: a model cannot be served.
    """
    count_as(assignment.place)
    coordinator = Coordinator(assignment.line)
    try:
        state = build_state(settings, order=assignment.order, coordinator=coordinator)
    except (BundleError, ServiceError, OSError) as exc:
        raise StartError(str(exc)[:LONGEST_REASON], type(exc).__name__) from exc
    gc.freeze()  # what is there now stays: collecting it over again costs time, and shared pages
    assignment.listener.listen(BACKLOG)  # after a failed start it has only stood by until now
    server = _server(settings, state)
    coordinator.retire = server.retire
    server.run(sockets=[assignment.listener])


def _server(settings: Settings, state: ServiceState, url: str | None = None) -> DrainingServer:
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
