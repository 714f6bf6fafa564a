"""The headers of what a browser is given: nothing from elsewhere, nothing inline, no frames."""

from __future__ import annotations

from typing import Final

_SOURCES = ("script-src", "style-src", "font-src", "connect-src", "worker-src", "form-action")
_NOWHERE = ("default-src", "base-uri", "frame-ancestors")


def _policy(images: str) -> str:
    rules = [f"{name} 'none'" for name in _NOWHERE]
    rules += [f"{name} 'self'" for name in _SOURCES]
    return "; ".join([*rules, f"img-src {images}"])


SECURITY_HEADERS: Final = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PAGE_HEADERS: Final = {
    **SECURITY_HEADERS,
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _policy("'self'"),
    "Permissions-Policy": "geolocation=(), microphone=()",
}
# Swagger UI draws its arrows from data: URLs.
DOCS_HEADERS: Final = {**PAGE_HEADERS, "Content-Security-Policy": _policy("'self' data:")}
ASSET_HEADERS: Final = {
    **SECURITY_HEADERS,
    "Cache-Control": "public, max-age=31536000, immutable",
}
