"""Phantoms that take no time to render: bright bars with the marks in their middles."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from lumbargrade.domain.outlines import Mark, Segment, Structure

STREAM_VERSION = 7


def sagittal_sample(seed: int, number: int) -> SimpleNamespace:
    """Five slices of 64 x 64 pixels: a column of three discs in noise."""
    rng = np.random.default_rng([seed, number])
    images = rng.integers(20, 60, (5, 64, 64), np.uint8)
    structures = np.zeros((5, 64, 64), np.uint8)
    segments = np.zeros((5, 64, 64), np.uint8)
    heat = np.zeros((5, 4, 32, 32), np.float32)
    x = int(rng.integers(12, 44))
    for k in range(3):
        y = 6 + 20 * k
        images[:, y : y + 6, x : x + 12] += 150
        structures[:, y : y + 6, x : x + 12] = Structure.DISC
        segments[:, y - 6 : y + 14, x - 4 : x + 16] = Segment.L3_L4 + k
        heat[:, Mark.DISC] += _peak(32, (y + 2.5) / 2, (x + 5.5) / 2)
    return SimpleNamespace(images=images, structures=structures, segments=segments, marks=heat)


def axial_sample(seed: int, number: int) -> SimpleNamespace:
    """A bright square (the sac) with a recess at either side."""
    rng = np.random.default_rng([seed, number])
    image = rng.integers(20, 60, (128, 128), np.uint8)
    structures = np.zeros((128, 128), np.uint8)
    y, x = rng.integers(40, 70, 2)
    image[y : y + 20, x : x + 20] += 150
    structures[y : y + 20, x : x + 20] = 3
    heat = np.stack([_peak(64, (y + 10) / 2, (x + d) / 2) for d in (20, 0)])
    return SimpleNamespace(image=image, structures=structures, recesses=heat.astype(np.float32))


def _peak(size: int, row: float, column: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 4).astype(np.float32)
