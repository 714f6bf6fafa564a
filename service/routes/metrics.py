"""`/metrics`: for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from service.problems import problem_responses
from service.state import service_state

router = APIRouter(tags=["metrics"])


@router.get("/metrics", response_class=Response, responses=problem_responses())
async def metrics(request: Request) -> Response:
    """Return every counter in Prometheus's text format."""
    content = service_state(request).metrics.render()
    return Response(content, media_type=CONTENT_TYPE_LATEST)
