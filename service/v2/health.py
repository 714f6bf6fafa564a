"""`/v2/health/…`: is the server alive, and does it take work?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.deadline import deadline
from service.state import service_state
from service.v2.responses import document

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def live(_request: Request) -> Response:
    """Answer as long as the event loop turns, while draining too."""
    return document({"live": True})


async def ready(request: Request) -> Response:
    """Answer if every model has just classified a golden image right and new work is taken.

    The protocol's text names the field `live` here, its clients read `ready`: both are there.
    """
    state = service_state(request)
    state.lifecycle.check_admission()
    async with deadline(state.settings.deadline_ms):
        await state.readiness.check()
    return document({"live": True, "ready": True})
