"""Measurements of outlines with known geometry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumbargrade.domain.measurement import SITES, Measurement, Measurements, Quality, Quantity, Site
from lumbargrade.domain.outlines import Segment, Structure
from lumbargrade.domain.vocabulary import Level, SeriesKind, Side
from lumbargrade.starter.bodies import Landmarks, Vertebrae
from lumbargrade.starter.measurements import measure_sagittal, meyerding
from made_outlines import Spine, drawn, sagittal_plane

Q = Quantity
WEDGED = Spine(
    heights=((8, 6), (9, 5), (10, 6), (12, 6), (13, 6), (14, 5)), slips=(0, 0, 0, 0, 6, -3)
)


#: Usual height of a disc of 34 mm depth at each level, mm.
USUAL = (8.6, 9.5, 10.4, 11.2, 10.1)
STRAIGHT = Spine(heights=((7, 7),) * 6)


def measured(spine: Spine, **changes: object) -> Measurements:
    at = replace(spine.outlined(), **changes)
    return measure_sagittal([at], spine.landmarks(at))


def value(m: Measurements, quantity: Quantity, level: Level, side: Side | None = None) -> float:
    return m.found[Site(quantity, level, side)].value


def true_slip(spine: Spine, disc: int) -> float:
    """Slip at a disc from the corners of the polygons, mm."""
    bodies, _, _ = spine.polygons()
    upper, lower = bodies[disc], bodies[disc + 1]
    mean = (upper[2] - upper[3]) + (lower[1] - lower[0])
    return float((lower[1] - upper[2]) @ mean / np.linalg.norm(mean))


@pytest.mark.parametrize("spine", [Spine(), WEDGED, replace(WEDGED, angle=20, shift=(0.4, -0.7))])
def test_a_drawn_spine_has_its_numbers(spine: Spine) -> None:
    m = measured(spine)
    for i, level in enumerate(Level, 1):
        front, back = spine.heights[i]
        found = {}
        for quantity, share in (
            (Q.DISC_HEIGHT_FRONT, 0.2),
            (Q.DISC_HEIGHT_MIDDLE, 0.5),
            (Q.DISC_HEIGHT_BACK, 0.8),
        ):
            moved = share + spine.slips[i] / 2 / spine.body[0]  # the mid-plane slips by half
            expected = front + (back - front) * moved
            found[quantity] = expected
            assert value(m, quantity, level) == pytest.approx(expected, abs=0.25)
        relative = (found[Q.DISC_HEIGHT_MIDDLE] + found[Q.DISC_HEIGHT_BACK]) / 2 / USUAL[i - 1]
        assert value(m, Q.DISC_HEIGHT_RELATIVE, level) == pytest.approx(relative, abs=0.03)
        index = (front + (back - front) * (0.5 + spine.slips[i] / 2 / 34)) / 34
        assert value(m, Q.DISC_HEIGHT_INDEX, level) == pytest.approx(index, abs=0.01)
        slip = true_slip(spine, i)
        assert value(m, Q.LISTHESIS, level) == pytest.approx(slip, abs=0.3)
        assert value(m, Q.LISTHESIS_SHARE, level) == pytest.approx(slip / 34, abs=0.01)
        assert value(m, Q.SAGITTAL_SAC_DIAMETER, level) == pytest.approx(spine.sac, abs=0.4)
        assert value(m, Q.DISC_SIGNAL, level) == pytest.approx(0.25, abs=0.01)
        assert value(m, Q.DISC_TO_BODY, level) == pytest.approx(0.5, abs=0.01)
        assert value(m, Q.FORAMEN_HEIGHT, level, Side.LEFT) == pytest.approx(18, abs=0.6)
        assert value(m, Q.FORAMEN_WIDTH, level, Side.LEFT) == pytest.approx(10, abs=0.5)
        area = np.pi * 5 * 9
        assert value(m, Q.FORAMEN_AREA, level, Side.LEFT) == pytest.approx(area, rel=0.01)
    turns = sum(np.degrees(np.arcsin((f - b) / 34)) for f, b in spine.heights[1:])
    assert m.found[Site(Q.LORDOSIS)].value == pytest.approx(turns, abs=0.7)
    assert {x.quality for x in m.found.values()} == {Quality.GOOD}
    assert not m.absent


slow = settings(max_examples=4, deadline=None)
shifts = st.floats(-1.5, 1.5)


@slow
@given(angle=st.floats(-30, 30), x=shifts, y=shifts)
def test_turning_and_moving_the_patient_changes_nothing(angle: float, x: float, y: float) -> None:
    before, after = measured(WEDGED), measured(replace(WEDGED, angle=angle, shift=(x, y)))
    assert before.found.keys() == after.found.keys()
    for site, one in before.found.items():
        tolerance = {"mm": 0.35, "mm2": 3.0, "degrees": 0.7, "ratio": 0.012}[one.quantity.unit]
        assert after.found[site].value == pytest.approx(one.value, abs=tolerance), site.name


@slow
@given(scale=st.floats(0.85, 1.2))
def test_lengths_grow_with_the_patient(scale: float) -> None:
    big = replace(
        WEDGED,
        heights=tuple((f * scale, b * scale) for f, b in WEDGED.heights),
        slips=tuple(s * scale for s in WEDGED.slips),
        body=(34 * scale, 26 * scale),
        sac=13 * scale,
        foramen=(5 * scale, 9 * scale),
        size=224,
    )
    before, after = measured(WEDGED), measured(big)
    for site, one in before.found.items():
        power = {"mm": 1, "mm2": 2, "degrees": 0, "ratio": 0}[one.quantity.unit]
        expected = one.value * scale**power
        tolerance = {"mm": 0.45, "mm2": 4.0, "degrees": 0.8, "ratio": 0.02}[one.quantity.unit]
        assert after.found[site].value == pytest.approx(expected, abs=tolerance), site.name


def test_landmarks_need_not_be_exact() -> None:
    at = WEDGED.outlined()
    exact = measure_sagittal([at], WEDGED.landmarks(at))
    moved = measure_sagittal([at], WEDGED.landmarks(at, (2.0, 1.5)))
    for site, one in exact.found.items():
        tolerance = {"mm": 0.3, "mm2": 1.0, "degrees": 0.7, "ratio": 0.02}[one.quantity.unit]
        assert moved.found[site].value == pytest.approx(one.value, abs=tolerance), site.name


def test_a_jagged_outline_moves_corners_little() -> None:
    rng = np.random.default_rng(5)
    at = WEDGED.outlined()
    hard = {
        s: (p + rng.normal(0, 0.25, p.shape) > 0.5).astype(float)
        for s, p in at.probabilities.items()
    }
    m = measure_sagittal([replace(at, probabilities=hard)], WEDGED.landmarks(at))
    for i, level in enumerate(Level, 1):
        assert value(m, Q.LISTHESIS, level) == pytest.approx(true_slip(WEDGED, i), abs=1.0)
    turns = sum(np.degrees(np.arcsin((f - b) / 34)) for f, b in WEDGED.heights[1:])
    assert m.found[Site(Q.LORDOSIS)].value == pytest.approx(turns, abs=2)


def test_lines_lie_where_they_were_measured_and_are_as_long_as_the_value() -> None:
    spine = replace(WEDGED, angle=10)
    plane = sagittal_plane(1.5, x=4.2)
    at = spine.outlined(plane)
    m = measure_sagittal([at], spine.landmarks(at))
    for site, one in m.found.items():
        line = np.array(one.line)
        assert np.allclose(line[:, 0], 4.2)
        assert (one.series_id, one.instance_number) == ("7", 3)
        if one.quantity.unit == "mm":
            length = np.linalg.norm(line[1] - line[0])
            assert length == pytest.approx(abs(one.value), abs=1e-6), site.name
        assert one.closed == (site.quantity is Q.FORAMEN_AREA)
    outline = np.array(m.found[Site(Q.FORAMEN_AREA, Level.L3_L4, Side.LEFT)].line)[:, 1:]
    x, y = outline.T
    shoelace = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    assert shoelace == pytest.approx(np.pi * 45, rel=0.08)


def test_sides_are_those_of_the_points() -> None:
    plain = Spine()
    small = replace(plain, foramen=(3.0, 6.0))
    left, right = plain.outlined(sagittal_plane(1.5, 15)), small.outlined(sagittal_plane(1.5, -15))
    middle = plain.outlined()
    foramina = {
        (level, side): lps
        for at, side in ((left, Side.LEFT), (right, Side.RIGHT))
        for (level, _), lps in plain.landmarks(at).foramina.items()
    }
    marks = replace(plain.landmarks(middle), foramina=foramina)
    slices = [right, middle, left]
    m = measure_sagittal(slices, marks)
    for level in Level:
        assert value(m, Q.FORAMEN_HEIGHT, level, Side.LEFT) > 16
        assert value(m, Q.FORAMEN_HEIGHT, level, Side.RIGHT) < 13
    swapped = {(level, side.mirror()): lps for (level, side), lps in foramina.items()}
    mirrored = measure_sagittal(slices, replace(marks, foramina=swapped))
    assert {s.mirror(): x.value for s, x in mirrored.found.items()} == {
        s: x.value for s, x in m.found.items()
    }


def test_a_foramen_is_measured_where_most_of_it_is_seen() -> None:
    small, large = replace(Spine(), foramen=(3.0, 6.0)), Spine()
    near, further = small.outlined(sagittal_plane(1.5, 1)), large.outlined(sagittal_plane(1.5, -3))
    marks = small.landmarks(small.outlined())
    m = measure_sagittal([near, further], marks)
    assert value(m, Q.FORAMEN_HEIGHT, Level.L3_L4, Side.LEFT) > 16
    tiny = replace(Spine(), foramen=(1.6, 1.6)).outlined()
    reason = measure_sagittal([tiny], marks).absent[Site(Q.FORAMEN_AREA, Level.L3_L4, Side.LEFT)]
    assert reason.startswith("the outline of the left foramen of L3/L4 covers only")


def test_a_disc_without_a_slice_or_a_point_is_absent() -> None:
    spine = Spine()
    at = spine.outlined()
    marks = spine.landmarks(at)
    away = measure_sagittal([replace(at, plane=sagittal_plane(1.5, 9.0))], marks)
    assert not away.found
    assert away.absent[Site(Q.LISTHESIS, Level.L1_L2)] == "no slice passes through L1/L2"
    others = {s: p for s, p in marks.discs.items() if s is not Segment.L4_L5}
    fewer = Landmarks(others, marks.canals)
    m = measure_sagittal([at], fewer)
    assert m.absent[Site(Q.LISTHESIS, Level.L4_L5)] == "the disc L4/L5 was not found"
    assert Site(Q.DISC_HEIGHT_BACK, Level.L3_L4) in m.found
    missing = m.absent[Site(Q.FORAMEN_AREA, Level.L3_L4, Side.LEFT)]
    assert missing == "the left foramen of L3/L4 was not found"


def test_without_t12_l1_there_is_no_lordosis_but_everything_else() -> None:
    at = WEDGED.outlined()
    marks = WEDGED.landmarks(at)
    known = {s: p for s, p in marks.discs.items() if s is not Segment.T12_L1}
    m = measure_sagittal([at], replace(marks, discs=known))
    assert set(m.absent) == {Site(Q.LORDOSIS)}
    full = measure_sagittal([at], marks)
    site = Site(Q.LISTHESIS, Level.L1_L2)
    assert m.found[site].value == pytest.approx(full.found[site].value, abs=0.4)


def test_what_the_field_cuts_is_absent() -> None:
    spine = STRAIGHT
    at = spine.outlined()
    bodies, _, _ = spine.polygons()
    last = int(bodies[6][:, 1].min() / spine.mm) + 8  # the field ends 12 mm into S1
    field = np.ones_like(at.field)
    field[last:] = False
    probabilities = {s: np.where(field, p, 0) for s, p in at.probabilities.items()}
    cut = replace(at, field=field, probabilities=probabilities)
    m = measure_sagittal([cut], spine.landmarks(at))
    assert m.absent[Site(Q.LORDOSIS)] == "S1 is cut by the edge of the image"
    assert m.absent[Site(Q.LISTHESIS, Level.L5_S1)] == "S1 is cut by the edge of the image"
    assert Site(Q.LISTHESIS, Level.L4_L5) in m.found


def test_outlines_that_are_not_those_of_the_structure_are_absent_or_doubtful() -> None:
    spine = Spine()
    at = spine.outlined()
    _, discs, _ = spine.polygons()
    middle = discs[3].mean(axis=0)
    rows, columns = np.indices(at.field.shape) * spine.mm
    shift = columns - middle[0]
    here = np.abs(rows - middle[1]) < 15

    def changed(mask: np.ndarray) -> Measurements:
        disc = np.where(here & mask, 0, at.probabilities[Structure.DISC])
        one = replace(at, probabilities={**at.probabilities, Structure.DISC: disc})
        return measure_sagittal([one], spine.landmarks(at))

    site = Site(Q.DISC_HEIGHT_BACK, Level.L3_L4)
    assert changed(np.ones_like(here)).absent[site] == "no disc is outlined at L3/L4"
    small = changed(np.abs(shift) > 2).absent[site]
    assert small.startswith("the outline of the disc L3/L4 covers only")
    split = changed(np.abs(shift - 4) < 2).found[site]
    assert split.quality is Quality.DOUBTFUL
    assert split.remark == "the outline of the disc L3/L4 is in pieces"
    assert changed(np.zeros_like(here)).found[site].quality is Quality.GOOD


def test_a_body_that_is_no_quadrilateral_is_absent() -> None:
    spine = Spine()
    at = spine.outlined()
    bodies, _, _ = spine.polygons()
    body = bodies[3]  # L3 becomes a triangle
    shape = at.field.shape
    whole, half = (drawn([p], shape, spine.mm) for p in (body, body[[0, 2, 3]]))
    bone = at.probabilities[Structure.BODY] - whole + half
    one = replace(at, probabilities={**at.probabilities, Structure.BODY: bone})
    fit = Vertebrae(one, spine.landmarks(at)).body(Segment.L3_L4)
    assert fit == "the outline of L3 is not that of a vertebral body"


def test_a_body_that_reaches_forward_slips_by_half_and_is_doubtful_if_by_much() -> None:
    spine = STRAIGHT
    at = spine.outlined()
    bodies, _, _ = spine.polygons()
    site = Site(Q.LISTHESIS, Level.L4_L5)

    def longer(mm: float) -> Measurement:
        body = bodies[5] - np.array([[mm, 0], [0, 0], [0, 0], [mm, 0]])
        front = drawn([body], at.field.shape, spine.mm)
        bone = np.maximum(at.probabilities[Structure.BODY], front)
        one = replace(at, probabilities={**at.probabilities, Structure.BODY: bone})
        return measure_sagittal([one], spine.landmarks(at)).found[site]

    little, much = longer(4), longer(8)
    assert little.value == pytest.approx(-2, abs=0.3)
    assert little.quality is Quality.GOOD
    assert much.value == pytest.approx(-4, abs=0.3)
    assert much.remark == "the steps of the front and back walls differ by 8 mm"


def test_a_slip_of_most_of_the_depth_is_doubtful() -> None:
    large = replace(STRAIGHT, slips=(0, 0, 0, 22, 0, 0), size=224)
    one = measured(large).found[Site(Q.LISTHESIS, Level.L3_L4)]
    assert one.value == pytest.approx(22, abs=0.5)
    assert one.remark == "the slip of 22 mm is too large to be believed"
    less = replace(large, slips=(0, 0, 0, 19, 0, 0))
    assert measured(less).found[Site(Q.LISTHESIS, Level.L3_L4)].quality is Quality.GOOD


def test_signals_depend_on_the_kind_of_series() -> None:
    t1 = measured(Spine(), kind=SeriesKind.SAGITTAL_T1)
    assert t1.absent[Site(Q.DISC_SIGNAL, Level.L3_L4)] == "CSF is compared on T2 only"
    assert value(t1, Q.DISC_TO_BODY, Level.L3_L4) == pytest.approx(0.5, abs=0.01)
    blind = measured(Spine(), image=None)
    assert blind.absent[Site(Q.DISC_TO_BODY, Level.L3_L4)] == "no image was given"


def test_the_sac_is_measured_where_it_is_narrowest_near_the_disc() -> None:
    spine = STRAIGHT
    at = spine.outlined()
    _, discs, _ = spine.polygons()
    rows, columns = np.indices(at.field.shape) * spine.mm
    middle = discs[3].mean(axis=0)
    front = discs[3][1:3, 0].mean() + 3
    pinched = (np.abs(rows - middle[1] - 2) < 3) & (columns < front + 6)
    sac = np.where(pinched, 0, at.probabilities[Structure.SAC])
    one = replace(at, probabilities={**at.probabilities, Structure.SAC: sac})
    m = measure_sagittal([one], spine.landmarks(at))
    narrow = sac[np.abs(rows[:, 0] - middle[1] - 2).argmin()].sum() * spine.mm
    assert narrow < 8
    assert value(m, Q.SAGITTAL_SAC_DIAMETER, Level.L3_L4) == pytest.approx(narrow, abs=0.1)
    assert value(m, Q.SAGITTAL_SAC_DIAMETER, Level.L2_L3) == pytest.approx(13, abs=0.4)
    gone = np.where(np.abs(rows - middle[1]) < 4, 0, at.probabilities[Structure.SAC])
    none = replace(at, probabilities={**at.probabilities, Structure.SAC: gone})
    absent = measure_sagittal([none], spine.landmarks(at)).absent
    assert absent == {
        Site(Q.SAGITTAL_SAC_DIAMETER, Level.L3_L4): "the sac is not outlined at L3/L4"
    }


@pytest.mark.parametrize(
    ("mm", "share", "grade"),
    [(2.0, 0.06, 0), (-2.9, -0.1, 0), (5, 0.15, 1), (-5, -0.2, 1), (9, 0.3, 2), (40, 1.2, 5)],
)
def test_meyerding(mm: float, share: float, grade: int) -> None:
    assert meyerding(mm, share) == grade


def test_series_are_joined_good_first() -> None:
    good = measured(Spine())
    doubtful = Measurements(
        {s: replace(x, quality=Quality.DOUBTFUL, remark="blurred") for s, x in good.found.items()}
    )
    joined = Measurements.joined([Measurements(), doubtful, good], "no series shows it")
    assert set(joined.found) | set(joined.absent) == set(SITES)
    assert {x.quality for x in joined.found.values()} == {Quality.GOOD}
    assert joined.absent[Site(Q.SAC_AREA, Level.L1_L2)] == "no series shows it"
