"""Volumes as the two-stage networks were trained on them: a square uint8 stack from stored pixels.

Slices are ordered by one coordinate of ImagePositionPatient and resized alone to a square, without
regard to aspect or spacing; the whole stack is then stretched to its own percentiles. None of this
is how the other networks of this package read a series (`lumbargrade.dicom`), so it stays here.
Bit for bit the published volumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Side of a volume, pixels; the crops of the axial networks are cut from the larger one.
SIDE, LARGE_SIDE = 512, 720

#: Percentiles of a volume that become 0 and 255.
PERCENTILES = (1, 99.5)

#: Slices of the black volume that stands for an absent sagittal series.
BLACK_SLICES = 10

Slices = NDArray[np.uint8]


def spatial_order(positions: Sequence[Sequence[float]], *, sagittal: bool) -> NDArray[np.intp]:
    """Return the published order of slices: patient's right first, or head first if axial.

    Only one coordinate counts, not the slice normal, so several stacks of a series interleave.
    The networks were trained on such volumes.

    Args:
        positions: ImagePositionPatient (LPS mm) of every slice.
        sagittal: order by x ascending, not by z descending.
    """
    at = np.array(positions, float).reshape(-1, 3)
    return np.argsort(at[:, 0] if sagittal else -at[:, 2])


def square(image: NDArray[Any], side: int) -> NDArray[np.float32]:
    """Resize a slice to ``side`` x ``side`` as ``skimage.transform.resize`` does with its defaults.

    Bilinear with half-pixel centres and mirrored border, smoothed first if an axis shrinks.
    """
    # imported here, because commands that read no such volume do not need it
    from scipy.ndimage import gaussian_filter, zoom

    values = image.astype(np.float32)
    shrink = np.divide(values.shape, side)
    resized = values
    if (shrink > 1).any():
        resized = gaussian_filter(resized, np.maximum(0, (shrink - 1) / 2), mode="mirror")
    resized = zoom(resized, 1 / shrink, order=1, mode="mirror", grid_mode=True)
    return np.asarray(np.clip(resized, values.min(), values.max()))


def published_volume(images: Sequence[NDArray[Any]], side: int = SIDE) -> Slices:
    """Return the volume (D, side, side) of a series' stored pixel arrays, in the order given.

    The rescale slope is not applied. Images may differ in size.
    """
    volume = np.stack([square(image, side) for image in images])
    low, high = np.percentile(volume, PERCENTILES)
    values = np.clip(volume, low, high)
    values = values - values.min()
    return np.asarray((values / (values.max() + 1e-6) * 255).astype(np.uint8))


def black() -> Slices:
    """Return the volume that stands for an absent sagittal series."""
    return np.zeros((BLACK_SLICES, SIDE, SIDE), np.uint8)


def centre(volume: Slices, side: int) -> Slices:
    """Return the central ``side`` x ``side`` of every slice."""
    rows, columns = ((n - side) // 2 for n in volume.shape[-2:])
    return volume[..., rows : rows + side, columns : columns + side]


def nearest_indices(count: int, wanted: int) -> NDArray[np.intp]:
    """Return the index in an axis of ``count`` of each of ``wanted`` nearest neighbours.

    As ``torch.nn.functional.interpolate`` chooses them: floor(i x count / wanted), in float32.
    """
    scale = np.float32(count) / np.float32(wanted)
    at = np.floor(np.arange(wanted, dtype=np.float32) * scale).astype(np.intp)
    return np.asarray(np.minimum(at, count - 1))


def nearest(volume: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Resize the last ``len(shape)`` axes to ``shape`` by nearest neighbours."""
    for axis, wanted in enumerate(shape, start=volume.ndim - len(shape)):
        if volume.shape[axis] != wanted:
            volume = volume.take(nearest_indices(volume.shape[axis], wanted), axis)
    return volume
