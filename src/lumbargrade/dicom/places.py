"""Positions of slices: anatomical planes, parallel slices, and slices at the same place."""

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


#: Maximum tilt of an axial slice about the left-right axis, degrees. Axial slices through L5/S1
#: follow the disc and are tilted by 40 degrees and more; coronal slices follow the spine and are
#: rarely tilted by more than 30 degrees.
_STEEPEST_AXIAL = 60.0


def orientation_of(normal: ArrayLike) -> Orientation:
    """The anatomical plane of a slice with this LPS normal, (3,).

    A slice is sagittal if its normal is nearest to the left-right axis. Otherwise it is axial if
    it is tilted by at most 60 degrees about the left-right axis, else coronal.
    """
    x, y, z = np.abs(np.asarray(normal, float)).tolist()
    if x >= max(y, z):
        return Orientation.SAGITTAL
    tilt = math.degrees(math.atan2(y, z))
    return Orientation.AXIAL if tilt <= _STEEPEST_AXIAL else Orientation.CORONAL


#: Slices whose axes differ by at most this angle, degrees, are parallel. Rounding to three decimals
#: changes axes by 0.06; stacks that were planned at different angles differ by more than 1.
PARALLEL = 0.5
#: Two images lie in one plane, or at one place, up to this distance, mm.
_SAME = 0.05


def partition(
    headers: Iterable[SliceHeader], key: Callable[[SliceHeader], Hashable]
) -> list[list[SliceHeader]]:
    """Groups of headers with the same key, in the order in which the keys first appear."""
    parts: dict[Hashable, list[SliceHeader]] = {}
    for header in headers:
        parts.setdefault(key(header), []).append(header)
    return list(parts.values())


def parallel(headers: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    """Groups of parallel slices; the order of the slices is kept.

    A group is a centre and all slices within `PARALLEL` of it. The slice with the most such
    neighbours becomes the first centre, and so on. So a chain of small steps does not join distant
    slices. If slices form clusters that are no wider than `PARALLEL` and further apart than
    `PARALLEL`, the groups are these clusters, whatever the order of ``headers``.
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


_AXES = ("position", "row", "column")


def centres(headers: Iterable[SliceHeader]) -> FloatArray:
    """The centre of every image, LPS mm, (N, 3)."""
    several = list(headers)
    planes = [h.plane for h in several]
    last = np.array([h.shape for h in several], float) - 1
    y, x = (last / 2 * [p.spacing for p in planes]).T[..., None]
    position, row, column = (np.array([getattr(p, n) for p in planes], float) for n in _AXES)
    return np.asarray(position + x * row + y * column)


def projections(group: Sequence[SliceHeader]) -> FloatArray:
    """Positions of parallel slices along their common normal, mm, (N,).

    The centres of the images are projected on the mean normal, because jitter in the axes of a
    slice would move the projection of its corner by millimetres.
    """
    normal = np.mean([h.plane.normal for h in group], axis=0)
    # summed row by row, so that equal places give bit-identical positions
    return np.asarray((centres(group) * (normal / np.linalg.norm(normal))).sum(axis=1))


def planes(headers: Sequence[SliceHeader]) -> dict[SliceHeader, int]:
    """A number for every image; images in the same plane share it."""
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
    """The number of images in the plane with the most images."""
    return max(Counter(plane_of[h] for h in headers).values(), default=0)


def same_place(first: SliceHeader, second: SliceHeader) -> bool:
    """Whether two images in one plane have the same corner."""
    return np.allclose(first.plane.position, second.plane.position, rtol=0, atol=_SAME)
