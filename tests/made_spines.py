"""Points of a made-up spine, and empty images around it: what the checks of points are tried on."""

from __future__ import annotations

import numpy as np

from lumbargrade.domain.geometry import FloatArray, SlicePlane
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import Condition, Level, SeriesKind, Side, Target
from lumbargrade.domain.volume import Volume, VolumeSlice

T1, T2, AXIAL = SeriesKind
KIND = {Condition.CANAL: T2, Condition.FORAMINAL: T1, Condition.SUBARTICULAR: AXIAL}
LEVELS = list(Level)
Points = dict[Target, FloatArray]


def sagittal(kind: SeriesKind, height: int = 300, top: float = 150.0) -> Volume:
    """Slices of 300 mm by ``height`` mm, 1 mm pixels, 4 mm apart, around the origin."""
    slices = tuple(
        VolumeSlice(
            i + 1, SlicePlane((40.0 - 4 * i, -150.0, top), (0, 1, 0), (0, 0, -1), (1, 1)), 0,
            (height, 300),
        )
        for i in range(21)
    )  # fmt: skip
    return Volume(np.zeros((21, height, 300), np.uint8), slices, "1", kind.name, kind)


def axial() -> Volume:
    """Slices of 200 mm by 200 mm through all levels, 1 mm pixels, 4 mm apart."""
    slices = tuple(
        VolumeSlice(
            i + 1, SlicePlane((-100.0, -100.0, 120.0 - 4 * i), (1, 0, 0), (0, 1, 0), (1, 1)), 0,
            (200, 200),
        )
        for i in range(61)
    )  # fmt: skip
    return Volume(np.zeros((61, 200, 200), np.uint8), slices, "1", AXIAL.name, AXIAL)


VOLUMES = (sagittal(T1), sagittal(T2), axial())


def places(points: Points, volumes: tuple[Volume, ...] = VOLUMES) -> dict[Target, Point]:
    by_kind = {v.kind: v for v in volumes}
    found = {}
    for target, lps in points.items():
        volume = by_kind[KIND[target.condition]]
        x, y, z = volume.from_patient(lps).tolist()
        a, b, c = np.asarray(lps, float).tolist()
        found[target] = Point(target, volume.series_id, 1, (x, y, z), (a, b, c))
    return found


def spine(
    steps: tuple[float, ...] = (33.0, 33.0, 32.0, 29.0),
    bends: tuple[float, ...] = (-8.0, -4.0, 6.0, 20.0),
    curve: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0),
    apart: float = 34.0,
    turn: FloatArray | None = None,
) -> Points:
    """Points in a spine with these distances, mm, and angles from the vertical, degrees.

    Args:
        steps: mm from level to level.
        bends: of each step to the back.
        curve: of each step to the left.
        apart: mm between the foramina.
        turn: of the patient about the middle of the spine.
    """
    back, left = np.radians(bends), np.radians(curve)
    down = np.stack(
        [np.sin(left), np.cos(left) * np.sin(back), -np.cos(left) * np.cos(back)], axis=1
    )
    canal = np.vstack([np.zeros(3), np.cumsum(down * np.array(steps)[:, None], axis=0)])
    canal -= canal.mean(axis=0)
    points: Points = {}
    for i, level in enumerate(LEVELS):
        points[Target(Condition.CANAL, level)] = canal[i]
        for side, sign in ((Side.LEFT, 1), (Side.RIGHT, -1)):
            beside, front = np.array([sign, 0.0, 0.0]), np.array([0.0, -8.0, 0.0])
            points[Target(Condition.FORAMINAL, level, side)] = canal[i] + beside * apart / 2 + front
            points[Target(Condition.SUBARTICULAR, level, side)] = canal[i] + beside * 8
    matrix = np.eye(3) if turn is None else turn
    return {t: matrix @ p for t, p in points.items()}


def rotation(angles: tuple[float, float, float]) -> FloatArray:
    """About the left, back and head axes, degrees."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(angles)):
        one, (a, b) = np.eye(3), [i for i in range(3) if i != axis]
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        matrix = one @ matrix
    return matrix
