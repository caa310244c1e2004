"""Measure discs, bodies, sac, foramina and recesses in outlined slices.

Every function is pure: probabilities in, `Measurements` out. Definitions and sources are in
docs/measurements.md. In a sagittal slice x runs to the back and y to the feet, in an axial slice x
to the patient's left and y to the back; all positions are mm (see `outlined`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.measurement import SITES, Measurement, Measurements, Quality, Quantity, Site
from lumbargrade.domain.outlines import SAGITTAL_STRUCTURES, SEGMENT_OF, Segment, Structure
from lumbargrade.domain.point import Xyz
from lumbargrade.domain.vocabulary import Level, SeriesKind, Side
from lumbargrade.starter.axial import AxialReading
from lumbargrade.starter.bodies import (
    CONNECTED,
    DISC_RADIUS,
    REACH,
    Absent,
    Body,
    Disc,
    Landmarks,
    MidPlane,
    Vertebrae,
    body_name,
)
from lumbargrade.starter.outlined import (
    STEP,
    Image,
    Line,
    Moments,
    Outlined,
    chords,
    distances_to,
    heights_along,
    moments_of,
    outline,
    plane_of,
    pointing,
    region_at,
    sampled,
)
from lumbargrade.starter.sagittal import SagittalSeries

Q = Quantity

#: Height bands of a disc, as shares of its depth from front to back: centre and width.
_BANDS = {
    Q.DISC_HEIGHT_FRONT: (0.2, 0.2),
    Q.DISC_HEIGHT_MIDDLE: (0.5, 0.2),
    Q.DISC_HEIGHT_BACK: (0.8, 0.2),
}
#: Usual height of the disc of each level, mm: middles of the reference ranges of 169 asymptomatic
#: adults (Zhang 2018); and the usual depth of a disc, mm: the mean of the phantoms' bodies.
_USUAL_HEIGHT = dict(zip(Level, (8.6, 9.5, 10.4, 11.2, 10.1), strict=True))
_USUAL_DEPTH = 34.0
#: Largest difference of the steps of the front and the back walls, mm; exact outlines of phantoms
#: reach 5. Larger ones are signs of a bad outline.
_STEPS_APART = 6.0
#: Largest slip, as a share of the depth, that is believed.
_SLIP_LARGEST = 0.6
#: A slice shows a point if it is at most this far away, mm; slices are up to 6 mm apart.
_NEAR = 4.0
#: Half height of the part of the sac that is compared with a disc, mm.
_SAC_NEAR = 15.0
#: Percentile of the sac that stands for CSF.
_CSF = 90.0
#: Width over which lengths of soft parts are averaged, mm.
_BAND = 2.0
#: Smallest area of a foramen, mm2: a nerve root alone covers about 20.
_FORAMEN_AREA = 12.0
#: Smallest length that counts as an outlined sac, mm.
_SAC_SMALLEST = 2.0
#: An axial slice more oblique than this against the canal makes areas too large by over 6 %.
OBLIQUE = 20.0

_LEFT, _BACK, _HEAD = np.eye(3)


class _Notes:
    """Collects measurements of one part of a slice, and why others are absent."""

    def __init__(self) -> None:
        self.found: dict[Site, Measurement] = {}
        self.absent: dict[Site, str] = {}

    def add(
        self, site: Site, value: float, at: Outlined, line: ArrayLike, remark: str = ""
    ) -> None:
        self.put(site, value, at, at.to_patient(line), remark)

    def put(self, site: Site, value: float, at: Outlined, line: Line, remark: str = "") -> None:
        quality = Quality.DOUBTFUL if remark else Quality.GOOD
        area = site.quantity in (Q.SAC_AREA, Q.FORAMEN_AREA)
        self.found[site] = Measurement(
            quantity=site.quantity,
            level=site.level,
            side=site.side,
            value=float(value),
            view=at.kind,
            series_id=at.series_id,
            instance_number=at.instance_number,
            quality=quality,
            remark=remark,
            line=line,
            closed=area,
        )

    def miss(self, sites: Sequence[Site], reason: str) -> None:
        for site in sites:
            self.absent[site] = reason

    def done(self) -> Measurements:
        return Measurements(self.found, self.absent)


# ---------------------------------------------------------------- sagittal


def measure_sagittal(slices: Sequence[Outlined], landmarks: Landmarks) -> Measurements:
    """Measure one sagittal series.

    Each level is measured on the slice nearest to its canal point (or, without it, to its disc),
    each foramen on the slice within 4 mm of its centre that shows most of it.

    Args:
        slices: upright slices with BODY, SACRUM, DISC, SAC and FORAMEN; with images if signals
            are to be measured.
        landmarks: named points of the study.
    """
    notes = _Notes()
    vertebrae = [Vertebrae(one, landmarks) for one in slices]
    for level in Level:
        _measure_level(notes, vertebrae, landmarks, level)
        for side in Side:
            _measure_foramen(notes, slices, landmarks, level, side)
    _measure_lordosis(notes, vertebrae, landmarks)
    return notes.done()


def outlined_slices(series: SagittalSeries) -> list[Outlined]:
    """Return the slices of a sagittal series with their structures, without coil shading.

    Raises:
        ValueError: if the kind of the series is unknown.
    """
    if series.grid.volume.kind is None:
        raise ValueError(f"series {series.series_id}: unknown kind")
    volume, images = series.grid.volume, series.grid.images
    slices = []
    for k, image in enumerate(images):
        corners = series.grid.to_patient([[0, 0, k], [1, 0, k], [0, 1, k]])
        slices.append(
            Outlined(
                {s: series.probability(s, k) for s in SAGITTAL_STRUCTURES},
                plane_of(corners),
                series.grid.volume.kind,
                volume.series_id,
                volume.slices[int(series.grid.maps.zs[k])].instance_number,
                series.grid.field(k),
                image,
            )
        )
    return slices


def measure_series(series: SagittalSeries) -> Measurements:
    """Measure a sagittal series at the points that were found in it.

    A series of unknown kind is not measured, because the signal of CSF in it is unknown.
    """
    if series.grid.volume.kind is None:
        why = f"the kind of series {series.series_id} is unknown"
        return Measurements({}, {site: why for site in SITES if site.quantity not in _AXIAL})
    marks = Landmarks(series.discs, series.canals, series.foramina)
    return measure_sagittal(outlined_slices(series), marks)


def _measure_level(
    notes: _Notes, slices: Sequence[Vertebrae], marks: Landmarks, level: Level
) -> None:
    segment = SEGMENT_OF[level]
    names = {q: Site(q, level) for q in Q if q.has_level and not q.sided and q not in _AXIAL}
    place = _nearest([v.at for v in slices], marks.canals.get(level) or marks.discs.get(segment))
    disc: Disc | str = f"no slice passes through {level.label}"
    if segment not in marks.discs:
        disc = f"the disc {level.label} was not found"
    elif place is not None:
        disc = slices[place].disc(segment)
    if isinstance(disc, str) or place is None:
        notes.miss(list(names.values()), str(disc))
        return
    spine = slices[place]
    plane = spine.mid_plane(segment, disc)
    upper, lower = spine.body(segment), spine.body(Segment(segment + 1))
    heights = _measure_heights(notes, names, spine.at, disc, plane)
    _measure_relative_height(notes, names, spine.at, plane, heights, upper, lower, disc.remark)
    if isinstance(upper, str):
        notes.miss([names[Q.DISC_HEIGHT_INDEX]], upper)
    else:
        length = float(np.linalg.norm(upper.back_bottom - upper.front_bottom))
        index = float(np.mean(list(heights.values()))) / length
        line = [upper.front_bottom, upper.back_bottom]
        notes.add(names[Q.DISC_HEIGHT_INDEX], index, spine.at, line, disc.remark or upper.remark)
    _measure_slip(notes, names, spine.at, plane, upper, lower)
    _measure_sac_diameter(notes, names, spine.at, disc, marks, level)
    _measure_signal(notes, names, spine.at, disc, plane, marks, level)


def _nearest(slices: Sequence[Outlined], lps: Xyz | None) -> int | None:
    """Return the index of the slice that shows a point best; None if none passes through it."""
    if lps is None or not slices:
        return None
    away = [abs(one.from_patient(lps)[1]) for one in slices]
    nearest = int(np.argmin(away))
    return nearest if away[nearest] <= _NEAR else None


def _measure_heights(
    notes: _Notes, names: Mapping[Quantity, Site], at: Outlined, disc: Disc, plane: MidPlane
) -> dict[Quantity, float]:
    """Measure the heights of a disc, mm."""
    heights = {}
    for quantity, (share, width) in _BANDS.items():
        middle = plane.front + plane.back * plane.length * share
        one = chords(
            disc.region,
            at.mm,
            middle,
            plane.head,
            offsets=[0.0],
            reach=DISC_RADIUS,
            band=width * plane.length,
        )
        heights[quantity] = float(one.lengths[0])
        line = one.ends(0) if heights[quantity] > 0 else np.array([middle, middle])
        notes.add(names[quantity], heights[quantity], at, line, disc.remark)
    return heights


def _measure_relative_height(
    notes: _Notes,
    names: Mapping[Quantity, Site],
    at: Outlined,
    plane: MidPlane,
    heights: Mapping[Quantity, float],
    upper: Body | str,
    lower: Body | str,
    remark: str,
) -> None:
    """Compare the height of a disc over its depth with the usual one of the level.

    The front is left out: its height changes with lordosis, and spurs hide it.
    """
    site = names[Q.DISC_HEIGHT_RELATIVE]
    if isinstance(upper, str) or isinstance(lower, str):
        notes.miss([site], upper if isinstance(upper, str) else str(lower))
        return
    assert site.level is not None
    height = (heights[Q.DISC_HEIGHT_MIDDLE] + heights[Q.DISC_HEIGHT_BACK]) / 2
    usual = _USUAL_HEIGHT[site.level] / _USUAL_DEPTH
    line = [plane.front, plane.front + plane.back * plane.length]
    value = height / plane.length / usual
    notes.add(site, value, at, line, remark or upper.remark or lower.remark)


def _measure_slip(
    notes: _Notes,
    names: Mapping[Quantity, Site],
    at: Outlined,
    plane: MidPlane,
    upper: Body | str,
    lower: Body | str,
) -> None:
    """Measure how far the centres of the two endplates are shifted along the mid-plane.

    That is the mean of the steps of the front and of the back walls: a rounded corner or a spur at
    one of them counts half.
    """
    sites = [names[Q.LISTHESIS], names[Q.LISTHESIS_SHARE]]
    if isinstance(upper, str) or isinstance(lower, str):
        notes.miss(sites, upper if isinstance(upper, str) else str(lower))
        return
    length = float(np.linalg.norm(lower.back_top - lower.front_top))
    front, back = lower.front_top - upper.front_bottom, lower.back_top - upper.back_bottom
    steps = np.array([front @ plane.back, back @ plane.back])
    slip = float(steps.mean())
    above = (upper.front_bottom + upper.back_bottom) / 2
    line = [above, above + plane.back * slip, (lower.front_top + lower.back_top) / 2]
    remark = upper.remark or lower.remark
    if abs(slip) > _SLIP_LARGEST * length:
        remark = remark or f"the slip of {abs(slip):.0f} mm is too large to be believed"
    if np.ptp(steps) > _STEPS_APART:
        apart = f"the steps of the front and back walls differ by {np.ptp(steps):.0f} mm"
        remark = remark or apart
    notes.add(sites[0], slip, at, line, remark)
    notes.add(sites[1], slip / length, at, line, remark)


def _canal_direction(at: Outlined, disc: Disc, canal: FloatArray) -> FloatArray:
    """Return the direction of the sac at a disc, towards the feet (2,)."""
    sac = at.probability(Structure.SAC)
    rows, columns = np.indices(sac.shape) * at.mm
    near = np.abs(heights_along(canal, disc.head, columns, rows)) < _SAC_NEAR
    near &= np.abs(heights_along(canal, disc.back, columns, rows)) < _SAC_NEAR
    weights = np.where(near, sac, 0.0)
    feet = -disc.head
    if weights.sum() * at.mm**2 < 60:
        return feet
    moments = moments_of(weights, at.mm)
    axis = pointing(moments.axes[0], feet)
    return axis if axis @ feet > 0.8 else feet


def _measure_sac_diameter(
    notes: _Notes,
    names: Mapping[Quantity, Site],
    at: Outlined,
    disc: Disc,
    marks: Landmarks,
    level: Level,
) -> None:
    site = names[Q.SAGITTAL_SAC_DIAMETER]
    if level not in marks.canals:
        notes.miss([site], f"no point of the canal was found at {level.label}")
        return
    point = at.from_patient(marks.canals[level])[0]
    canal = disc.centre + disc.back * ((point - disc.centre) @ disc.back)
    feet = _canal_direction(at, disc, canal)
    across = np.array([feet[1], -feet[0]])  # to the back
    found = chords(
        at.probability(Structure.SAC),
        at.mm,
        canal,
        across,
        offsets=np.arange(-4, 4.01, 0.5),
        reach=_SAC_NEAR,
        band=_BAND,
    )
    least = int(found.lengths.argmin())
    if found.lengths[least] < _SAC_SMALLEST:
        notes.miss([site], f"the sac is not outlined at {level.label}")
        return
    notes.add(site, found.lengths[least], at, found.ends(least), disc.remark)


def _measure_signal(
    notes: _Notes,
    names: Mapping[Quantity, Site],
    at: Outlined,
    disc: Disc,
    plane: MidPlane,
    marks: Landmarks,
    level: Level,
) -> None:
    sites = [names[Q.DISC_SIGNAL], names[Q.DISC_TO_BODY]]
    if at.image is None:
        notes.miss(sites, "no image was given")
        return
    rows, columns = np.indices(disc.region.shape) * at.mm
    middle = plane.front + plane.back * plane.length / 2
    along = np.abs(heights_along(middle, plane.back, columns, rows))
    inner = (disc.region > 0.5) & (along < 0.25 * plane.length)
    height = heights_along(disc.centre, plane.head, columns, rows)
    inner &= np.abs(height) < max(0.3 * np.ptp(height[inner]), at.mm) if inner.any() else False
    if inner.sum() < 4:
        notes.miss(sites, f"the disc {level.label} has too few pixels")
        return
    signal = float(np.median(at.image[inner]))
    box = plane.length / 4 * plane.back
    line = [middle - box, middle + box]
    bone = at.probability(Structure.BODY, Structure.SACRUM) > 0.5
    bone &= (along < 0.25 * plane.length) & (np.abs(height) < 18)
    _add_ratio(notes, sites[1], signal, at.image, at, bone, 50.0, line, disc.remark, "bodies")
    if at.kind is not SeriesKind.SAGITTAL_T2:
        notes.miss(sites[:1], "CSF is compared on T2 only")
        return
    if level not in marks.canals:
        notes.miss(sites[:1], f"no point of the canal was found at {level.label}")
        return
    canal = at.from_patient(marks.canals[level])[0]
    sac = at.probability(Structure.SAC) > 0.5
    sac &= np.abs(heights_along(canal, disc.head, columns, rows)) < _SAC_NEAR
    sac &= np.abs(heights_along(canal, disc.back, columns, rows)) < _SAC_NEAR
    _add_ratio(notes, sites[0], signal, at.image, at, sac, _CSF, line, disc.remark, "sac")


def _add_ratio(
    notes: _Notes,
    site: Site,
    signal: float,
    image: Image,
    at: Outlined,
    reference: NDArray[np.bool_],
    percentile: float,
    line: Sequence[FloatArray],
    remark: str,
    what: str,
) -> None:
    """Add the ratio of a signal to a percentile of the reference pixels."""
    if reference.sum() < 20:
        notes.miss([site], f"too few pixels of the {what} are outlined")
        return
    other = float(np.percentile(image[reference], percentile))
    if other <= 0:
        notes.miss([site], f"the {what} are black")
        return
    notes.add(site, signal / other, at, line, remark)


def _measure_foramen(
    notes: _Notes, slices: Sequence[Outlined], marks: Landmarks, level: Level, side: Side
) -> None:
    quantities = (Q.FORAMEN_HEIGHT, Q.FORAMEN_WIDTH, Q.FORAMEN_AREA)
    sites = [Site(q, level, side) for q in quantities]
    name = f"the {side} foramen of {level.label}"
    if (level, side) not in marks.foramina:
        notes.miss(sites, f"{name} was not found")
        return
    lps = marks.foramina[level, side]
    near = [one for one in slices if abs(one.from_patient(lps)[1]) <= _NEAR]
    if not near:
        notes.miss(sites, f"no slice passes through {name}")
        return
    # at its ends, a foramen is partly hidden by the pedicles
    regions = [_foramen(one, lps) for one in near]
    areas = [0.0 if r is None else float(r.sum()) * near[0].mm ** 2 for r in regions]
    best = int(np.argmax(areas))
    at, region = near[best], regions[best]
    if region is None:
        notes.miss(sites, f"{name} is not outlined")
        return
    if areas[best] < _FORAMEN_AREA:
        notes.miss(sites, f"the outline of {name} covers only {areas[best]:.0f} mm2")
        return
    if at.cut(region):
        notes.miss(sites, f"{name} is cut by the edge of the image")
        return
    feet = at.direction(_spine_direction(marks, level))
    moments = moments_of(region, at.mm)
    offsets = np.arange(-15, 15.01, 0.5)
    tall = _longest(region, at, moments, feet, offsets)
    wide = _longest(region, at, moments, np.array([feet[1], -feet[0]]), offsets)
    notes.add(sites[0], tall[0], at, tall[1])
    notes.add(sites[1], wide[0], at, wide[1])
    notes.add(sites[2], moments.area, at, outline(region, at.mm)[:-1])


def _foramen(at: Outlined, lps: Xyz) -> Image | None:
    point = at.from_patient(lps)[0]
    return region_at(at.probability(Structure.FORAMEN), point, at.mm, REACH)


def _longest(
    region: Image, at: Outlined, moments: Moments, along: FloatArray, offsets: FloatArray
) -> tuple[float, FloatArray]:
    """Return the longest chord of a region in a direction, and its ends (2, 2)."""
    found = chords(region, at.mm, moments.centre, along, offsets=offsets, reach=25.0, band=_BAND)
    most = int(found.lengths.argmax())
    return float(found.lengths[most]), found.ends(most)


def _spine_direction(marks: Landmarks, level: Level) -> FloatArray:
    """Return the direction of the spine at a level towards the feet (3,), from disc centres."""
    own = SEGMENT_OF[level]
    near = sorted(s for s in marks.discs if abs(s - own) <= 1)
    steps = [np.subtract(marks.discs[b], marks.discs[a]) for a, b in pairwise(near)]
    return np.sum(steps, axis=0) if steps else -_HEAD


def _measure_lordosis(notes: _Notes, slices: Sequence[Vertebrae], marks: Landmarks) -> None:
    site = Site(Q.LORDOSIS)
    plates = []
    for above, below in ((Segment.T12_L1, Segment.L1_L2), (Segment.L5_S1, Segment.S1_S2)):
        place = _nearest([v.at for v in slices], marks.discs.get(above))
        if place is None:
            known = above in marks.discs
            why = "no slice passes through" if known else "no point was found of"
            notes.miss([site], f"{why} the disc {above.label}")
            return
        body = slices[place].body(below)
        if not isinstance(body, str) and np.isnan(body.front_top).any():
            body = f"the upper endplate of {body_name(below)} is unknown"
        if isinstance(body, str):
            notes.miss([site], body)
            return
        plates.append((slices[place].at, body))
    (first, top), (last, bottom) = plates
    a, b = top.back_top - top.front_top, bottom.back_top - bottom.front_top
    # y runs to the feet, so a positive turn from L1 to S1 is clockwise in the picture: lordosis
    # turns the other way
    value = np.degrees(np.arctan2(a[1] * b[0] - a[0] * b[1], a @ b))
    line = (
        *first.to_patient([top.front_top, top.back_top]),
        *last.to_patient([bottom.back_top, bottom.front_top]),
    )
    notes.put(site, float(value), last, line, top.remark or bottom.remark)


def meyerding(slip_mm: float, share: float) -> int:
    """Return the Meyerding grade, 0 to 5, of a slip to the front or back.

    Grade 1 is up to a quarter of the endplate, 5 more than all of it (spondyloptosis). A slip under
    3 mm is grade 0, because it cannot be told from the error of measurement.
    """
    if abs(slip_mm) < 3:
        return 0
    return int(min(np.floor(abs(share) * 4), 4)) + 1


# ---------------------------------------------------------------- axial

_AXIAL = {Q.SAC_AREA, Q.SAC_DIAMETER, Q.RECESS_DEPTH}


def measure_axial_levels(reading: AxialReading) -> Measurements:
    """Measure the slice of every level, in every series that shows it; the best series counts."""
    parts = [
        measure_axial(
            one.outlined,
            level,
            one.canal,
            {side: p.patient for side, p in one.recesses.items() if p.patient is not None},
            spine=one.normal,
            remark=one.remark,
        )
        for level, shown in reading.levels.items()
        for one in shown
    ]
    missing = {
        site: why
        for level, why in reading.absent.items()
        for site in SITES
        if site.quantity in _AXIAL and site.level is level
    }
    joined = Measurements.joined([*parts, Measurements({}, missing)], "no series shows it")
    kept = {s: why for s, why in joined.absent.items() if s.quantity in _AXIAL}
    return Measurements(joined.found, kept)


def measure_axial(
    at: Outlined,
    level: Level,
    canal: Xyz,
    recesses: Mapping[Side, Xyz],
    *,
    spine: ArrayLike | None = None,
    remark: str = "",
) -> Measurements:
    """Measure the slice of a level.

    Args:
        at: an upright slice with BODY, DISC, SAC and FACET.
        level: the level that it cuts.
        canal: middle of the sac, LPS mm.
        recesses: the recess of each side that was found, LPS mm.
        spine: direction of the spine at the level (3,), if known.
        remark: why the slice is not a good one, if so.
    """
    notes = _Notes()
    sides = {side: Site(Q.RECESS_DEPTH, level, side) for side in Side}
    sac_sites = [Site(Q.SAC_AREA, level), Site(Q.SAC_DIAMETER, level)]
    label = level.label
    tilt = _tilt(at, spine)
    if not remark and tilt > OBLIQUE:
        remark = f"the slice is oblique by {tilt:.0f} degrees against the canal"
    point = at.from_patient(canal)[0]
    whole = at.probability(Structure.SAC)
    sac = region_at(whole, point, at.mm, REACH)
    back = np.array([0.0, 1.0])
    if sac is None:
        notes.miss(sac_sites, f"the sac is not outlined at {label}")
    elif at.cut(sac):
        notes.miss(sac_sites, f"the sac is cut by the edge of the image at {label}")
    else:
        moments = moments_of(sac, at.mm)
        back = _backwards(at, moments.centre)
        split = (sac > 0.5).sum() < CONNECTED * (whole > 0.5).sum()
        why = remark or ("the outline of the sac is in pieces" if split else "")
        depth = _longest(sac, at, moments, back, np.arange(-6, 6.01, 0.5))
        notes.add(sac_sites[0], moments.area, at, outline(sac, at.mm)[:-1], why)
        notes.add(sac_sites[1], depth[0], at, depth[1], why)
    for side, site in sides.items():
        if side not in recesses:
            notes.miss([site], f"the {side} recess of {label} was not found")
            continue
        try:
            line = _recess(at, at.from_patient(recesses[side])[0], back, side, f"{side} {label}")
        except Absent as missing:
            notes.miss([site], str(missing))
            continue
        notes.add(site, float(np.linalg.norm(line[1] - line[0])), at, line, remark)
    return notes.done()


def _tilt(at: Outlined, spine: ArrayLike | None) -> float:
    """Return the angle between a slice's normal and the canal, degrees; 0 if unknown."""
    if spine is None:
        return 0.0
    direction = np.asarray(spine, float)
    cosine = abs(at.plane.normal @ direction) / np.linalg.norm(direction)
    return float(np.degrees(np.arccos(min(cosine, 1.0))))


def _backwards(at: Outlined, sac: FloatArray) -> FloatArray:
    """Return the antero-posterior direction (2,): from the disc or body to the sac.

    The image's own direction is used if the vertebra is turned by more than 30 degrees, which is
    a sign of a bad outline.
    """
    back = np.array([0.0, 1.0])
    front = at.probability(Structure.DISC, Structure.BODY)
    rows, columns = np.indices(front.shape) * at.mm
    region = np.where(distances_to(sac, columns, rows) < 45, front, 0.0)
    if region.sum() * at.mm**2 < 300:
        return back
    step = sac - moments_of(region, at.mm).centre
    unit = step / np.linalg.norm(step)
    return unit if unit @ back > np.cos(np.radians(30)) else back


#: The recess is measured on lines from its point to this far outwards, mm: the facet's front edge
#: lies beside the recess's middle.
_OUTWARDS = np.arange(-1.0, 6.01, 0.5)
#: Neighbouring lines whose median is taken, and the fewest lines that reach both ends.
_LINES, _FEWEST = 3, 3


def _recess(at: Outlined, point: FloatArray, back: FloatArray, side: Side, name: str) -> FloatArray:
    """Return the line of a recess (2, 2), where it is shallowest: disc or body to facet.

    Raises:
        Absent: if either end is not outlined within 15 mm.
    """
    front = at.probability(Structure.DISC, Structure.BODY)
    facet = at.probability(Structure.FACET)
    left = np.array([back[1], -back[0]])
    outward = left if side is Side.LEFT else -left
    lines = []
    for offset in _OUTWARDS:
        start = point + outward * offset
        first = _first_above_half(front, at.mm, start, -back)
        last = _first_above_half(facet, at.mm, start, back)
        if np.isfinite(first) and np.isfinite(last):
            lines.append((offset, first, last))
    if len(lines) < _FEWEST:
        raise Absent(f"disc and facet are not outlined on both sides of the recess ({name})")
    depths = [first + last for _, first, last in lines]
    near = [depths[max(i - 1, 0) : i + _LINES - 1] for i in range(len(depths))]
    smooth = np.array([np.median(part) for part in near])
    # of lines that are equally short, the one nearest to the point
    least = np.flatnonzero(smooth <= smooth.min() + 0.1)
    chosen = int(min(least, key=lambda i: abs(lines[i][0])))
    offset, first, _ = lines[chosen]
    end = point + outward * offset - back * first
    return np.array([end, end + back * smooth[chosen]])


def _first_above_half(
    probability: Image, mm: float, start: FloatArray, direction: FloatArray
) -> float:
    """Return where a structure begins on a ray, mm; negative if the start lies inside it.

    NaN if there is none within 15 mm.
    """
    t = np.arange(-4, 15, STEP)
    values = sampled(probability, mm, start + t[:, None] * direction)
    above = np.flatnonzero(values >= 0.5)
    if not above.size:
        return float("nan")
    i = int(above[0])
    if i == 0:
        return float("nan")
    share = (0.5 - values[i - 1]) / (values[i] - values[i - 1])
    return float(t[i - 1] + share * STEP)
