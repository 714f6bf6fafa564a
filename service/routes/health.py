"""`/health/…`: the three probes of an orchestrator."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from service.deadline import deadline
from service.errors import DeadlineExceededError, DrainingError, ModelRefusedError
from service.problems import problem_responses
from service.schemas import Health
from service.state import service_state

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/startup", responses=problem_responses())
async def startup() -> Health:
    """Answer once the models are loaded and proven: before that, connections wait."""
    return Health(status="started")


@router.get("/live", responses=problem_responses())
async def live() -> Health:
    """Answer as long as the event loop turns, while draining too."""
    return Health(status="live")


@router.get(
    "/ready", responses=problem_responses(DrainingError, ModelRefusedError, DeadlineExceededError)
)
async def ready(request: Request) -> Health:
    """Answer if every model has just classified a golden image right and new work is taken."""
    service = service_state(request)
    service.lifecycle.check_admission()
    async with deadline(service.settings.deadline_ms):
        await service.readiness.check()
    return Health(status="ready")
