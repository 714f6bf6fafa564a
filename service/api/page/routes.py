"""`/`, `/docs` and `/assets`: answered from memory, whatever the models do."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from html import escape

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from models.bundle import Bundle
from service.api.page.assets import Assets
from service.api.page.policy import ASSET_HEADERS, DOCS_HEADERS, PAGE_HEADERS, SECURITY_HEADERS
from service.api.state import service_state

HTML = "text/html; charset=utf-8"
router = APIRouter(include_in_schema=False)


@cache
def assets() -> Assets:
    """Return the files of the page, read at the first call."""
    return Assets()


@router.get("/")
async def index(request: Request) -> Response:
    """Return the page; its essential numbers stand in it, for a browser without scripts."""
    rows = [_row(bundle) for bundle in service_state(request).catalogue.newest_bundles]
    return _page(request, assets().page("index.html", models="\n".join(rows)), PAGE_HEADERS)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Return the API's documentation, which Swagger UI draws from `/openapi.json`."""
    return _page(request, assets().page("docs.html"), DOCS_HEADERS)


@router.get("/redoc")
async def redoc(request: Request) -> Response:
    """Send those who look for another drawing of it to the one that there is."""
    return RedirectResponse(request.scope.get("root_path", "") + "/docs", 308)


@router.get("/assets/{tree}/{path:path}")
async def asset(request: Request, tree: str, path: str) -> Response:
    """Return a file, for ever the same under this URL."""
    found = assets().find(tree, path)
    if found is None:
        headers = {**SECURITY_HEADERS, "Cache-Control": "no-store"}
        return Response("no such file\n", 404, headers, "text/plain; charset=utf-8")
    headers = {**ASSET_HEADERS, "Vary": "Accept-Encoding"}
    body = found.content
    if found.gzipped and "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"], body = "gzip", found.gzipped
    return Response(body, 200, headers, found.media_type)


def _page(request: Request, text: str, headers: Mapping[str, str]) -> Response:
    tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
    tagged = {**headers, "ETag": tag}
    if request.headers.get("if-none-match", "").removeprefix("W/") == tag:
        return Response(status_code=304, headers=tagged)
    return Response(text, 200, tagged, HTML)


def _row(bundle: Bundle) -> str:
    """Return a network's line in the table."""
    manifest, graph = bundle.manifest, bundle.manifest.graphs[bundle.served_variant]
    test = manifest.metrics.test if manifest.metrics else None
    low, high = test.accuracy_interval_95 if test else (0.0, 0.0)
    measured = f"{test.accuracy:.2%} ({low:.2%} to {high:.2%})" if test else "not measured"
    height, width, _ = manifest.input.image_shape
    cells = [
        measured,
        f"{test.images:,}" if test else "",
        f"{len(manifest.labels):,}",
        f"{height} × {width}",
        f"{graph.parameters:,}",
    ]
    name = f'<th scope="row">{escape(manifest.name)} {escape(manifest.version)}</th>'
    return f"<tr>{name}{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
