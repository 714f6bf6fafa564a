"""The protocol's names of element types."""

from __future__ import annotations

BYTES = "BYTES"
UINT8 = "UINT8"
FP32 = "FP32"

# The names that the protocol knows; what else stands in a request is a mistake and not a type.
DATATYPES = frozenset(
    {
        "BOOL",
        UINT8,
        "UINT16",
        "UINT32",
        "UINT64",
        "INT8",
        "INT16",
        "INT32",
        "INT64",
        "FP16",
        "BF16",
        FP32,
        "FP64",
        BYTES,
    }
)

_OF_MANIFEST = {"uint8": UINT8, "float32": FP32}


def protocol_datatype(dtype: str) -> str:
    """Return the protocol's name of a manifest's element type: `uint8` is UINT8."""
    return _OF_MANIFEST[dtype]


def config_datatype(dtype: str) -> str:
    """Return the name that a model configuration has for it: `uint8` is TYPE_UINT8."""
    return f"TYPE_{_OF_MANIFEST[dtype]}"
