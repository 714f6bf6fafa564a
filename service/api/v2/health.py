"""`/v2/health/…`: is the server alive, and does it take work?"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from service.api.cancellation import deadline
from service.api.state import service_state
from service.api.v2.responses import document


async def live(_request: Request) -> Response:
    """Answer as long as the event loop turns, while draining too."""
    return document({"live": True})


async def ready(request: Request) -> Response:
    """Answer if every model has just classified a golden image right and new work is taken.

    The protocol's text names the field `live` here, its clients read `ready`: both are there.
    """
    state = service_state(request)
    state.admission.check()
    async with deadline(state.settings.deadline_ms):
        await state.readiness.check()
    return document({"live": True, "ready": True})
