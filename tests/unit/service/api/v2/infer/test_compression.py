from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from service.api.v2.infer.compression import choose_encoding, deflate, inflate, is_compressed
from service.errors import BodyTooLargeError, MalformedRequestError

TEXT = b"a body that repeats " * 50
BODIES = {"gzip": gzip.compress(TEXT), "deflate": zlib.compress(TEXT)}


@pytest.mark.parametrize("encoding", BODIES)
def test_one_byte_more_than_the_limit_is_refused(encoding: str) -> None:
    with pytest.raises(BodyTooLargeError, match=r"inflate to more than 999; at most that many"):
        inflate(BODIES[encoding], encoding, len(TEXT) - 1)


@pytest.mark.parametrize("encoding", BODIES)
def test_a_bomb_takes_no_more_memory_than_the_limit(encoding: str) -> None:
    stream = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    bomb = stream.compress(bytes(100_000_000)) + stream.flush()
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLargeError):
            inflate(bomb, encoding, 1_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The output grows by doubling: at most one copy of half its size is alive beside it.
    assert peak < 4_000_000


@pytest.mark.parametrize("encoding", BODIES)
def test_a_body_that_was_cut_off_is_refused(encoding: str) -> None:
    with pytest.raises(MalformedRequestError, match=f"ends before its {encoding} does"):
        inflate(BODIES[encoding][:-1], encoding, 5_000)


@pytest.mark.parametrize("encoding", BODIES)
def test_bytes_after_the_end_are_refused(encoding: str) -> None:
    with pytest.raises(MalformedRequestError, match=r"3 bytes follow the end"):
        inflate(BODIES[encoding] + b"abc", encoding, 5_000)


@pytest.mark.parametrize("encoding", BODIES)
@pytest.mark.parametrize("body", [b"plain text", b"\x78\x9c\xff\xff\xff"])
def test_a_body_that_is_not_compressed_is_refused(encoding: str, body: bytes) -> None:
    with pytest.raises(MalformedRequestError, match=f"no intact {encoding}"):
        inflate(body, encoding, 5_000)


def test_a_flipped_bit_is_noticed() -> None:
    damaged = bytearray(BODIES["gzip"])
    damaged[-6] ^= 1  # in the checksum
    with pytest.raises(MalformedRequestError, match="no intact gzip"):
        inflate(bytes(damaged), "gzip", 5_000)


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_identity_is_no_compression(encoding: str) -> None:
    assert not is_compressed(encoding)


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", " deflate "])
def test_names_are_read_in_any_case(encoding: str) -> None:
    assert is_compressed(encoding)


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "gzip;q=1", "x" * 500])
def test_any_other_encoding_is_refused_by_name(encoding: str) -> None:
    with pytest.raises(MalformedRequestError, match=r"is not taken; send gzip, deflate or") as info:
        is_compressed(encoding)
    assert len(str(info.value)) < 200


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate", "gzip"),
        ("deflate, gzip", "gzip"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("gzip;q=0", None),
        ("*", "gzip"),
        ("*;q=0", None),
        ("gzip;q=0, *", "deflate"),
        ("GZIP ; q=1.0", "gzip"),
        ("gzip;q=nan", None),
        ("gzip;q=", None),
        ("gzip;level=9", None),
        (",;,=", None),
    ],
)
def test_the_answer_has_the_encoding_that_the_caller_prefers(
    accepted: str, chosen: str | None
) -> None:
    assert choose_encoding(accepted) == chosen


def test_what_is_deflated_is_what_the_libraries_inflate() -> None:
    assert gzip.decompress(deflate(TEXT, "gzip")) == TEXT
    assert zlib.decompress(deflate(TEXT, "deflate")) == TEXT
