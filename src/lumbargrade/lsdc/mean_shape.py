"""Mean shapes of labelled points, from generalised Procrustes analysis or from a file."""

from __future__ import annotations

import io
import tokenize
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lumbargrade.domain.errors import BadInput
from lumbargrade.domain.geometry import FloatArray, apply_homography, fit_to_frame
from lumbargrade.domain.upright import Upright, pose_of
from lumbargrade.domain.vocabulary import Condition, Level
from lumbargrade.domain.volume import Volume
from lumbargrade.lsdc.rows import SeriesRow

#: Side of the square frame in which mean shapes and augmentation are described, pixels.
FRAME = 512

#: Largest distance of a point of a mean shape outside the frame, pixels.
_OUTSIDE = 64

#: Layouts of mean shape files: shape of the array -> its condition, and what it holds.
_LAYOUTS = {
    (10, 2): (Condition.FORAMINAL, "left L1/L2 to L5/S1, then right, as x, y"),
    (20,): (Condition.CANAL, "anterior and posterior x, y of each level, from the frame's centre"),
    (5, 2): (Condition.CANAL, "L1/L2 to L5/S1, as x, y"),
}

#: Largest size of a mean shape file, bytes; ours are far smaller.
_LONGEST = 1 << 20

#: Exceptions that numpy raises for files that are not arrays.
_UNREADABLE = (
    ValueError,
    EOFError,
    SyntaxError,
    tokenize.TokenError,
    TypeError,
    LookupError,
    OverflowError,
    MemoryError,
    NotImplementedError,
)


def mean_shape(shapes: ArrayLike, *, iterations: int = 50, tolerance: float = 1e-10) -> FloatArray:
    """Compute the mean of point sets that differ by shift, rotation and size.

    Generalised Procrustes (Gower 1975): centre every shape, scale it to unit size, rotate and scale
    it onto the current mean, average, repeat. The result gets the mean position, orientation and
    size of the shapes, so it can be drawn in their frame.

    Args:
        shapes: (N, P, 2) points without NaN; N >= 1, P >= 2, not all points of a shape equal.

    Returns:
        (P, 2) in the frame of ``shapes``.

    Raises:
        ValueError: if there is no shape, or the points of one coincide.
    """
    points = np.asarray(shapes, float)
    if points.ndim != 3 or points.shape[0] == 0 or points.shape[2] != 2:
        raise ValueError(f"expected (N, P, 2) points with N > 0, got {points.shape}")
    # A planar similarity is one complex factor, so alignment needs no SVD.
    z: NDArray[np.complex128] = points[..., 0] + 1j * points[..., 1]
    centres = z.mean(axis=1)
    z = z - centres[:, None]
    sizes = np.linalg.norm(z, axis=1)
    if not (sizes > 0).all():
        raise ValueError("the points of a shape coincide")
    z = z / sizes[:, None]
    upright = z.mean(axis=0)
    mean = upright / np.linalg.norm(upright)
    for _ in range(iterations):
        factors = (z.conj() @ mean)[:, None]
        new = (z * factors).mean(axis=0)
        new = new / np.linalg.norm(new)
        moved = float(np.linalg.norm(new - mean))
        mean = new
        if moved < tolerance:
            break
    # No step rotates the mean, so it has the average orientation of the shapes.
    mean = mean * sizes.mean() + centres.mean()
    return np.stack([mean.real, mean.imag], axis=-1)


def frame_shapes(rows: Iterable[SeriesRow], volume_of: Callable[[str, str], Volume]) -> FloatArray:
    """Return in-plane points of all rows that have every point, in the 512 frame, (N, P, 2).

    Points are in the upright volumes, as networks see them.

    Args:
        volume_of: gives the volume of a study's series, by ids.
    """
    shapes = []
    for row in rows:
        if np.isfinite(row.points).all():
            volume = volume_of(row.study_id, row.series_id)
            upright = Upright.of(volume, pose_of(row.kind))
            points = upright.points(row.points)[:, :2]
            shapes.append(apply_homography(fit_to_frame(upright.shape, FRAME), points))
    return np.array(shapes)


def read_mean_shape(path: Path, condition: Condition) -> FloatArray:
    """Read a mean shape from a ``.npy`` file in the published layout or in our own.

    ======== ================================================================================
    (10, 2)  foraminal, published: left L1/L2 to L5/S1, then right
    (20,)    canal, published: (anterior, posterior) x (x, y) of each level, relative to the
             frame's centre (256, 256); only the posterior points are used
    (5, 2)   canal, our own: L1/L2 to L5/S1
    ======== ================================================================================

    Returns:
        (P, 2) absolute pixels x, y of a 512 x 512 frame, in the order of the condition's targets.

    Raises:
        BadInput: if there is no such file; it is not an array of finite numbers in one of these
            layouts, or in that of another condition; points lie far outside the frame, or a level
            is not below the level before it.
    """
    array = _read_array(path)
    if array.shape not in _LAYOUTS:
        known = "; ".join(f"{s} {c}: {what}" for s, (c, what) in _LAYOUTS.items())
        raise BadInput(f"{path}: array of shape {array.shape}; a mean shape is one of {known}")
    found, layout = _LAYOUTS[array.shape]
    if found is not condition:
        raise BadInput(
            f"{path}: shape {array.shape} is the layout of {found} ({layout}), but the recipe "
            f"needs the mean shape of {condition}; give the other file"
        )
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise BadInput(f"{path}: not all of its values ({array.dtype}) are finite numbers")
    points = np.asarray(array, np.float64)
    if points.ndim == 1:
        points = points.reshape(len(Level), 2, 2)[:, 1] + FRAME / 2
    if (points < -_OUTSIDE).any() or (points > FRAME + _OUTSIDE).any():
        worst = points[np.abs(points - FRAME / 2).max(axis=1).argmax()]
        raise BadInput(
            f"{path}: the point ({worst[0]:.1f}, {worst[1]:.1f}) lies outside the {FRAME} x "
            f"{FRAME} frame; give the mean shape in pixels of that frame"
        )
    if (np.diff(points[:, 1].reshape(-1, len(Level))) <= 0).any():
        raise BadInput(
            f"{path}: y does not grow from L1/L2 to L5/S1; give x before y, and the levels from "
            "top to bottom"
        )
    return points


def _read_array(path: Path) -> NDArray[np.generic]:
    if not path.is_file():
        raise BadInput(f"{path}: no such file; give a mean shape as .npy")
    try:
        with path.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # files of Python 2 are read all the same
            # a header may state any size, so the bytes are read first
            content = io.BytesIO(stream.read(_LONGEST))
            return np.asarray(np.lib.format.read_array(content, allow_pickle=False))
    except _UNREADABLE:
        raise BadInput(
            f"{path}: not a readable .npy file; write one with numpy.save(file, points)"
        ) from None
