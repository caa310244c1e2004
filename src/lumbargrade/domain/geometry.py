"""Slice planes in patient space and in-plane maps between pixel frames.

Conventions used in the whole package:

* Patient coordinates are DICOM LPS (x to the patient's left, y to the back, z to the head), mm.
* Pixel coordinates are ``(x, y)`` = (column, row) with pixel centres at integers, as in the
  DICOM image plane equation (PS3.3 C.7.6.2.1.1) and in the LSDC coordinate table.
* A volume's third coordinate ``z`` is the (fractional) slice index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SlicePlane:
    """One image plane in patient space.

    Attributes:
        position: LPS mm of the centre of the first pixel (ImagePositionPatient), (3,).
        row: unit vector along increasing column index x, (3,).
        column: unit vector along increasing row index y, (3,).
        spacing: mm between (rows, columns), as DICOM PixelSpacing: (dy, dx).
    """

    position: tuple[float, float, float]
    row: tuple[float, float, float]
    column: tuple[float, float, float]
    spacing: tuple[float, float]

    @property
    def normal(self) -> FloatArray:
        """Unit slice normal, row x column, (3,)."""
        # written out because np.cross is ten times slower for one pair of vectors
        (a, b, c), (d, e, f) = self.row, self.column
        return np.array([b * f - c * e, c * d - a * f, a * e - b * d], float)

    @property
    def projection(self) -> float:
        """Position of the plane along its normal, mm."""
        return float(np.asarray(self.position) @ self.normal)

    def to_patient(self, xy: ArrayLike) -> FloatArray:
        """Convert pixels ``(..., 2)`` to LPS mm ``(..., 3)``."""
        p = np.asarray(xy, float)
        dy, dx = self.spacing
        along_row = p[..., :1] * dx * np.asarray(self.row)
        along_column = p[..., 1:2] * dy * np.asarray(self.column)
        return np.asarray(np.asarray(self.position) + along_row + along_column)

    def from_patient(self, lps: ArrayLike) -> FloatArray:
        """Convert LPS mm ``(..., 3)`` to x px, y px and signed distance mm to the plane."""
        d = np.asarray(lps, float) - np.asarray(self.position)
        dy, dx = self.spacing
        axes = np.stack([np.asarray(self.row) / dx, np.asarray(self.column) / dy, self.normal])
        return np.asarray(d @ axes.T)


def apply_homography(matrix: ArrayLike, xy: ArrayLike) -> FloatArray:
    """Map points ``(..., 2)`` by a 3 x 3 matrix acting on (x, y, 1)."""
    p = np.asarray(xy, float)
    m = np.asarray(matrix, float)
    h = p @ m[:, :2].T + m[:, 2]
    return np.asarray(h[..., :2] / h[..., 2:])


def fit_to_frame(shape: tuple[int, int], size: int) -> FloatArray:
    """Return the 3 x 3 map that centres an image in a square frame; the longest side fills it.

    Args:
        shape: (height, width) of the image.
        size: side of the frame in pixels.

    Pixel centres are integers in both frames, so an image of ``size`` x ``size`` maps to
    itself. Invert the map with ``numpy.linalg.inv``.
    """
    height, width = shape
    s = size / max(height, width)
    tx = (size - s * width) / 2 + 0.5 * s - 0.5
    ty = (size - s * height) / 2 + 0.5 * s - 0.5
    return np.array([[s, 0, tx], [0, s, ty], [0, 0, 1.0]])


def scale_frame(old: int, new: int) -> FloatArray:
    """Return the 3 x 3 map from a square frame of ``old`` pixels to one of ``new`` pixels.

    Pixel centres are integers in both frames.
    """
    s = new / old
    t = 0.5 * s - 0.5
    return np.array([[s, 0, t], [0, s, t], [0, 0, 1.0]])


def triple(values: Sequence[float] | NDArray[np.floating]) -> tuple[float, float, float]:
    """Return three numbers as plain floats."""
    a, b, c = (float(v) for v in values)
    return a, b, c
