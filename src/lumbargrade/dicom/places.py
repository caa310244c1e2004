"""Where slices lie: anatomical planes, parallel slices, and slices of the same place."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from lumbargrade.dicom.slices import SliceHeader
from lumbargrade.domain.geometry import FloatArray


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


#: Slices whose axes differ by at most this angle, degrees, are parallel. Axes that were rounded to
#: three decimals differ by 0.06; stacks that were planned apart by more than a degree.
PARALLEL = 0.5
#: Distance, mm, up to which two images lie in one plane, or at one place.
_SAME = 0.05


def partition(
    headers: Iterable[SliceHeader], key: Callable[[SliceHeader], Hashable]
) -> list[list[SliceHeader]]:
    """Parts that share a key, in the order in which the keys are first seen."""
    parts: dict[Hashable, list[SliceHeader]] = {}
    for header in headers:
        parts.setdefault(key(header), []).append(header)
    return list(parts.values())


def parallel(headers: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    """Slices in groups of the same row and column direction, in the order given.

    A group holds the slices within `PARALLEL` of one of them, the one with the most such slices
    first, so that a chain of small steps does not join what is apart, and the order of ``headers``
    does not matter: if slices fall into sets that are no wider than `PARALLEL` and further than
    that from each other, the groups are these sets.
    """
    if not headers:
        return []
    axes = np.array([(*h.plane.row, *h.plane.column, *h.plane.normal) for h in headers])
    unique, which, counts = np.unique(axes, axis=0, return_inverse=True, return_counts=True)
    # the Frobenius distance of two rotations is 2 sqrt(2) times the sine of half their angle
    chord = 2 * np.sqrt(2) * np.sin(np.radians(PARALLEL) / 2)
    squares = (unique**2).sum(axis=1)
    near = squares[:, None] + squares - 2 * unique @ unique.T <= chord**2
    group_of = np.full(len(unique), -1)
    while (left := group_of < 0).any():
        neighbours = (near[:, left] * counts[left]).sum(axis=1)
        centre = np.argmax(np.where(left, neighbours, -1))
        group_of[near[centre] & left] = centre
    groups: dict[int, list[SliceHeader]] = {}
    for header, kind in zip(headers, which.ravel(), strict=True):
        groups.setdefault(int(group_of[kind]), []).append(header)
    return list(groups.values())


def centres(headers: Iterable[SliceHeader]) -> FloatArray:
    """LPS mm of the middle of every image, (N, 3)."""
    return np.array(
        [h.plane.to_patient(((h.shape[1] - 1) / 2, (h.shape[0] - 1) / 2)) for h in headers]
    )


def projections(group: Sequence[SliceHeader]) -> FloatArray:
    """Place of parallel slices along their common normal, mm (N,).

    Of the middle of the images and one normal for all: jitter of a slice's own axes moves the
    projection of its corner by millimetres.
    """
    normal = np.mean([h.plane.normal for h in group], axis=0)
    # a sum row by row, so that equal places have equal numbers to the last bit
    return np.asarray((centres(group) * (normal / np.linalg.norm(normal))).sum(axis=1))


def planes(headers: Sequence[SliceHeader]) -> dict[SliceHeader, int]:
    """A number for every image, which those in one plane of space share."""
    numbers: dict[SliceHeader, int] = {}
    last = -1
    for group in parallel(headers):
        along = projections(group)
        begin = -np.inf
        for i in np.argsort(along, kind="stable"):
            if along[i] - begin > _SAME:
                begin, last = along[i], last + 1
            numbers[group[i]] = last
    return numbers


def most_in_one_plane(headers: Iterable[SliceHeader], plane_of: Mapping[SliceHeader, int]) -> int:
    """How many of some images lie in the plane that holds most of them."""
    return max(Counter(plane_of[h] for h in headers).values(), default=0)


def same_place(first: SliceHeader, second: SliceHeader) -> bool:
    """Whether two images of one plane begin at the same place of it."""
    return np.allclose(first.plane.position, second.plane.position, rtol=0, atol=_SAME)
