"""A parametric lumbar spine in patient space (LPS, mm), from which all series are rendered.

The spine is a chain of bodies, T1 down to S5, each with a rigid frame (left, back, up). Between
the middles of two neighbouring bodies lies a *cell*: the lower half of the upper body, the disc,
the upper half of the lower body, and everything behind them. Cell coordinates of a point are

* ``u``: mm to the patient's left of the mid-line,
* ``v``: mm behind the posterior wall of the bodies,
* ``w``: mm above the middle of the disc, along the posterior wall.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.vocabulary import TABLE_ORDER, Condition, Grade, Level, Side, Target
from lumbargrade.phantom.ranges import Draws
from lumbargrade.phantom.severity import draw_measure, grade

Vector = NDArray[np.float64]

#: Bodies of the chain, top to bottom.
BODIES = (
    *("T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T9", "T10", "T11", "T12"),
    *("L1", "L2", "L3", "L4", "L5", "S1", "S2", "S3", "S4", "S5"),
)

#: First lumbar body, and last.
L1, L5 = BODIES.index("L1"), BODIES.index("L5")

#: Index of the cell of each graded level.
LEVEL_CELL: dict[Level, int] = {level: L1 + i for i, level in enumerate(Level)}

#: First body of the sacrum.
SACRUM = BODIES.index("S1")

#: How much higher the front of a body is than its back, mm (L5 is wedged by 6 to 9 degrees).
_OWN_WEDGE = {"L4": 1.0, "L5": 2.5}


@dataclass(frozen=True, slots=True)
class Body:
    """One vertebral body.

    Attributes:
        centre: LPS mm.
        frame: rows are the unit vectors left, back, up.
        height: at the posterior wall, mm.
        depth: of the upper endplate, mm.
        half_width: mm.
        boxiness: 0 (round) to 1 (box), seen from above.
        corner: radius of the corners in a sagittal section, mm.
        marrow: brightness against other bodies.
        taper: share of depth lost from top to bottom, at the front (sacrum only).
        waist: share of depth lost at mid-height.
        wedge: how much lower the front is than the back, mm.
        concavity: depth of the endplates' hollow, mm.
        spur: length of spurs at the front corners, mm.
        nodes: (place from -1 front to 1 back, depth mm) of a Schmorl's node in the upper and the
            lower endplate; depth 0 for none.
        vein: visibility of the basivertebral vein, 0 to 1.
        spot: brightness, and place (u, v, w from the centre, mm) and radius of a haemangioma;
            radius 0 for none.
        tilt: tilt of the upper endplate against the walls, mm over the depth (S1).
    """

    centre: Vector
    frame: Vector
    height: float
    depth: float
    half_width: float
    boxiness: float
    corner: float
    marrow: float
    taper: float
    waist: float
    wedge: float
    concavity: float
    spur: float
    nodes: tuple[tuple[float, float], tuple[float, float]]
    vein: float
    spot: tuple[float, float, float, float, float]
    tilt: float
    wall: Vector = field(init=False)
    """middle of the posterior wall, LPS mm"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "wall", self.centre + self.frame[1] * self.depth / 2)


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

    @property
    def root_axes(self) -> tuple[float, float]:
        """Half width (front to back) and half height of the root in the foramen, mm."""
        half_width, half_height = self.foramen_axes
        narrow = min(self.root_radius, 0.9 * half_width)
        return narrow, min(self.root_radius**2 / narrow, 0.95 * half_height)

    @property
    def root(self) -> tuple[float, float, float]:
        """(u outward, v, w) of the root in the foramen, mm: above the middle of the fat."""
        u, v, w = self.foramen
        return u, v, w + 0.45 * (self.foramen_axes[1] - self.root_axes[1])


@dataclass(frozen=True, slots=True)
class Cell:
    """Anatomy between the middles of two bodies.

    Attributes:
        gap: disc height at the posterior wall, mm.
        hydration: 0 (dark, dry nucleus) to 1 (bright).
        bulge: how far the disc bulges behind the posterior wall, mm.
        sac_area: thecal sac area at the disc, mm2.
        sac_ratio: width over depth of the sac at the disc.
        sac_triangle: how much narrower the sac is behind than in front, 0 to 0.5.
        wide_area: sac area at the middle of the bodies, mm2.
        flavum: extent of the flavum and disc along the canal, mm (1 sd).
        front_fat: epidural fat in front of the sac, mm.
        epidural: thickness of the fat behind the sac, mm.
        spinous: length, half height (mm) and slope of the upper body's spinous process.
        front_bulge: how far the disc bulges in front, mm.
        hernia: length, drift along the wall and outward place (u) of an extrusion, mm.
        endplates: brightness of changed marrow beside the disc; 1 for none.
        opened: whether the lamina was removed.
        sides: left and right.
    """

    gap: float
    hydration: float
    bulge: float
    sac_area: float
    sac_ratio: float
    sac_triangle: float
    wide_area: float
    flavum: float
    front_fat: float
    epidural: float
    spinous: tuple[float, float, float]
    front_bulge: float
    hernia: tuple[float, float, float]
    endplates: float
    opened: bool
    sides: dict[Side, SideAnatomy]

    @property
    def sac_axes(self) -> tuple[float, float]:
        """Half width and half depth of the sac at the disc, mm."""
        half_depth = float(np.sqrt(self.sac_area / np.pi / self.sac_ratio))
        return half_depth * self.sac_ratio, half_depth

    @property
    def sac_front(self) -> float:
        """v of the sac's front at the disc, mm."""
        return self.bulge + 1.0 + self.front_fat


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One patient.

    Attributes:
        bodies: top to bottom, named by `BODIES`.
        cells: ``cells[i]`` is between ``bodies[i]`` and ``bodies[i + 1]``.
        conus: index (fractional) of the body at which the cord ends.
        sac_end: index (fractional) of the body at which the sac ends.
        texture: patchiness of the marrow.
        fat: subcutaneous fat behind the spine, mm.
        belly: from the front of the spine to the skin of the belly, mm.
        belly_fat: fat under that skin, mm.
        front_fat: fat between spine and bowel, mm.
        vessels: outward place of the great vessels, mm.
        bladder: whether a bladder or uterus lies in front of the sacrum.
        screws: bodies with screws.
        redundant: whether roots coil above a tight stenosis.
        roots: size of the nerve roots in the sac; 1 is usual.
        joint: angle of the facet joints to the coronal plane, radians.
        back: smallest distance of the skin behind the posterior wall, mm.
        muscle: relative size of the back muscles; 1 is usual.
        fatty: share of fat in the back muscles, 0 to 1.
        seed: random seed of small shapes (roots, bowel, fat strands).
    """

    bodies: tuple[Body, ...]
    cells: tuple[Cell, ...]
    conus: float
    sac_end: float
    texture: float
    fat: float
    belly: float
    belly_fat: float
    front_fat: float
    vessels: float
    bladder: bool
    screws: tuple[int, ...]
    redundant: bool
    roots: float
    joint: float
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

        Canal: the middle of the sac at the disc, where LSDC readers put it. Foraminal: the
        root in the foramen. Subarticular: the recess's centre at the disc.
        """
        index = LEVEL_CELL[target.level]
        cell = self.cells[index]
        if target.side is None:
            return self.locate(index, 0.0, cell.sac_front + cell.sac_axes[1], 0.0)
        side = cell.sides[target.side]
        sign = 1.0 if target.side is Side.LEFT else -1.0
        if target.condition is Condition.FORAMINAL:
            u, v, w = side.root
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
        # for a given share, the cell coordinates of a point are linear in it
        matrix = share * upper.frame + (1 - share) * lower.frame
        walls = share * upper.frame @ upper.wall + (1 - share) * lower.frame @ lower.wall
        return np.asarray(np.linalg.solve(matrix, np.array([u, v, 0.0]) + walls))


def cell_coordinates(anatomy: Anatomy, index: int, lps: Vector) -> tuple[float, float, float]:
    """Cell coordinates (u, v, w) of an LPS point."""
    upper, lower = anatomy.bodies[index], anatomy.bodies[index + 1]
    length, origin = anatomy.cell_lengths(index)
    a, b = upper.frame @ (lps - upper.wall), lower.frame @ (lps - lower.wall)
    share = b[2] / (b[2] - a[2])
    u, v = share * a[:2] + (1 - share) * b[:2]
    return float(u), float(v), float((share - origin) * length)


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Sample a random patient; `ranges` has what patients differ in, and how far."""
    draws = Draws(rng, "anatomy")
    size = draws.number("size")
    habit = _Habit(draws)
    cells = tuple(_sample_cell(draws, i, size, habit) for i in range(len(BODIES) - 1))
    operated = draws.happens("operated_chance")
    first = int(rng.integers(L1, L5 + 1))
    fused = range(first, min(first + int(rng.integers(2, 4)), SACRUM + 1)) if operated else ()
    cells = tuple(replace(c, opened=i in fused) for i, c in enumerate(cells))
    return Anatomy(
        bodies=_sample_bodies(draws, cells, size),
        cells=cells,
        conus=L1 + 0.2 + draws.number("conus"),
        sac_end=SACRUM - 0.5 + draws.number("sac_end"),
        texture=draws.number("marrow_texture"),
        fat=3 + draws.table["fat_behind"].high * rng.random() ** 2,
        belly=draws.number("belly"),
        belly_fat=draws.number("belly_fat"),
        front_fat=draws.number("prevertebral_fat"),
        vessels=draws.number("vessel_offset"),
        bladder=draws.happens("bladder_chance"),
        screws=tuple(fused) if operated and draws.happens("screws_chance") else (),
        redundant=draws.happens("redundant_roots"),
        roots=draws.number("roots"),
        joint=float(np.deg2rad(draws.number("facet_joint"))),
        back=float(rng.uniform(46, 68) * size),
        muscle=draws.number("muscle"),
        fatty=float(rng.beta(1.2, 2.5)),
        seed=int(rng.integers(2**31)),
    )


class _Habit:
    """What is alike at all levels of a patient."""

    def __init__(self, draws: Draws) -> None:
        self.degenerated = draws.number("degenerated")
        self.gap = draws.number("gap_usual")
        self.wide = draws.number("canal_wide") * (0.72 if draws.happens("canal_short") else 1)
        self.epidural = draws.number("epidural_fat_behind")
        self.spinous = tuple(
            draws.number(name) for name in ("spinous", "spinous_height", "spinous_slope")
        )
        self.outward = draws.number("foramen_outward")
        self.back = draws.number("foramen_back")
        self.sacral_fat = draws.number("sacral_fat")


def _sample_cell(draws: Draws, index: int, size: float, habit: _Habit) -> Cell:
    rng = draws.rng
    levels = {cell: level for level, cell in LEVEL_CELL.items()}
    level = levels.get(index)
    sacral = index >= SACRUM
    lumbar = index - L1
    dry = rng.random() < habit.degenerated * (0.5 if lumbar < 2 else 1)
    # gaps are measured at the corners of the bodies; the hollow of the endplates is added to them
    usual = 2.6 if lumbar < -3 else 3.6 + 0.45 * (lumbar + 3) if lumbar < 1 else 5.6 + 0.5 * lumbar
    gap = usual * size * habit.gap * rng.uniform(0.85, 1.15)
    gap *= draws.number("gap_narrow") if dry and rng.random() < 0.7 else 1
    if sacral:
        most = draws.number("s1_s2_most") * draws.number("s1_s2_gap") ** 2
        gap = 0.2 + (most if index == SACRUM else 0.35 * most * rng.random())
    if level is None:
        sac = habit.wide * rng.uniform(0.75, 1.0) if index < SACRUM else 0.6 * habit.wide
    else:
        sac = draw_measure(rng, Condition.CANAL, level)
    narrow = np.clip((110 - sac) / 80, 0, 1) if level is not None else 0.0
    hernia = level is not None and draws.happens("herniation_chance")
    low = max(lumbar - 3, 0)
    length, height, slope = habit.spinous
    thoracic = np.clip(-lumbar, 0, 3) / 3
    return Cell(
        gap=float(gap),
        hydration=float(
            draws.number("s1_s2_bright")
            if sacral
            else rng.uniform(0, 0.25)
            if dry
            else rng.uniform(0.3, 1)
        ),
        bulge=float(
            0
            if sacral
            else rng.uniform(0.2, 1.5) + (2.5 * narrow + dry) * rng.random() + 1.5 * hernia
        ),
        sac_area=float(sac),
        sac_ratio=float(rng.uniform(1.1, 1.55) + 0.3 * narrow),
        sac_triangle=draws.number("sac_triangle"),
        wide_area=float(max(habit.wide * rng.uniform(0.9, 1.1), 1.03 * sac)),
        flavum=float(rng.uniform(4.0, 8.0)),
        front_fat=float(
            habit.sacral_fat * (0.45 if index == L5 else 1) * rng.uniform(0.6, 1)
            if index >= L5
            else rng.uniform(0, 0.8)
        ),
        epidural=float(habit.epidural * rng.uniform(0.7, 1.2)),
        spinous=(
            float(length * size * rng.uniform(0.88, 1.1) * (0.75 if low > 0 else 1)),
            float(height * rng.uniform(0.85, 1.15) * (1 - 0.35 * thoracic)),
            float(slope + 0.5 * thoracic),
        ),
        front_bulge=float(draws.number("disc_bulge_front") * rng.random()),
        hernia=(
            draws.number("herniation") if hernia else 0.0,
            draws.number("herniation_drift"),
            float(rng.normal(0, 5)),
        ),
        endplates=draws.number("endplate_change")
        if not sacral and draws.happens("endplate_change_chance")
        else 1.0,
        opened=False,
        sides={s: _sample_side(draws, index, level, habit) for s in Side},
    )


def _sample_side(draws: Draws, index: int, level: Level | None, habit: _Habit) -> SideAnatomy:
    rng = draws.rng
    fat, recess = 85.0, 6.0
    if level is not None:
        fat = draw_measure(rng, Condition.FORAMINAL, level)
        recess = draw_measure(rng, Condition.SUBARTICULAR, level)
    low = max(index - L1, 0)
    return SideAnatomy(
        fat_area=fat,
        root_radius=float(rng.uniform(2.2, 3.2)),
        slimness=float(rng.uniform(1.3, 1.85) - 0.25 * (fat < 30)),
        foramen=(
            float(habit.outward + 0.8 * low + rng.normal(0, 0.6)),
            float(habit.back - 0.6 * low + rng.normal(0, 0.4)),
            draws.number("foramen_up"),
        ),
        recess_depth=recess,
        recess=float(8.4 + 0.25 * low + rng.normal(0, 0.5)),
        facet=float(rng.uniform(0.85, 1.2) + 0.25 * rng.random() * (fat < 48 or recess < 4.6)),
    )


def _sample_bodies(draws: Draws, cells: tuple[Cell, ...], size: float) -> tuple[Body, ...]:
    """Place the bodies from S1, at the origin, upwards and downwards."""
    rng, count = draws.rng, len(BODIES)
    tilt, promontory = _sample_tilts(draws)
    curved = draws.happens("scoliosis")
    turn = np.deg2rad(rng.normal(0, 2.5)) + np.deg2rad(rng.normal(0, 2.0, count)).cumsum() * 0.2
    side_curve = rng.normal(0, 2.0) + rng.normal(0, 2.5) * np.array([0, 1, 0.5])
    if curved:
        side_curve = side_curve + np.array([draws.number("scoliosis_lean") for _ in range(3)])
    knots = [BODIES.index("T10"), L1 + 1, L1 + 4, count - 1]
    lean = np.deg2rad(np.interp(np.arange(count), knots, [*side_curve, 0]))
    frames = [_frame(tilt[i], lean[i], turn[i]) for i in range(count)]
    heights, depths, widths, tapers = _sample_sizes(draws, size)
    spurs = draws.number("osteophyte") if draws.happens("osteophyte_chance") else 0.0
    marrow = 1 + rng.normal(0, draws.number("marrow_spread"), count)
    alike = {
        n: draws.number(n) for n in ("boxiness", "corner", "waist", "concavity", "basivertebral")
    }
    slips = np.zeros((count, 3))
    for i in range(L1 - 1, SACRUM):
        if draws.happens("slip_chance"):
            back = rng.random() < 0.3
            slips[i, 1] = draws.number("slip_back") if back else -draws.number("slip_forward")
        if curved and rng.random() < 0.4:
            slips[i, 0] = draws.number("lateral_slip")
    centres = np.zeros((count, 3))
    for i in range(SACRUM - 1, -1, -1):
        step = _step(frames, heights, depths, cells, i)
        centres[i] = centres[i + 1] + step + slips[i] @ frames[i + 1]
    for i in range(SACRUM, count - 1):
        centres[i + 1] = centres[i] - _step(frames, heights, depths, cells, i)
    middle = centres[L1 + 2] - rng.normal([0, -20, -300], [8, 15, 120])
    made = []
    for i in range(count):
        above = i < SACRUM
        spotted = above and draws.happens("haemangioma_chance")
        made.append(
            Body(
                centre=centres[i] - middle,
                frame=frames[i],
                height=float(heights[i]),
                depth=float(depths[i]),
                half_width=float(widths[i]),
                boxiness=float(alike["boxiness"]),
                corner=float(alike["corner"] * rng.uniform(0.8, 1.2)),
                marrow=float(max(marrow[i], 0.4)),
                taper=float(tapers[i]),
                waist=float(alike["waist"] * rng.uniform(0.7, 1.3)) if above else 0.03,
                wedge=draws.number("wedge") - _OWN_WEDGE.get(BODIES[i], 0.0) if above else 0.0,
                concavity=float(alike["concavity"] * rng.uniform(0.6, 1.3)) if above else 0.4,
                spur=float(spurs * rng.random()) if above else 0.0,
                nodes=(_node(draws, above), _node(draws, above)),
                vein=float(alike["basivertebral"] * rng.uniform(0.5, 1)) if above else 0.0,
                spot=(
                    float(rng.choice([0.4, 1.7, 2.0])),
                    float(rng.normal(0, 6)),
                    float(rng.normal(0, 6)),
                    float(rng.normal(0, 5)),
                    float(rng.uniform(3, 8)),
                )
                if spotted
                else (1.0, 0.0, 0.0, 0.0, 0.0),
                tilt=promontory if i == SACRUM else 0.0,
            )
        )
    return tuple(made)


def _node(draws: Draws, possible: bool) -> tuple[float, float]:
    if not possible or not draws.happens("schmorl_chance"):
        return 0.0, 0.0
    return float(draws.rng.uniform(-0.5, 0.5)), draws.number("schmorl")


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


def _sample_tilts(draws: Draws) -> tuple[Vector, float]:
    """Forward tilt of each body, radians, and mm by which S1's endplate tilts over its depth."""
    rng = draws.rng
    slope, promontory = draws.number("sacral_slope"), draws.number("promontory")
    usual = np.array([12, 9, 6, 3, 0, -2, -3, *[-4] * 9])  # L5 on L4 and upwards to T1
    flat = 0.35 + 0.65 * slope / 40
    steps = usual * np.where(usual > 0, draws.number("lordosis") * flat, 1.0)
    steps = steps + [draws.number("step_noise") for _ in steps]
    upwards = np.concatenate([[draws.number("step_l5_s1") * flat], steps])
    downwards = np.array([2, -10, -18, -24]) * draws.number("sacral_kyphosis") + rng.normal(0, 4, 4)
    above = slope - np.cumsum(upwards)
    below = slope + np.cumsum(downwards)
    return np.deg2rad(np.concatenate([above[::-1], [slope], below])), promontory


def _sample_sizes(draws: Draws, size: float) -> tuple[Vector, Vector, Vector, Vector]:
    """Heights, depths, half widths (mm) and tapers of the bodies."""
    rng = draws.rng
    above = np.array(
        [16, 16, 16.5, 17, 18, 18.5, 19, 19.5, 20.5, 21.5, 22.5, 24, 25.5, 26, 26.5, 26.5, 26.5]
    )
    sacral = draws.number("s1_height") * np.array([1, 0.84, 0.7, 0.6, 0.5])
    heights = np.concatenate([above * draws.number("body_height"), sacral]) * size
    depth = draws.number("body_depth") * size
    depths = (
        np.array(
            [16, 17, 18.5, 20.5, 23, 25, 26, 27, 27.5, 28.5, 29.5, 31, 32.5, 33.5, 34.5, 35.5, 35.5]
        )
        * depth
    )
    taper = draws.number("s1_taper")
    second = min(draws.number("s2_depth"), 1 - taper + 0.05)
    down = np.array([1, second, second * 0.72, second * 0.54, second * 0.42])
    depths = np.concatenate([depths, 34.5 * depth * rng.uniform(0.92, 1.05) * down])
    tapers = np.zeros(len(BODIES))
    tapers[SACRUM:] = [taper, *rng.uniform(0.12, 0.32, 4)]
    widths = np.array(
        [13, 13, 13, 13, 13.5, 14, 14.5, 15, 15.5, 16.5, 17.5, 19, 20.5, 21.5, 22.5, 24, 25.5]
    )
    widths = np.concatenate([widths, [25, 19, 15, 12, 10]]) * size * draws.number("body_width")
    heights = heights * (1 + rng.normal(0, 0.025, len(BODIES)))
    for i in range(SACRUM):
        if draws.happens("collapse_chance"):
            heights[i] *= draws.number("collapse")
    return heights, depths, widths, tapers


def _frame(tilt: float, lean: float, turn: float) -> Vector:
    """Frame of a body that is tilted forward, leans to the left and is turned about the up axis."""
    ct, st, cl, sl, cr, sr = (f(a) for a in (tilt, lean, turn) for f in (np.cos, np.sin))
    forward = np.array([[1, 0, 0], [0, ct, -st], [0, st, ct]])
    sideways = np.array([[cl, 0, sl], [0, 1, 0], [-sl, 0, cl]])
    about = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray((sideways @ forward @ about).T)
