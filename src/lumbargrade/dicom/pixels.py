"""The pixels of an image whose header was accepted, and stored values to uint8.

Scaling is bit for bit that of the published system, by table where values are integers.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumbargrade.dicom.decode_errors import DECODE_ERRORS, one_line
from lumbargrade.dicom.decoding import decoded
from lumbargrade.dicom.opening import stored_pixels
from lumbargrade.dicom.slices import SliceHeader
from lumbargrade.domain.errors import BadDicom

#: Percentiles that become 0 and 255.
PERCENTILES = (0.1, 99.9)


def to_uint8(stack: Sequence[Pixels]) -> list[NDArray[np.uint8]]:
    """Clip images to their common 0.1 and 99.9 percentiles and scale to 0..255, truncating.

    Percentiles interpolate linearly. Images that are all one value become 0.
    """
    kinds = {p.dtype for p in stack}
    kind = kinds.pop()
    if not kinds and kind.kind in "iu" and kind.itemsize <= 2:
        return _by_table(stack, kind)
    values = np.concatenate([p.ravel() for p in stack])
    low, high = np.percentile(values, PERCENTILES)
    return [_scale(p, low, high) for p in stack]


def _scale(values: Pixels, low: float, high: float) -> NDArray[np.uint8]:
    span = high - low
    if span <= 0:
        return np.zeros(values.shape, np.uint8)
    scaled: NDArray[np.float64] = (np.clip(values, low, high) - low) / span * 255
    return scaled.astype(np.uint8)


def _by_table(stack: Sequence[Pixels], kind: np.dtype[np.generic]) -> list[NDArray[np.uint8]]:
    unsigned = np.dtype(f"u{kind.itemsize}")
    size = 1 << (8 * kind.itemsize)
    # seen as unsigned, negative values follow the positive ones; `order` puts them first again
    views = [p.astype(kind.newbyteorder("="), copy=False).view(unsigned) for p in stack]
    possible = np.arange(size, dtype=unsigned).view(kind.newbyteorder("="))
    counts = np.zeros(size, np.int64)
    for view in views:
        counts += np.bincount(view.ravel(), minlength=size)
    order = np.argsort(possible, kind="stable")
    low, high = _percentiles(possible[order], np.cumsum(counts[order]))
    table = _scale(possible, low, high)
    return [np.take(table, v) for v in views]


def _percentiles(values: Pixels, below: NDArray[np.int64]) -> tuple[float, float]:
    """As ``numpy.percentile``, from sorted values and the count of pixels up to each."""
    last = int(below[-1]) - 1
    found = []
    for q in PERCENTILES:
        at = (q / 100) * last
        i = int(at)
        a, b = (
            float(values[np.searchsorted(below, k, side="right")]) for k in (i, min(i + 1, last))
        )
        # both branches as numpy has them: they differ in the last bit
        t = at - i
        found.append(b - (b - a) * (1 - t) if t >= 0.5 else a + (b - a) * t)
    return found[0], found[1]


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
