"""Stored values to uint8, bit for bit as the published system, by table where values are integers.

For 8 and 16 bit integers a histogram gives the same order statistics as sorting, and a table of
the possible values gives the same result as scaling every pixel, both several times faster.

The one exception are signed integers whose neighbouring values lie further apart than their type
can hold (32,767 for 16 bits), which no scanner makes: there, numpy's percentile overflows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lumbargrade.dicom.pixels import Pixels

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
