"""Crops around points: windows that are moved inside the image instead of being padded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.errors import NothingDone
from lumbargrade.team_two_stage.volumes import SIDE, Slices, nearest

#: Side of a network's crop, pixels.
CROP = 128

#: Grey value of a crop that is not there. The published crop is 0 after normalisation, which is
#: half way between 127 and 128.
GREY = 128


def window(centre: int, size: int, frame: int = SIDE) -> int:
    """Return the start of a window of ``size`` around ``centre``, moved inside the frame."""
    return min(max(centre - size // 2, 0), frame - size)


def plain_crop(slices: Slices, point: NDArray[np.floating]) -> Slices:
    """Cut ``CROP`` x ``CROP`` of every slice around a point whose x and y are truncated."""
    left, top = (window(int(at), CROP) for at in point[:2])
    return slices[:, top : top + CROP, left : left + CROP]


def stretched(volume: Slices, slices: int) -> Slices:
    """Return the volume, repeated to ``slices`` slices (nearest) if it has fewer."""
    return nearest(volume, (slices, *volume.shape[1:])) if len(volume) < slices else volume


def crop_at(volume: Slices, point: NDArray[np.floating], size: tuple[int, int, int]) -> Slices:
    """Cut a crop around a point, moved inside the volume along every axis.

    Args:
        volume: (D, SIDE, SIDE), with at least as many slices as the crop.
        point: x, y, z in pixels and slices; rounded half to even. Nothing is cut if z < 0.
        size: slices, rows and columns of the crop.

    Returns:
        A crop of that size; all `GREY` if z < 0.

    Raises:
        NothingDone: if the volume has fewer slices than the crop, as the published code fails.
    """
    depth, height, width = size
    x, y, z = (int(at) for at in np.round(point[:3]))
    if z < 0:
        return np.full(size, GREY, np.uint8)
    if len(volume) < depth:
        raise NothingDone(
            f"a crop of {depth} slices cannot be cut from {len(volume)} slices, on which the "
            "published code fails; omit short_series_fail to stretch such series"
        )
    top, left = window(y, height), window(x, width)
    first = window(z, depth, len(volume))
    return volume[first : first + depth, top : top + height, left : left + width]


def network_crop(crop: Slices) -> Slices:
    """Resize a crop (D, H, W) to the network's square (nearest); 72 x 128 crops are stretched."""
    return nearest(crop, (CROP, CROP))
