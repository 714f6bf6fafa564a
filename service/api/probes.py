"""`/health/…` for an orchestrator, `/metrics` for Prometheus."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from service.api.cancellation import deadline
from service.api.problems import problem_responses
from service.api.state import service_state
from service.errors import DeadlineExceededError, DrainingError, ModelRefusedError

router = APIRouter()


class Health(BaseModel):
    """Answer to the health probes."""

    model_config = ConfigDict(frozen=True)

    status: Literal["started", "live", "ready"]


@router.get("/health/startup", tags=["health"], responses=problem_responses())
async def startup() -> Health:
    """Answer once the models are loaded and proven: before that, connections wait."""
    return Health(status="started")


@router.get("/health/live", tags=["health"], responses=problem_responses())
async def live() -> Health:
    """Answer as long as the event loop turns, while draining too."""
    return Health(status="live")


@router.get(
    "/health/ready",
    tags=["health"],
    responses=problem_responses(DrainingError, ModelRefusedError, DeadlineExceededError),
)
async def ready(request: Request) -> Health:
    """Answer if every model has just classified a golden image right and new work is taken."""
    service = service_state(request)
    service.admission.check()
    async with deadline(service.settings.deadline_ms):
        await service.readiness.check()
    return Health(status="ready")


@router.get("/metrics", tags=["metrics"], response_class=Response, responses=problem_responses())
async def metrics(request: Request) -> Response:
    """Return every counter in Prometheus's text format."""
    content = service_state(request).metrics.render()
    return Response(content, media_type=CONTENT_TYPE_LATEST)
