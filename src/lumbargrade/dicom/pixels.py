"""The pixels of an image whose header was accepted."""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumbargrade.dicom.decode_errors import DECODE_ERRORS, one_line
from lumbargrade.dicom.decoding import decoded
from lumbargrade.dicom.opening import stored_pixels
from lumbargrade.dicom.slices import SliceHeader
from lumbargrade.domain.errors import BadDicom

#: Stored or rescaled values, (rows, columns), of any number type.
Pixels = NDArray[Any]


def read_pixels(header: SliceHeader) -> tuple[Pixels, tuple[str, ...]]:
    """Decode a slice: its values, (rows, columns), and what the decoder warned of.

    Larger is brighter: MONOCHROME1 values are negated. Rescale slope and intercept are applied
    where they are not 1 and 0. The header's deferred pixel data is not kept, unless other frames
    need it: see :func:`release`.

    Raises:
        BadDicom: if the pixels are truncated, damaged or in an unknown transfer syntax.
    """
    try:
        pixels, caught = _decoded(header)
    finally:
        if not header.frame:
            release(header)
    slope, intercept = header.rescale
    if (slope, intercept) != (1.0, 0.0):
        pixels = pixels * slope + intercept
    if header.inverse:
        pixels = np.negative(pixels, dtype=np.float64)
    return pixels, caught


def _decoded(header: SliceHeader) -> tuple[Pixels, tuple[str, ...]]:
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pixels = decoded(header.path, header.dataset, header.frame)
    except DECODE_ERRORS as error:
        raise BadDicom(f"{header.where}: cannot decode its pixels ({one_line(error)})") from None
    if pixels.shape != header.shape:
        raise BadDicom(f"{header.where}: pixels {pixels.shape} but header {header.shape}")
    return pixels, tuple(one_line(w.message) for w in caught if isinstance(w.message, Warning))


def release(header: SliceHeader) -> None:
    """Free the bytes that pydicom keeps beside the array it made of them."""
    header.dataset.pop("PixelData", None)


def pixel_digest(header: SliceHeader, *, stored: bool) -> bytes:
    """A digest that images have in common if their pixels are the same; the header stays usable.

    Args:
        header: of the image.
        stored: compare the bytes in the file (of one transfer syntax, and of one image per file)
            instead of decoded values.

    Raises:
        BadDicom: if the pixels cannot be read.
    """
    deferred = header.dataset.get_item("PixelData", keep_deferred=True)
    try:
        if stored:
            return hashlib.sha256(stored_pixels(header.dataset)).digest()
        pixels, _ = _decoded(header)
        return hashlib.sha256(np.ascontiguousarray(pixels, np.int64).tobytes()).digest()
    except DECODE_ERRORS as error:
        raise BadDicom(f"{header.path}: cannot read its pixels ({one_line(error)})") from None
    finally:
        if not header.frame:
            header.dataset["PixelData"] = deferred
