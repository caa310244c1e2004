"""Scale the stored values of slices to uint8, bit for bit as the published system does.

Stored integers are never converted to floating point one by one. They are counted; the percentiles
follow from the counts, and a table gives the uint8 value of each stored value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumbargrade.dicom.pixels import Pixels
from lumbargrade.domain.volume import padded

#: Percentiles that become 0 and 255.
PERCENTILES = (0.1, 99.9)

#: One row of this many is in the digest.
_SAMPLED = 16


@dataclass(frozen=True, slots=True)
class Grey:
    """What stored values mean.

    Attributes:
        slope, intercept: of the rescaling, which is applied unless they are 1 and 0.
        inverse: whether larger values are darker (MONOCHROME1); they are negated.
    """

    slope: float = 1.0
    intercept: float = 0.0
    inverse: bool = False

    def of(self, stored: Pixels) -> Pixels:
        """The values that stored values mean; larger is brighter."""
        values = stored
        if (self.slope, self.intercept) != (1.0, 0.0):
            values = values * self.slope + self.intercept
        return np.negative(values, dtype=np.float64) if self.inverse else values


@dataclass(frozen=True, slots=True)
class Image:
    """The stored values of a slice, (rows, columns), and what they mean."""

    stored: Pixels
    grey: Grey = Grey()


def scaled_volume(
    groups: Sequence[Sequence[Image]], *, pad_before_scaling: bool
) -> tuple[NDArray[np.uint8], bytes]:
    """All slices as one array (D, H, W), and a digest; each group is scaled by its own percentiles.

    Duplicates have equal digests. A digest is made from how often each value occurs before scaling,
    and from a sample of the scaled rows.

    Args:
        groups: of slices, of any size; smaller slices are padded by reflection.
        pad_before_scaling: whether padded pixels count for the percentiles.
    """
    height, width = np.max([i.stored.shape for group in groups for i in group], axis=0)
    digest = hashlib.sha256()
    volume = np.empty((sum(map(len, groups)), height, width), np.uint8)
    done = 0
    for group in groups:
        if pad_before_scaling:
            group = [Image(padded(i.stored, height, width), i.grey) for i in group]
        rows, columns = np.max([i.stored.shape for i in group], axis=0)
        same = (rows, columns) == (height, width) and len({i.stored.shape for i in group}) == 1
        out = list(volume[done : done + len(group)])
        scaled, found = _scaled(group, out if same else None)
        digest.update(found)
        if not same:
            # padded after scaling, so that padded pixels do not change the contrast
            for place, image in zip(out, scaled, strict=True):
                place[...] = padded(image, height, width)
        done += len(group)
    digest.update(np.ascontiguousarray(volume[:, ::_SAMPLED]).data)
    return volume, digest.digest()


def to_uint8(stack: Sequence[Pixels]) -> list[NDArray[np.uint8]]:
    """Clip images to their common 0.1 and 99.9 percentiles, scale to 0..255 and truncate.

    Percentiles are interpolated linearly. Constant images become 0.
    """
    return _scaled([Image(p) for p in stack], None)[0]


def _scaled(
    images: Sequence[Image], out: Sequence[NDArray[np.uint8]] | None
) -> tuple[list[NDArray[np.uint8]], bytes]:
    """Images scaled together, and a digest of how often each value occurs."""
    kinds = {i.stored.dtype for i in images}
    kind = kinds.pop()
    if not kinds and kind.kind in "iu" and kind.itemsize <= 2:
        return _by_tables(images, kind, out)
    values = [i.grey.of(i.stored) for i in images]
    flat = np.concatenate([v.ravel() for v in values])
    low, high = np.percentile(flat, PERCENTILES)
    scaled = [_scale(v, low, high) for v in values]
    if out is not None:
        for place, image in zip(out, scaled, strict=True):
            place[...] = image
    return scaled, hashlib.sha256(flat.data).digest()


def _scale(values: Pixels, low: float, high: float) -> NDArray[np.uint8]:
    span = high - low
    if span <= 0:
        return np.zeros(values.shape, np.uint8)
    scaled: NDArray[np.float64] = (np.clip(values, low, high) - low) / span * 255
    return scaled.astype(np.uint8)


def _by_tables(
    images: Sequence[Image], kind: np.dtype[np.generic], out: Sequence[NDArray[np.uint8]] | None
) -> tuple[list[NDArray[np.uint8]], bytes]:
    import cv2  # here, because commands that decode nothing do not need it

    native = kind.newbyteorder("=")
    unsigned = np.dtype(f"u{kind.itemsize}")
    views = [i.stored.astype(native, copy=False).view(unsigned) for i in images]
    size = max(int(v.max()) for v in views) + 1
    counts = {i.grey: np.zeros(size, np.int64) for i in images}
    for image, view in zip(images, views, strict=True):
        counts[image.grey] += _counts(view, size)
    stored = {grey: np.flatnonzero(found) for grey, found in counts.items()}
    values = {grey: grey.of(s.astype(unsigned).view(native)) for grey, s in stored.items()}
    number = np.concatenate([counts[grey][s] for grey, s in stored.items()])
    every = np.concatenate(list(values.values()))
    order = np.argsort(every, kind="stable")
    every, number = every[order], number[order]
    low, high = _percentiles(every, np.cumsum(number))
    tables = {grey: np.zeros(1 << 8 * kind.itemsize, np.uint8) for grey in counts}
    for grey, table in tables.items():
        table[stored[grey]] = _scale(values[grey], low, high)
    places = out or [np.empty(v.shape, np.uint8) for v in views]
    for image, view, place in zip(images, views, places, strict=True):
        cv2.LUT(view, tables[image.grey], place)
    return list(places), hashlib.sha256(np.stack([every, number]).data).digest()


def _counts(view: NDArray[np.unsignedinteger], size: int) -> NDArray[np.int64]:
    """How often each value below ``size`` occurs; several times faster than numpy.bincount."""
    import cv2

    counted = cv2.calcHist([view], [0], None, [size], [0, size])
    return np.asarray(counted.ravel(), np.int64)


def _percentiles(values: Pixels, below: NDArray[np.int64]) -> tuple[float, float]:
    """Like ``numpy.percentile``, from sorted values and cumulative counts of pixels."""
    last = int(below[-1]) - 1
    found = []
    for q in PERCENTILES:
        at = (q / 100) * last
        i = int(at)
        a, b = (
            float(values[np.searchsorted(below, k, side="right")]) for k in (i, min(i + 1, last))
        )
        # numpy has the same two branches; they differ in the last bit
        t = at - i
        found.append(b - (b - a) * (1 - t) if t >= 0.5 else a + (b - a) * t)
    return found[0], found[1]
