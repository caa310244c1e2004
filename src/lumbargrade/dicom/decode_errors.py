"""The exceptions that pydicom and its decoders raise, and their text on one line."""

from __future__ import annotations

import struct
import zlib

from PIL.Image import DecompressionBombError
from pydicom.errors import BytesLengthException

#: What pydicom and its decoders raise for files that are damaged or of an unknown syntax.
DECODE_ERRORS = (
    BytesLengthException,
    DecompressionBombError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def one_line(error: BaseException) -> str:
    """An error's text on one line, or its name where it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__
