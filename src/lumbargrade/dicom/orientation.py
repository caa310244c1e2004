"""Which anatomical plane a slice shows."""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike


class Orientation(StrEnum):
    """The anatomical plane of a slice."""

    SAGITTAL = "sagittal"
    CORONAL = "coronal"
    AXIAL = "axial"


#: Greatest tilt of an axial slice about the left-right axis, degrees. The slices of a lumbosacral
#: stack follow the disc L5/S1 and tilt by 40 degrees and more; a coronal slice follows the spine,
#: and is hardly ever tilted by more than 30 degrees.
_STEEPEST_AXIAL = 60.0


def orientation_of(normal: ArrayLike) -> Orientation:
    """The plane of a slice with this LPS normal, (3,).

    A slice is sagittal if its normal is nearest to the left-right axis. Any other is axial where
    it cuts across the spine, though it may be tilted towards it, and coronal where it runs along.
    """
    x, y, z = np.abs(np.asarray(normal, float)).tolist()
    if x >= max(y, z):
        return Orientation.SAGITTAL
    tilt = math.degrees(math.atan2(y, z))
    return Orientation.AXIAL if tilt <= _STEEPEST_AXIAL else Orientation.CORONAL
