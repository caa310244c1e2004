"""Stacks of slices made up for tests, anywhere in the patient and at any angle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.upright import Turn
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume, VolumeSlice

SHAPE = (60, 50)

#: Columns are the row, the column and the normal direction of a slice.
AXIAL = np.eye(3)
SAGITTAL = np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]])


def turned(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> NDArray[np.float64]:
    """A rotation about the patient's axes, degrees."""
    result = np.eye(3)
    for axis, angle in enumerate((x, y, z)):
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        one = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        one[i, i] = one[j, j] = c
        one[i, j], one[j, i] = -s, s
        result = one @ result
    return result


def make_stack(
    axes: ArrayLike = AXIAL,
    middle: ArrayLike = (0.0, 0.0, 0.0),
    count: int = 5,
    gap: float = 4.0,
    *,
    shape: tuple[int, int] = SHAPE,
    spacing: tuple[float, float] = (1.0, 1.0),
    group: int = 0,
    first: int = 1,
) -> list[VolumeSlice]:
    """Slices along the normal of ``axes`` whose common centre lies at ``middle``, LPS mm."""
    row, column, normal = np.asarray(axes, float).T
    centre = np.asarray(middle, float)
    corner = (
        centre - row * spacing[1] * (shape[1] - 1) / 2 - column * spacing[0] * (shape[0] - 1) / 2
    )
    return [
        VolumeSlice(
            instance_number=first + i,
            plane=SlicePlane(
                tuple((corner + (i - (count - 1) / 2) * gap * normal).tolist()),
                tuple(row.tolist()),
                tuple(column.tolist()),
                spacing,
            ),
            group=group,
            shape=shape,
        )
        for i in range(count)
    ]


def make_series(
    slices: Sequence[VolumeSlice],
    series: str = "1",
    kind: SeriesKind = SeriesKind.AXIAL_T2,
    frame: str = "f",
    *,
    pixels: NDArray[np.uint8] | None = None,
    study: str = "9",
) -> Volume:
    """A series; black where no pixels are given."""
    if pixels is None:
        shape = np.max([s.shape for s in slices], axis=0)
        pixels = np.zeros((len(slices), *shape), np.uint8)
    return Volume(pixels, tuple(slices), study, series, kind, frame)


def stored(volume: Volume, turn: Turn, *, backwards: bool) -> Volume:
    """The volume as somebody else stores it: the turn, and its slices in the other order."""
    pixels, slices = [], []
    for image, s in zip(volume.pixels, volume.slices, strict=True):
        pixels.append(turn.pixels(image))
        plane = turn.plane(s.plane, s.shape)
        slices.append(replace(s, plane=plane, shape=turn.shape(s.shape)))
    step = -1 if backwards else 1
    return replace(volume, pixels=np.stack(pixels)[::step], slices=tuple(slices[::step]))
