"""Compressed requests and answers: gzip, and deflate in its zlib form."""

from __future__ import annotations

import zlib

from service.api.v2.responses import shown
from service.errors import BodyTooLargeError, MalformedRequestError

# zlib's window bits: the format of the head and the tail around the same deflated bytes.
_FORMATS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
IDENTITY = frozenset({"", "identity"})
FAST = 1  # scores are nearly random bits: more effort finds no more
MIN_COMPRESSED_BYTES = 512  # below it head and tail cost more than deflating saves


def is_compressed(encoding: str) -> bool:
    """Return whether a body of this `Content-Encoding` has to be inflated.

    Raises:
        MalformedRequestError: an encoding that is not taken.
    """
    name = encoding.strip().lower()
    if name in IDENTITY:
        return False
    if name not in _FORMATS:
        raise MalformedRequestError(
            f"content encoding {shown(encoding)} is not taken; send gzip, deflate or identity"
        )
    return True


def inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return the inflated body; inflating stops at the first byte too many.

    Raises:
        BodyTooLargeError: the body inflates to more than `max_bytes`.
        MalformedRequestError: it is damaged, cut off or followed by something else.
    """
    name = encoding.strip().lower()
    stream = zlib.decompressobj(_FORMATS[name])
    try:
        inflated = stream.decompress(body, max_bytes + 1)
    except zlib.error as exc:
        raise MalformedRequestError(f"the body is no intact {name}: {exc}") from exc
    if len(inflated) > max_bytes:
        raise BodyTooLargeError(
            f"the {len(body):,} bytes of {name} inflate to more than {max_bytes:,}; at most that "
            "many are taken; send fewer or smaller images"
        )
    if not stream.eof:
        raise MalformedRequestError(f"the body ends before its {name} does; send all of it")
    if stream.unused_data:
        raise MalformedRequestError(
            f"{len(stream.unused_data):,} bytes follow the end of the {name}; send one stream"
        )
    return inflated


def choose_encoding(accepted: str) -> str | None:
    """Return the encoding that an `Accept-Encoding` prefers, None to leave the answer as it is.

    gzip where both are as welcome.
    """
    weights = dict(_weight(entry) for entry in accepted.lower().split(","))
    anything = weights.get("*", 0.0)
    best = max(_FORMATS, key=lambda name: weights.get(name, anything))
    return best if weights.get(best, anything) > 0 else None


def deflate(body: bytes, encoding: str) -> bytes:
    """Return the body in one of the encodings."""
    stream = zlib.compressobj(FAST, zlib.DEFLATED, _FORMATS[encoding])
    return stream.compress(body) + stream.flush()


def _weight(entry: str) -> tuple[str, float]:
    """Return the name and the weight of one entry; what cannot be read weighs nothing."""
    name, _, parameter = entry.partition(";")
    key, _, value = parameter.partition("=")
    if not parameter.strip():
        return name.strip(), 1.0
    try:
        weight = float(value) if key.strip() == "q" else 0.0
    except ValueError:
        weight = 0.0
    return name.strip(), weight if 0 <= weight <= 1 else 0.0
