"""Asking again when a server says that it is busy, and when it said to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from training.client.connection import Connection, Reply
from training.client.errors import ServerError
from training.client.requests import Payload

BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
UNSTATED_WAIT_S = 1.0
MAX_WAIT_S = 60.0

Log = Callable[[str], None]  # writes a line for the person who waits


async def post_patiently(connection: Connection, payload: Payload, retries: int, log: Log) -> Reply:
    """Return the answer; a busy server is asked again after its `Retry-After`.

    Raises:
        ServerError: no answer, a failure of the server, or still busy after so many retries.
    """
    for attempt in range(1, retries + 2):
        reply = await connection.post(payload)
        if reply.status not in BUSY:
            break
        wait_s = retry_after_s(reply)
        if wait_s is not None and wait_s > MAX_WAIT_S:
            raise ServerError(
                f"{reply.detail}; the server asks to wait {wait_s:,.0f} s, at most "
                f"{MAX_WAIT_S:g} are waited; try again then"
            )
        if attempt > retries:
            raise ServerError(f"{reply.detail} (asked {attempt} times; --retries allows more)")
        wait_s = UNSTATED_WAIT_S if wait_s is None else wait_s
        log(f"{reply.detail}; trying again in {wait_s:g} s (retry {attempt} of {retries})")
        await asyncio.sleep(wait_s)
    if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise ServerError(reply.detail)
    return reply


def retry_after_s(reply: Reply) -> float | None:
    """Return the seconds that `Retry-After` states, as a number or as a date; None without it."""
    stated = reply.headers.get("Retry-After", "").strip()
    if stated.isascii() and stated.isdigit():
        return float(stated)
    try:
        date = parsedate_to_datetime(stated)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
