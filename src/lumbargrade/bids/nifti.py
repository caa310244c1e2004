"""Read NIfTI images into volumes: RAS affines to slice planes in LPS millimetres, exactly."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumbargrade.dicom.places import Orientation
from lumbargrade.dicom.scaling import Image, scaled_volume
from lumbargrade.dicom.slices import LARGEST_SIDE
from lumbargrade.domain.errors import BadInput, one_line
from lumbargrade.domain.geometry import FloatArray, SlicePlane
from lumbargrade.domain.upright import AXIAL, FEET, LEFT, SAGITTAL
from lumbargrade.domain.volume import Volume, VolumeSlice
from lumbargrade.files.extras import needs_extra

#: Millimetres per unit of length of a NIfTI header.
_MILLIMETRES = {"mm": 1.0, "unknown": 1.0, "meter": 1e3, "micron": 1e-3}
#: RAS to LPS.
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Most voxels of an image; a header with more is wrong, and reading could exhaust the memory.
_MOST_VOXELS = 1 << 29
#: Slices lie along the axis with the largest voxels if they are larger than the others by this.
_CLEARLY = 1.2
#: Largest cosine between axes that are perpendicular.
_SKEW = 0.01
#: Steps between which numbers that are no whole numbers are distinguished.
_STEPS = 4095


def lps_affine(image: Any, path: Path) -> FloatArray:
    """The map from voxel indices to LPS mm of an opened image, (4, 4).

    Raises:
        BadInput: if the header has no orientation, or its units are unknown.
    """
    header = image.header
    if not (int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0):
        raise BadInput(f"{path}: has no orientation (sform_code and qform_code are 0)")
    unit = header.get_xyzt_units()[0]
    if unit not in _MILLIMETRES:
        raise BadInput(f"{path}: unit of length {unit!r} is unknown")
    affine = np.asarray(image.affine, np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise BadInput(f"{path}: its affine is not one of an image")
    scale = np.diag([*[_MILLIMETRES[unit]] * 3, 1.0])
    return np.asarray(_FLIP @ scale @ affine)


def open_nifti(path: Path) -> tuple[NDArray[Any], FloatArray]:
    """The stored or rescaled values of an image (I, J, K), and its map to LPS mm.

    Raises:
        BadInput: if it is damaged, has several volumes or colours, or its geometry is unusable.
    """
    with needs_extra("reading NIfTI files"):
        import nibabel

    try:
        image = nibabel.Nifti1Image.from_filename(path)
        shape = image.shape
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) != 3:
            raise BadInput(f"{path}: has shape {image.shape}; give an image with three dimensions")
        if max(shape) > LARGEST_SIDE or min(shape) < 1 or math.prod(shape) > _MOST_VOXELS:
            limits = f"at most {LARGEST_SIDE} along an axis and {_MOST_VOXELS} voxels are read"
            raise BadInput(f"{path}: has shape {shape}; {limits}")
        stored = image.header.get_data_dtype()
        if stored.fields is not None or stored.kind not in "iuf":
            raise BadInput(f"{path}: is a colour or complex image")
        affine = lps_affine(image, path)
        values = np.asarray(image.dataobj).reshape(shape)
        if not np.isfinite(values).any():
            raise BadInput(f"{path}: has no voxel with a number; convert the images again")
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
        raise BadInput(f"{path}: not a NIfTI image, or damaged ({one_line(error)})") from None
    except (OSError, EOFError, ValueError, zlib.error, ArithmeticError) as error:
        raise BadInput(f"{path}: damaged or unreadable ({one_line(error)})") from None
    return values, affine


def slice_axis(affine: FloatArray, wanted: Orientation | None) -> int:
    """The axis along which the slices lie: that of the largest voxels, else that of the plane.

    Args:
        affine: map to LPS mm.
        wanted: the plane that the name of the file says; for images with equal voxels.
    """
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    order = np.argsort(sizes)
    if sizes[order[2]] > _CLEARLY * sizes[order[1]]:
        return int(order[2])
    normal = -FEET if wanted is Orientation.AXIAL else LEFT
    return int(np.argmax(np.abs(affine[:3, :3].T @ normal) / sizes))


def volume_of(path: Path, study_id: str, series_id: str, wanted: Orientation | None) -> Volume:
    """Read an image as a volume without a kind.

    Images are stored as they are shown: columns run to the back and rows to the feet in sagittal
    images, to the left and to the back in axial ones. Voxels are only turned and mirrored.

    Raises:
        BadInput: if it cannot be used.
    """
    values, affine = open_nifti(path)
    across = slice_axis(affine, wanted)
    moved, affine = _upright(values, affine, across)
    axes = affine[:3, :3]
    dx, dy, _ = np.linalg.norm(axes, axis=0).tolist()
    row, column = axes[:, 0] / dx, axes[:, 1] / dy
    if abs(float(row @ column)) > _SKEW:
        raise BadInput(f"{path}: rows and columns of its affine are not perpendicular")
    slices = tuple(
        VolumeSlice(
            instance_number=z + 1,
            plane=SlicePlane(
                _triple(affine[:3, 3] + z * axes[:, 2]), _triple(row), _triple(column), (dy, dx)
            ),
            group=0,
            shape=(moved.shape[1], moved.shape[0]),
            file=path.name,
        )
        for z in range(moved.shape[2])
    )
    images = [Image(np.ascontiguousarray(image.T)) for image in np.moveaxis(_whole(moved), 2, 0)]
    pixels, _ = scaled_volume([images], pad_before_scaling=False)
    return Volume(pixels, slices, study_id, series_id)


def _upright(
    values: NDArray[Any], affine: FloatArray, across: int
) -> tuple[NDArray[Any], FloatArray]:
    """Reorder and reverse axes to (columns, rows, slices) of an upright image, with the affine."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    sagittal = abs(axes[0, across]) == np.abs(axes[:, across]).max()
    pose = SAGITTAL if sagittal else AXIAL
    inside = [a for a in range(3) if a != across]
    first = max(inside, key=lambda a: abs(float(axes[:, a] @ pose.columns)))
    second = next(a for a in inside if a != first)
    order = [first, second, across]
    values, affine = values.transpose(order), affine[:, [*order, 3]].copy()
    for axis, direction in enumerate((pose.columns, pose.rows, pose.slices)):
        if affine[:3, axis] @ direction < 0:
            values = np.flip(values, axis)
            affine[:3, 3] += affine[:3, axis] * (values.shape[axis] - 1)
            affine[:3, axis] *= -1
    return values, affine


def _whole(values: NDArray[Any]) -> NDArray[Any]:
    """The values as whole numbers of 16 bits, which the reader scales fast; order is kept."""
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
        return values
    finite = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(finite.min()), float(finite.max())
    if (finite == np.rint(finite)).all() and low >= -32768 and high <= 32767:
        return finite.astype(np.int16)
    span = high - low or 1.0
    return np.asarray(np.rint((finite - low) / span * _STEPS), np.uint16)


def _triple(values: FloatArray) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z


def ras_affine(volume: Volume, group: int) -> FloatArray | None:
    """The map from (column, row, slice of the stack) to RAS mm; None if gaps are uneven.

    Args:
        volume: the volume.
        group: the stack.
    """
    own = [s.plane for s in volume.slices if s.group == group]
    first = own[0]
    dy, dx = first.spacing
    normal = first.normal
    places = np.array([p.position for p in own])
    if len(own) > 1:
        step = (places[-1] - places[0]) / (len(own) - 1)
        even = places[0] + np.arange(len(own))[:, None] * step
        if np.abs(even - places).max() > 0.1 * max(float(np.linalg.norm(step)), 1e-6):
            return None
    else:
        step = normal
    affine = np.eye(4)
    affine[:3] = np.column_stack(
        [np.array(first.row) * dx, np.array(first.column) * dy, step, first.position]
    )
    return np.asarray(_FLIP @ affine)


def plane_named(acquisition: str) -> Orientation | None:
    """The plane that an ``acq`` label says."""
    label = acquisition.lower()
    for words, plane in ((("sag",), Orientation.SAGITTAL), (("ax", "tra"), Orientation.AXIAL)):
        if any(word in label for word in words):
            return plane
    return None
