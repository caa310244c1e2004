"""Plan a study: its series, slices, points and grades, and which of them are missing.

The rates of missing series, points and grades are those of the LSDC training tables (1,975
studies).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import (
    KIND_OF,
    TABLE_ORDER,
    TARGETS,
    Condition,
    Grade,
    Level,
    SeriesKind,
    Side,
    Target,
)
from lumbargrade.phantom.anatomy import L1, LEVEL_CELL, SACRUM, Anatomy, Vector, sample_anatomy
from lumbargrade.phantom.render import Contrast, Faults, sample_contrast, sample_faults

#: Seeds, study numbers and series places must be below these, so that all ids differ.
SEEDS, STUDIES, SERIES = 2**11, 2**21, 2**4


def _scramble(value: int, bits: int) -> int:
    """A one-to-one map of ``0 .. 2**bits - 1`` onto itself that looks random."""
    mask = (1 << bits) - 1
    for factor in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9):
        value = (value * (factor | 1)) & mask
        value ^= value >> (bits // 2)
    return value


def study_number(seed: int, number: int) -> str:
    """The LSDC study id of study ``number`` of data set ``seed``, one to one.

    Raises:
        UsageError: if the seed or the number is out of range.
    """
    if not 0 <= seed < SEEDS:
        raise UsageError(f"seed must be from 0 to {SEEDS - 1}, got {seed}")
    if not 0 <= number < STUDIES:
        raise UsageError(f"study numbers go from 0 to {STUDIES - 1}, got {number}")
    return str(_scramble(seed * STUDIES + number + 1 & 0xFFFFFFFF, 32))


def series_number(seed: int, number: int, place: int) -> str:
    """The LSDC series id of the series at ``place`` in a study, one to one."""
    if not 0 <= place < SERIES:
        raise UsageError(f"a study has at most {SERIES} series, got place {place}")
    return str(_scramble((seed * STUDIES + number) * SERIES + place + 1, 36))


def uid(*parts: int | str) -> str:
    """A DICOM unique identifier made of numbers, under a fixed root."""
    return ".".join(["1.2.826.0.1.3680043.10.1561", *(str(p) for p in parts)])


#: Of 1,975 studies: 2 have no T1, 1 no T2, 7 a second T1; axial series are 1, 2, 3 or 4.
NO_T1, NO_T2, SECOND_T1 = 2 / 1975, 1 / 1975, 7 / 1975
AXIAL_SERIES = np.array([1640, 306, 28, 1]) / 1975
#: Axial series that begin below L1/L2 or L2/L3; sagittal series without points there.
AXIAL_FROM_L2, AXIAL_FROM_L3 = 80 / 1975, 82 / 1975
CANAL_FROM_L2, CANAL_FROM_L3 = 35 / 1975, 39 / 1975
#: Studies with a T1 series but without right foraminal grades.
NO_RIGHT_FORAMINAL = 6 / 1975


#: Largest angle of an axial stack to the horizontal plane, radians.
STEEPEST = np.deg2rad(38)


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """One series to be acquired.

    Attributes:
        series_id: LSDC series id.
        kind: its LSDC kind.
        planes: one per instance, in the order of instance numbers 1, 2, ...
        shape: (rows, columns).
        thickness, interval: slice thickness and distance between slice centres, mm.
        pixel: mm of the acquired matrix.
        contrast, faults: see `render`.
    """

    series_id: str
    kind: SeriesKind
    planes: tuple[SlicePlane, ...]
    shape: tuple[int, int]
    thickness: float
    interval: float
    pixel: float
    contrast: Contrast
    faults: Faults

    def mark(self, target: Target, place: Vector) -> Point | None:
        """The point of a place (LPS mm) on the nearest slice, or None if no slice shows it."""
        seen = [plane.from_patient(place) for plane in self.planes]
        best = min(range(len(seen)), key=lambda i: abs(seen[i][2]))
        x, y, distance = (float(c) for c in seen[best])
        inside = 0 <= x <= self.shape[1] - 1 and 0 <= y <= self.shape[0] - 1
        if not inside or abs(distance) > 0.5 * self.interval + 1.0:
            return None
        return Point(target, self.series_id, best + 1, (x, y, float(best)))


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """A study: anatomy, series, and its rows of the tables.

    ``grades`` does not hold findings whose grade is missing from the table.
    """

    study_id: str
    anatomy: Anatomy
    series: tuple[SeriesPlan, ...]
    grades: dict[Target, Grade]
    points: tuple[Point, ...]


def plan_study(seed: int, number: int) -> StudyPlan:
    """Study ``number`` of data set ``seed``; the same for any number of workers.

    Raises:
        UsageError: if seed or number is out of range (see `identity`).
    """
    study_id = study_number(seed, number)
    anatomy = sample_anatomy(np.random.default_rng([seed, number, 0]))
    rng = np.random.default_rng([seed, number, 1])
    series = _plan_series(rng, seed, number, anatomy)
    grades = anatomy.grades()
    points = _mark_all(rng, anatomy, series)
    for target in _ungraded(rng, series, {p.target for p in points}):
        del grades[target]
    return StudyPlan(study_id, anatomy, series, grades, points)


def _plan_series(
    rng: np.random.Generator, seed: int, number: int, anatomy: Anatomy
) -> tuple[SeriesPlan, ...]:
    u = rng.random()
    t1 = 0 if u < NO_T1 else 2 if u < NO_T1 + SECOND_T1 else 1
    t2 = 0 if NO_T1 + SECOND_T1 <= u < NO_T1 + SECOND_T1 + NO_T2 else 1
    axial = 1 + int(rng.choice(4, p=AXIAL_SERIES))
    stack = _sagittal_stack(rng, anatomy)
    plans = []
    for kind, count in ((SeriesKind.SAGITTAL_T1, t1), (SeriesKind.SAGITTAL_T2, t2)):
        for _ in range(count):
            own = stack if rng.random() < 0.7 else _sagittal_stack(rng, anatomy)
            plans.append((kind, _sagittal_planes(rng, own)))
    plans += [(SeriesKind.AXIAL_T2, s) for s in _axial_stacks(rng, anatomy, axial)]
    made = []
    for place, (kind, (planes, shape, thickness, interval)) in enumerate(plans):
        made.append(
            SeriesPlan(
                series_id=series_number(seed, number, place),
                kind=kind,
                planes=planes,
                shape=shape,
                thickness=thickness,
                interval=interval,
                pixel=float(rng.uniform(1.0, 1.35) if kind.sagittal else rng.uniform(0.8, 1.05)),
                contrast=sample_contrast(rng, kind),
                faults=sample_faults(rng, kind),
            )
        )
    return tuple(made)


_Stack = tuple[tuple[SlicePlane, ...], tuple[int, int], float, float]


@dataclass(frozen=True, slots=True)
class _Sagittal:
    centre: Vector
    row: Vector
    column: Vector
    count: int
    interval: float
    thickness: float


def _sagittal_stack(rng: np.random.Generator, anatomy: Anatomy) -> _Sagittal:
    """Place the sagittal slices as a technologist does: along the spine, over both foramina."""
    lumbar = np.array([b.wall for b in anatomy.bodies[L1 : SACRUM + 1]])
    slope = np.polyfit(lumbar[:, 2], lumbar[:, 0], 1)[0] + rng.normal(0, 0.01)
    down = np.array([-slope, 0.0, -1.0])
    down /= np.linalg.norm(down)
    back = np.array([rng.normal(0, 0.025), 1.0, rng.normal(0, 0.01)])
    back -= down * (back @ down)
    back /= np.linalg.norm(back)
    interval = rng.uniform(3.9, 5.2)
    count = int(np.clip(round(rng.normal(72, 9) / interval), 11, 25))
    interval = float(np.round(max(interval, 50 / (count - 1)), 2))
    centre = lumbar.mean(0) + rng.normal([0, -18, 4], [2.5, 9, 9])
    thickness = float(np.round(interval / rng.uniform(1.0, 1.2), 1))
    return _Sagittal(centre, back, down, count, interval, thickness)


def _sagittal_planes(rng: np.random.Generator, stack: _Sagittal) -> _Stack:
    """The slices of a sagittal series, numbered from either side."""
    field = float(np.clip(rng.normal(285, 24), 240, 350))
    rows = int(rng.choice([320, 384, 448, 512], p=[0.3, 0.4, 0.15, 0.15]))
    columns = rows if rng.random() < 0.8 else int(rows * 0.8) // 2 * 2
    spacing = round(field / rows, 4)
    normal = np.cross(stack.row, stack.column)
    order = np.arange(stack.count) - (stack.count - 1) / 2
    if rng.random() < 0.75:
        order = -order
    corner = stack.centre - stack.row * spacing * (columns - 1) / 2
    corner = corner - stack.column * spacing * (rows - 1) / 2
    planes = tuple(
        _plane(corner + normal * k * stack.interval, stack.row, stack.column, spacing)
        for k in order
    )
    return planes, (rows, columns), stack.thickness, stack.interval


def _plane(corner: Vector, row: Vector, column: Vector, spacing: float) -> SlicePlane:
    def rounded(v: Vector, digits: int) -> tuple[float, float, float]:
        x, y, z = (round(float(c), digits) for c in v)
        return x, y, z

    return SlicePlane(rounded(corner, 6), rounded(row, 10), rounded(column, 10), (spacing, spacing))


def _axial_stacks(rng: np.random.Generator, anatomy: Anatomy, series: int) -> list[_Stack]:
    """Divide the levels between the axial series, each with one or several tilted stacks."""
    u = rng.random()
    first = 1 if u < AXIAL_FROM_L2 else 2 if u < AXIAL_FROM_L2 + AXIAL_FROM_L3 else 0
    levels = list(Level)[first:]
    cuts = sorted(rng.choice(np.arange(1, len(levels)), min(series, len(levels)) - 1, False))
    parts = np.split(np.arange(len(levels)), cuts)
    style = rng.choice(3, p=[0.5, 0.25, 0.25])
    field, rows = float(rng.uniform(150, 220)), int(rng.choice([256, 320, 384], p=[0.3, 0.5, 0.2]))
    interval = float(np.round(rng.uniform(3.6, 5.0), 1))
    thickness = float(np.round(interval * rng.uniform(0.8, 1.0), 1))
    made = []
    for part in parts:
        mine = [levels[i] for i in part]
        if style == 0:
            groups = [[level] for level in mine]
        elif style == 1 and Level.L5_S1 in mine and len(mine) > 1:
            groups = [mine[:-1], mine[-1:]]
        else:
            groups = [mine]
        spacing = round(field / rows, 4)
        planes = [
            plane
            for group in groups
            for plane in _axial_stack(rng, anatomy, group, (rows, spacing, interval))
        ]
        made.append((tuple(planes), (rows, rows), thickness, interval))
    return made


def _axial_stack(
    rng: np.random.Generator,
    anatomy: Anatomy,
    levels: list[Level],
    grid: tuple[int, float, float],
) -> list[SlicePlane]:
    """Parallel slices through one or several discs, from top to bottom."""
    rows, spacing, interval = grid
    discs = np.array([anatomy.locate(LEVEL_CELL[level], 0, 6, 0) for level in levels])
    cells = [LEVEL_CELL[level] for level in levels]
    frame = np.mean([anatomy.bodies[c + k].frame for c in cells for k in (0, 1)], axis=0)
    row = frame[0] / np.linalg.norm(frame[0])
    column = frame[1] + frame[2] * rng.normal(0, 0.04)
    # technologists follow a steep disc only so far: beyond, the image would be coronal
    tilt = np.clip(np.arctan2(column[2], column[1]), -STEEPEST, STEEPEST)
    column = np.array([column[0], np.cos(tilt), np.sin(tilt)])
    column = column - row * (row @ column)
    column /= np.linalg.norm(column)
    normal = np.cross(row, column)
    middle = discs.mean(0)
    heights = (discs - middle) @ normal
    extra = rng.uniform(1.2, 2.8) * interval if len(levels) == 1 else rng.uniform(6, 14)
    top, bottom = heights.max() + extra, heights.min() - extra
    count = int((top - bottom) / interval) + 1
    start = (top + bottom) / 2 + (count - 1) / 2 * interval
    corner = middle - column * rng.normal(10, 6) + row * rng.normal(0, 5)
    corner = corner - (row + column) * spacing * (rows - 1) / 2
    return [
        _plane(corner + normal * (start - k * interval), row, column, spacing) for k in range(count)
    ]


def _mark_all(
    rng: np.random.Generator, anatomy: Anatomy, series: tuple[SeriesPlan, ...]
) -> tuple[Point, ...]:
    """Rows of the coordinate table: each finding in the first series that shows it."""
    u = rng.random()
    unmarked = 1 if u < CANAL_FROM_L2 else 2 if u < CANAL_FROM_L2 + CANAL_FROM_L3 else 0
    hidden = {Target(Condition.CANAL, level) for level in list(Level)[:unmarked]}
    rows = []
    for target in TABLE_ORDER:
        place = anatomy.landmark(target)
        marks = (s.mark(target, place) for s in series if s.kind is KIND_OF[target.condition])
        found = next((point for point in marks if point is not None), None)
        if found is not None and target not in hidden:
            rows.append(found)
    return tuple(rows)


def _ungraded(
    rng: np.random.Generator, series: tuple[SeriesPlan, ...], marked: set[Target]
) -> list[Target]:
    """Findings without a grade: those that no series shows and, rarely, the right foramina."""
    kinds = {s.kind for s in series}
    empty = [t for t in TARGETS[Condition.SUBARTICULAR] if t not in marked]
    if SeriesKind.SAGITTAL_T2 not in kinds:
        empty += TARGETS[Condition.CANAL]
    if SeriesKind.SAGITTAL_T1 not in kinds:
        empty += TARGETS[Condition.FORAMINAL]
    elif rng.random() < NO_RIGHT_FORAMINAL:
        empty += [t for t in TARGETS[Condition.FORAMINAL] if t.side is Side.RIGHT]
    return empty
