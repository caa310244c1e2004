"""A parametric lumbar spine in patient space (LPS, mm), from which all series are rendered.

The spine is a chain of bodies, T10 down to S5, each with a rigid frame (left, back, up). Between
the middles of two neighbouring bodies lies a *cell*: the lower half of the upper body, the disc,
the upper half of the lower body, and everything behind them. Cell coordinates of a point are

* ``u``: mm to the patient's left of the mid-line,
* ``v``: mm behind the posterior wall of the bodies,
* ``w``: mm above the middle of the disc, along the posterior wall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.vocabulary import TABLE_ORDER, Condition, Grade, Level, Side, Target
from lumbargrade.phantom.severity import draw_measure, grade

Vector = NDArray[np.float64]

#: Bodies of the chain, top to bottom.
BODIES = ("T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5", "S1", "S2", "S3", "S4", "S5")

#: Index of the cell of each graded level.
LEVEL_CELL: dict[Level, int] = {level: 3 + i for i, level in enumerate(Level)}

#: First body of the sacrum.
SACRUM = BODIES.index("S1")


@dataclass(frozen=True, slots=True)
class Body:
    """One vertebral body; ``frame`` rows are the unit vectors left, back, up.

    ``taper`` is the share of depth lost from top to bottom (sacrum only).
    """

    centre: Vector
    frame: Vector
    height: float
    depth: float
    half_width: float
    boxiness: float
    marrow: float
    taper: float

    @property
    def wall(self) -> Vector:
        """Middle of the posterior wall."""
        return np.asarray(self.centre + self.frame[1] * self.depth / 2)


@dataclass(frozen=True, slots=True)
class SideAnatomy:
    """Anatomy of one side of a level.

    Attributes:
        fat_area: area of fat around the root in a sagittal section of the foramen, mm2.
        root_radius: mm.
        slimness: height over width of the foramen.
        foramen: (u outward, v, w) of the foramen's centre, mm.
        recess_depth: front to back, mm.
        recess: outward u of the recess's centre, mm.
        facet: relative size of the facet joint; 1 is usual.
    """

    fat_area: float
    root_radius: float
    slimness: float
    foramen: tuple[float, float, float]
    recess_depth: float
    recess: float
    facet: float

    @property
    def foramen_axes(self) -> tuple[float, float]:
        """Half width (front to back) and half height of the foramen, mm."""
        area = self.fat_area + np.pi * self.root_radius**2
        half_width = float(np.sqrt(area / np.pi / self.slimness))
        return half_width, half_width * self.slimness


@dataclass(frozen=True, slots=True)
class Cell:
    """Anatomy between the middles of two bodies.

    Attributes:
        gap: disc height at the posterior wall, mm.
        hydration: 0 (dark, dry nucleus) to 1 (bright).
        bulge: how far the disc bulges behind the posterior wall, mm.
        sac_area: thecal sac area at the disc, mm2.
        sac_ratio: width over depth of the sac at the disc.
        wide_area: sac area at the middle of the bodies, mm2.
        flavum: extent of the flavum and disc along the canal, mm (1 sd).
        epidural: thickness of the fat behind the sac at the bodies, mm.
        spinous: length of the spinous process of the upper body, mm.
        sides: left and right.
    """

    gap: float
    hydration: float
    bulge: float
    sac_area: float
    sac_ratio: float
    wide_area: float
    flavum: float
    epidural: float
    spinous: float
    sides: dict[Side, SideAnatomy]

    @property
    def sac_axes(self) -> tuple[float, float]:
        """Half width and half depth of the sac at the disc, mm."""
        half_depth = float(np.sqrt(self.sac_area / np.pi / self.sac_ratio))
        return half_depth * self.sac_ratio, half_depth

    @property
    def sac_front(self) -> float:
        """v of the sac's front at the disc, mm."""
        return self.bulge + 1.0


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One patient.

    Attributes:
        bodies: top to bottom, named by `BODIES`.
        cells: ``cells[i]`` is between ``bodies[i]`` and ``bodies[i + 1]``.
        conus: index (fractional) of the body at which the cord ends.
        fat: subcutaneous fat behind the spine, mm.
        back: smallest distance of the skin behind the posterior wall, mm.
        muscle: relative size of the back muscles; 1 is usual.
        fatty: share of fat in the back muscles, 0 to 1.
        seed: random seed of small shapes (roots, bowel, fat strands).
    """

    bodies: tuple[Body, ...]
    cells: tuple[Cell, ...]
    conus: float
    fat: float
    back: float
    muscle: float
    fatty: float
    seed: int

    def measure(self, target: Target) -> float:
        """The measure that decides the grade of a finding (see `severity.SCALES`)."""
        cell = self.cells[LEVEL_CELL[target.level]]
        if target.side is None:
            return cell.sac_area
        side = cell.sides[target.side]
        return side.fat_area if target.condition is Condition.FORAMINAL else side.recess_depth

    def grades(self) -> dict[Target, Grade]:
        """The 25 grades, derived from the geometry."""
        return {t: grade(t.condition, self.measure(t)) for t in TABLE_ORDER}

    def landmark(self, target: Target) -> Vector:
        """The point of a finding, LPS mm.

        Canal: the front of the sac at the disc. Foraminal: the foramen's centre. Subarticular: the
        recess's centre at the disc.
        """
        index = LEVEL_CELL[target.level]
        cell = self.cells[index]
        if target.side is None:
            return self.locate(index, 0.0, cell.sac_front, 0.0)
        side = cell.sides[target.side]
        sign = 1.0 if target.side is Side.LEFT else -1.0
        if target.condition is Condition.FORAMINAL:
            u, v, w = side.foramen
            return self.locate(index, sign * u, v, w)
        return self.locate(index, sign * side.recess, cell.bulge + side.recess_depth / 2, 0.0)

    def cell_lengths(self, index: int) -> tuple[float, float]:
        """Length of a cell along the posterior wall, and its share below the middle of the disc."""
        upper, lower = self.bodies[index], self.bodies[index + 1]
        length = float(np.linalg.norm(upper.wall - lower.wall))
        gap = self.cells[index].gap
        return length, (lower.height + gap) / (lower.height + upper.height + 2 * gap)

    def locate(self, index: int, u: float, v: float, w: float) -> Vector:
        """LPS mm of cell coordinates; the inverse of :func:`cell_coordinates`."""
        upper, lower = self.bodies[index], self.bodies[index + 1]
        length, origin = self.cell_lengths(index)
        share = w / length + origin
        point = upper.wall * share + lower.wall * (1 - share)
        for _ in range(12):  # the map is nearly linear, so a few corrections suffice
            got = np.array(cell_coordinates(self, index, point))
            error = np.array([u, v, w]) - got
            frame = upper.frame * share + lower.frame * (1 - share)
            point = point + error @ frame
        return point


def cell_coordinates(anatomy: Anatomy, index: int, lps: Vector) -> tuple[float, float, float]:
    """Cell coordinates (u, v, w) of an LPS point."""
    upper, lower = anatomy.bodies[index], anatomy.bodies[index + 1]
    length, origin = anatomy.cell_lengths(index)
    a, b = upper.frame @ (lps - upper.wall), lower.frame @ (lps - lower.wall)
    share = b[2] / (b[2] - a[2])
    u, v = share * a[:2] + (1 - share) * b[:2]
    return float(u), float(v), float((share - origin) * length)


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Sample a random patient."""
    size = float(np.clip(rng.normal(1.0, 0.06), 0.86, 1.14))
    cells = tuple(_sample_cell(rng, i, size) for i in range(len(BODIES) - 1))
    return Anatomy(
        bodies=_sample_bodies(rng, cells, size),
        cells=cells,
        conus=float(np.clip(rng.normal(3.2, 0.5), 2.0, 4.4)),
        fat=float(np.clip(rng.gamma(3, 5), 4, 50)),
        back=float(rng.uniform(52, 66) * size),
        muscle=float(rng.uniform(0.85, 1.15)),
        fatty=float(rng.beta(1.5, 4)),
        seed=int(rng.integers(2**31)),
    )


def _sample_cell(rng: np.random.Generator, index: int, size: float) -> Cell:
    levels = {cell: level for level, cell in LEVEL_CELL.items()}
    level = levels.get(index)
    sacral = index >= SACRUM
    degenerated = rng.random() < (0.15 if index < 4 else 0.4)
    usual = 1.2 if sacral else (5.2 + 0.45 * max(index - 3, 0))
    gap = usual * size * rng.uniform(0.85, 1.15) * (rng.uniform(0.45, 0.8) if degenerated else 1)
    if level is None:
        sac = rng.uniform(150, 200) if index < SACRUM else 120 / (1 + 1.3 * (index - SACRUM)) ** 1.3
    else:
        sac = draw_measure(rng, Condition.CANAL, level)
    narrow = np.clip((110 - sac) / 80, 0, 1) if level is not None else 0.0
    return Cell(
        gap=float(gap),
        hydration=float(rng.uniform(0, 0.3) if degenerated else rng.uniform(0.35, 1)),
        bulge=float(
            0 if sacral else rng.uniform(0.2, 1.5) + (2.5 * narrow + degenerated) * rng.random()
        ),
        sac_area=float(sac),
        sac_ratio=float(rng.uniform(1.15, 1.5) + 0.3 * narrow),
        wide_area=float(max(rng.normal(195, 18), 1.03 * sac) if index < SACRUM else sac * 0.8),
        flavum=float(rng.uniform(5.0, 7.5)),
        epidural=float(rng.uniform(2.5, 5.5)),
        spinous=float(rng.uniform(26, 34) * size * (0.8 if index in (2, 7) else 1)),
        sides={s: _sample_side(rng, index, level, gap) for s in Side},
    )


def _sample_side(
    rng: np.random.Generator, index: int, level: Level | None, gap: float
) -> SideAnatomy:
    fat, recess = 85.0, 6.0
    if level is not None:
        fat = draw_measure(rng, Condition.FORAMINAL, level)
        recess = draw_measure(rng, Condition.SUBARTICULAR, level)
    outward = 14.5 + 0.9 * max(index - 3, 0) + rng.normal(0, 0.5)
    return SideAnatomy(
        fat_area=fat,
        root_radius=float(rng.uniform(2.5, 3.0)),
        slimness=float(rng.uniform(1.35, 1.75) - 0.25 * (fat < 30)),
        foramen=(float(outward), float(rng.normal(6.0, 0.5)), float(rng.normal(4.6, 0.6))),
        recess_depth=recess,
        recess=float(8.4 + 0.25 * max(index - 3, 0) + rng.normal(0, 0.3)),
        facet=float(rng.uniform(0.9, 1.1) + 0.15 * rng.random() * (fat < 48)),
    )


def _sample_bodies(
    rng: np.random.Generator, cells: tuple[Cell, ...], size: float
) -> tuple[Body, ...]:
    """Place the bodies from S1, at the origin, upwards and downwards."""
    count = len(BODIES)
    tilt = _sample_tilts(rng)
    side_curve = rng.normal(0, 2.0) + rng.normal(0, 2.5) * np.array([0, 1, 0.5])
    turn = np.deg2rad(rng.normal(0, 2.5)) + np.deg2rad(rng.normal(0, 2.0, count)).cumsum() * 0.2
    lean = np.deg2rad(np.interp(np.arange(count), [0, 4, 7, 12], [*side_curve, 0]))
    frames = [_frame(tilt[i], lean[i], turn[i]) for i in range(count)]
    heights, depths, widths = _sample_sizes(rng, size)
    boxiness = rng.uniform(0.3, 0.9)
    centres = np.zeros((count, 3))
    order = list(range(SACRUM - 1, -1, -1))
    for i in order:
        centres[i] = centres[i + 1] + _step(frames, heights, depths, cells, i)
    for i in range(SACRUM, count - 1):
        centres[i + 1] = centres[i] - _step(frames, heights, depths, cells, i)
    middle = centres[BODIES.index("L3")] - rng.normal([0, -20, -300], [8, 15, 120])
    marrow = 1 + rng.normal(0, 0.04, count)
    return tuple(
        Body(
            centres[i] - middle,
            frames[i],
            float(heights[i]),
            float(depths[i]),
            float(widths[i]),
            float(boxiness),
            float(marrow[i]),
            0.22 if i > SACRUM else 0.08 if i == SACRUM else 0.0,
        )
        for i in range(count)
    )


def _step(
    frames: list[Vector],
    heights: Vector,
    depths: Vector,
    cells: tuple[Cell, ...],
    i: int,
) -> Vector:
    """Vector from the centre of body i + 1 to that of body i; their corners are ``gap`` apart."""
    upper, lower = frames[i], frames[i + 1]
    mean_up = upper[2] + lower[2]
    wall = (
        lower[2] * heights[i + 1] / 2
        + mean_up / np.linalg.norm(mean_up) * cells[i].gap
        + upper[2] * heights[i] / 2
    )
    return np.asarray(wall + lower[1] * depths[i + 1] / 2 - upper[1] * depths[i] / 2)


def _sample_tilts(rng: np.random.Generator) -> Vector:
    """Forward tilt of each body, radians, from sacral slope, lordosis and kyphosis."""
    slope = np.clip(rng.normal(38, 8), 20, 58)
    flat = slope / 38
    upwards = np.array([14, 12, 9, 6, 3, 0, -2, -3]) * flat + rng.normal(0, 1.8, 8)
    downwards = np.array([3, -8, -16, -22]) + rng.normal(0, 3, 4)
    above = slope - np.cumsum(upwards)
    below = slope + np.cumsum(downwards)
    return np.asarray(np.deg2rad(np.concatenate([above[::-1], [slope], below])))


def _sample_sizes(rng: np.random.Generator, size: float) -> tuple[Vector, Vector, Vector]:
    lumbar = np.array([22, 23, 24.5, 25.5, 26, 26.5, 26.5, 26.5])
    heights = np.concatenate([lumbar, [27, 23, 20, 17, 14]]) * size * rng.uniform(0.95, 1.03)
    depths = np.array([27, 28, 29.5, 31, 32, 33, 34, 34, 31, 25, 19, 15, 11]) * size
    widths = np.array([17, 18, 19.5, 20.5, 21.5, 22.5, 24, 25.5, 25, 19, 15, 12, 10]) * size
    heights = heights * (1 + rng.normal(0, 0.025, len(BODIES)))
    return heights, depths * rng.uniform(0.94, 1.06), widths * rng.uniform(0.95, 1.05)


def _frame(tilt: float, lean: float, turn: float) -> Vector:
    """Frame of a body that is tilted forward, leans to the left and is turned about the up axis."""
    ct, st, cl, sl, cr, sr = (f(a) for a in (tilt, lean, turn) for f in (np.cos, np.sin))
    forward = np.array([[1, 0, 0], [0, ct, -st], [0, st, ct]])
    sideways = np.array([[cl, 0, sl], [0, 1, 0], [-sl, 0, cl]])
    about = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray((sideways @ forward @ about).T)
