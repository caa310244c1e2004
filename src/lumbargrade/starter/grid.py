"""The grids that the starter's networks see, and the maps back to native voxels.

Training and grading use the same functions, so a network sees the same kind of image in both.

* **Sagittal**: upright slices (columns to the back, rows to the feet, slices from the patient's
  left to right) with square pixels of `SAGITTAL_MM`, padded with zeros at the bottom and right to
  multiples of `MULTIPLE`. A network sees each slice with its two neighbours as three channels.
* **Axial**: `AXIAL_SIZE` x `AXIAL_SIZE` pixels of `AXIAL_MM` around a point of one upright slice
  (columns to the patient's left, rows to the back), one channel.

Pixel centres are integers in all frames. A pixel of a coarser output map of stride ``s`` covers
``s`` x ``s`` grid pixels; see `fine`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lumbargrade.domain.geometry import FloatArray, apply_homography
from lumbargrade.domain.outlines import AXIAL_MM, AXIAL_SIZE, SAGITTAL_MM
from lumbargrade.domain.point import Point, Xyz
from lumbargrade.domain.upright import AXIAL, SliceMaps, Upright
from lumbargrade.domain.vocabulary import Target
from lumbargrade.domain.volume import Volume

#: Height and width of a sagittal grid are multiples of this.
MULTIPLE = 32
#: Standard deviation of the local mean that removes coil shading, mm. Larger than a vertebra with
#: its disc is deep, so that the contrast between neighbouring tissues stays.
SHADING_MM = 24.0
#: Share of the global mean that is added to the local mean, so that air is not amplified.
_FLOOR = 0.1
#: Largest ratio to the local mean that is kept, and the factor after it.
_BRIGHTEST, _GAIN = 4.0, 0.5

Images = NDArray[np.float32]


def flatten(image: NDArray[np.uint8] | Images, mm: float) -> Images:
    """Remove coil shading: divide an image by its local mean.

    The field is the rectangle of rows and columns with any non-zero pixel. Padding and black
    borders lie outside it; they do not count in the means and stay 0.

    Args:
        image: (H, W), not negative.
        mm: side of a pixel.

    Returns:
        float32 (H, W), 0 to 2, about 0.5 on average inside the field. A black image stays black.
    """
    source = np.asarray(image, np.float32)
    result = np.zeros_like(source)
    rows, columns = np.flatnonzero(source.any(axis=1)), np.flatnonzero(source.any(axis=0))
    if not rows.size:
        return result
    field = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inside = np.ascontiguousarray(source[field])
    means = _blurred(inside, mm) / _blurred(np.ones_like(inside), mm)
    ratio = inside / (means + np.float32(_FLOOR) * inside.mean())
    result[field] = np.clip(ratio, 0, _BRIGHTEST) * np.float32(_GAIN)
    return result


def _blurred(image: Images, mm: float) -> Images:
    sigma = SHADING_MM / mm
    blurred = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred, np.float32)


def neighbours(groups: ArrayLike) -> NDArray[np.intp]:
    """Return the slices that a network sees with each slice: the one before, itself, the next.

    At the ends of a stack the end slice is repeated, so a single slice is seen three times.

    Args:
        groups: (D,) stack of each slice; slices of one stack follow each other.

    Returns:
        Indices (D, 3); ``images[neighbours(groups)]`` is the network input (D, 3, H, W).
    """
    stack = np.asarray(groups)
    each = np.arange(len(stack))
    before, after = np.maximum(each - 1, 0), np.minimum(each + 1, len(stack) - 1)
    before = np.where(stack[before] == stack, before, each)
    after = np.where(stack[after] == stack, after, each)
    return np.stack([before, each, after], axis=1)


def fine(coarse: ArrayLike, stride: int) -> FloatArray:
    """Convert pixel coordinates of an output map to those of the grid.

    Args:
        coarse: coordinates in the map, of any shape.
        stride: grid pixels per pixel of the map.
    """
    return np.asarray((np.asarray(coarse, float) + 0.5) * stride - 0.5)


def coarse(fine: ArrayLike, stride: int) -> FloatArray:
    """Convert pixel coordinates of the grid to those of an output map: the inverse of `fine`."""
    return np.asarray((np.asarray(fine, float) + 0.5) / stride - 0.5)


def fine_matrix(stride: int) -> FloatArray:
    """Return `fine` as a 3 x 3 map."""
    return _scaling((stride, stride), (stride / 2 - 0.5, stride / 2 - 0.5))


def summit(heat: NDArray[np.floating[Any]], at: int) -> float:
    """Return how far the summit lies from a highest value: a parabola through the logarithms.

    This is exact for a Gaussian. At the end of a row there is nothing to interpolate.
    """
    if not 0 < at < len(heat) - 1:
        return 0.0
    low, middle, high = np.log(np.maximum(heat[at - 1 : at + 2], 1e-4)).tolist()
    bend = low - 2 * middle + high
    return float(np.clip(0.5 * (low - high) / bend, -0.5, 0.5)) if bend < 0 else 0.0


@dataclass(frozen=True, eq=False)
class SagittalGrid:
    """A sagittal series on the grid.

    Attributes:
        volume: the series.
        grey: uint8 (D, H, W), its upright slices resampled; 0 outside the images.
        groups: (D,) stack of each slice.
        maps: pixels and slices of the grid to native voxels and back.
    """

    volume: Volume
    grey: NDArray[np.uint8]
    groups: NDArray[np.intp]
    maps: SliceMaps

    @classmethod
    def of(cls, volume: Volume) -> SagittalGrid:
        """Resample a series. Stacks and slices may differ in size, spacing and orientation."""
        upright = Upright.of(volume)
        zs = upright.maps.zs.tolist()
        slices, scales = [], []
        for z in zs:
            height, width = upright.turns[z].shape(volume.slices[z].shape)
            slices.append(upright.image(volume, z)[:height, :width])
            dy, dx = upright.plane(volume, z).spacing
            scales.append((SAGITTAL_MM / dy, SAGITTAL_MM / dx))
        sizes = [
            [_padded(np.ceil(n / s)) for n, s in zip(image.shape, scale, strict=True)]
            for image, scale in zip(slices, scales, strict=True)
        ]
        height, width = np.max(sizes, axis=0).tolist()
        grey = np.empty((len(zs), height, width), np.uint8)
        matrices = np.empty((len(zs), 3, 3))
        for k, (image, (down, across)) in enumerate(zip(slices, scales, strict=True)):
            # the upper left corners of the first pixels coincide
            to_upright = _scaling((across, down), (across / 2 - 0.5, down / 2 - 0.5))
            grey[k] = _resampled(image, to_upright, (height, width))
            matrices[k] = upright.maps.matrices[k] @ to_upright
        groups = np.array([volume.slices[z].group for z in zs])
        return cls(volume, grey, groups, SliceMaps(upright.maps.zs, matrices))

    @cached_property
    def images(self) -> Images:
        """The slices without coil shading, float32 (D, H, W)."""
        return np.stack([flatten(image, SAGITTAL_MM) for image in self.grey])

    def field(self, k: int) -> NDArray[np.bool_]:
        """Return which pixels of slice ``k`` the image covers, bool (H, W)."""
        rows, columns = np.indices(self.grey.shape[1:])
        native = apply_homography(self.maps.matrices[k], np.stack([columns, rows], axis=-1))
        height, width = self.volume.slices[int(self.maps.zs[k])].shape
        inside = (native >= -0.5) & (native <= np.array([width, height]) - 0.5)
        return np.asarray(inside.all(axis=-1))

    def to_patient(self, points: ArrayLike) -> FloatArray:
        """Convert points (P, 3), column, row and slice of the grid, to LPS mm."""
        return self.volume.to_patient(self.maps.to_native(points))

    def from_patient(self, lps: ArrayLike) -> FloatArray:
        """Convert LPS mm (P, 3) to column, row and slice of the grid, clamped to its ends."""
        return self.maps.from_native(self.volume.from_patient(lps))

    def point(self, target: Target, at: ArrayLike) -> Point:
        """Return the point of a target at column, row and slice (3,) of the grid."""
        return _point(self.volume, target, self.maps.to_native([np.asarray(at, float)])[0])


@dataclass(frozen=True, eq=False, slots=True)
class AxialCrop:
    """A square around a point of one axial slice.

    Attributes:
        volume: the series.
        z: index of the slice in the volume.
        grey: uint8 (`AXIAL_SIZE`, `AXIAL_SIZE`), resampled upright; 0 outside the image.
        to_native: 3 x 3 map from pixels of the crop to native pixels.
    """

    volume: Volume
    z: int
    grey: NDArray[np.uint8]
    to_native: FloatArray

    @classmethod
    def around(cls, volume: Volume, z: int, centre: ArrayLike) -> AxialCrop:
        """Cut the square around the projection of a point.

        Args:
            volume: an axial series.
            z: index of the slice.
            centre: (3,) LPS mm, in the space of the series.
        """
        upright = Upright.of(volume, AXIAL)
        plane = upright.plane(volume, z)
        dy, dx = plane.spacing
        scale = np.array([AXIAL_MM / dx, AXIAL_MM / dy])
        corner = plane.from_patient(centre)[:2] - scale * (AXIAL_SIZE - 1) / 2
        matrix = _scaling(scale, corner)
        height, width = upright.turns[z].shape(volume.slices[z].shape)
        image = upright.image(volume, z)[:height, :width]
        grey = _resampled(image, matrix, (AXIAL_SIZE, AXIAL_SIZE))
        return cls(volume, z, grey, upright.to_stored(volume, z) @ matrix)

    def image(self) -> Images:
        """Return the crop without coil shading, float32 (`AXIAL_SIZE`, `AXIAL_SIZE`)."""
        return flatten(self.grey, AXIAL_MM)

    def voxels(self, points: ArrayLike) -> FloatArray:
        """Convert pixels (P, 2) of the crop to native voxels (P, 3)."""
        pixels = np.asarray(points, float).reshape(-1, 2)
        maps = SliceMaps(np.array([0]), self.to_native[None])
        voxels = maps.to_native(np.column_stack([pixels, np.zeros(len(pixels))]))
        voxels[:, 2] = self.z
        return voxels

    def to_patient(self, points: ArrayLike) -> FloatArray:
        """Convert pixels (P, 2) of the crop to LPS mm (P, 3)."""
        return self.volume.to_patient(self.voxels(points))

    def from_patient(self, lps: ArrayLike) -> FloatArray:
        """Project LPS mm (P, 3) into the slice: pixels of the crop (P, 2)."""
        local = self.volume.slices[self.z].plane.from_patient(np.asarray(lps, float).reshape(-1, 3))
        local[:, 2] = 1
        return np.asarray((local @ np.linalg.inv(self.to_native).T)[:, :2])

    def point(self, target: Target, at: ArrayLike) -> Point:
        """Return the point of a target at column and row (2,) of the crop."""
        return _point(self.volume, target, self.voxels([np.asarray(at, float)])[0])


def _point(volume: Volume, target: Target, voxel: FloatArray) -> Point:
    nearest = int(volume.nearest_slices(voxel[2:])[0])
    number = volume.slices[nearest].instance_number
    patient = volume.to_patient(voxel)
    return Point(target, volume.series_id, number, _xyz(voxel), _xyz(patient))


def _xyz(values: FloatArray) -> Xyz:
    x, y, z = values.tolist()
    return x, y, z


def _padded(size: float) -> int:
    return max(1, int(np.ceil(size / MULTIPLE))) * MULTIPLE


def _scaling(scale: ArrayLike, offset: ArrayLike) -> FloatArray:
    """Return the 3 x 3 map ``(x, y) -> scale * (x, y) + offset``."""
    matrix = np.eye(3)
    matrix[[0, 1], [0, 1]] = scale
    matrix[:2, 2] = offset
    return matrix


def _resampled(
    image: NDArray[np.uint8], matrix: FloatArray, shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """Resample an image to a grid whose axes are those of the image.

    Interpolation is linear; where the grid is coarser than the image, pixels are averaged with a
    triangle as wide as two grid pixels, so that nothing is skipped (no aliasing).

    Args:
        image: uint8 (h, w).
        matrix: scaling from grid pixels to image pixels.
        shape: (H, W) of the grid; pixels whose centre lies outside the image are 0.
    """
    rows = _weights(shape[0], image.shape[0], matrix[1, 1], matrix[1, 2])
    columns = _weights(shape[1], image.shape[1], matrix[0, 0], matrix[0, 2])
    resampled = rows @ image.astype(np.float32) @ columns.T
    return np.asarray(np.clip(np.rint(resampled), 0, 255), np.uint8)


def _weights(count: int, size: int, scale: float, offset: float) -> Images:
    """Return the weights (count, size) of the samples of one axis in each grid pixel."""
    centres = offset + scale * np.arange(count)
    distance = np.abs(centres[:, None] - np.arange(size)) / max(scale, 1.0)
    weights = np.clip(1 - distance, 0, None)
    weights[(centres < -0.5) | (centres > size - 0.5)] = 0
    total = weights.sum(axis=1, keepdims=True)
    return np.asarray(weights / np.where(total > 0, total, 1), np.float32)
