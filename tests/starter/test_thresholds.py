"""Grades by thresholds from the literature."""

from __future__ import annotations

import pytest

from lumbargrade.domain.findings import Finding
from lumbargrade.domain.measurement import Measurement, Measurements, Quality, Quantity, Site
from lumbargrade.domain.vocabulary import (
    TABLE_ORDER,
    Condition,
    Grade,
    Level,
    SeriesKind,
    Side,
    Target,
)
from lumbargrade.starter import thresholds
from lumbargrade.starter.thresholds import SOURCES, disagreements, opinions

Q = Quantity
LEVEL = Level.L4_L5
CANAL = Target(Condition.CANAL, LEVEL)
FORAMEN = Target(Condition.FORAMINAL, LEVEL, Side.LEFT)
RECESS = Target(Condition.SUBARTICULAR, LEVEL, Side.RIGHT)
GRADES = [Grade.NORMAL_MILD, Grade.MODERATE, Grade.SEVERE]


def given(*values: tuple[Quantity, Side | None, float], doubtful: bool = False) -> Measurements:
    quality = Quality.DOUBTFUL if doubtful else Quality.GOOD
    remark = "blurred" if doubtful else ""
    found = {}
    for quantity, side, value in values:
        one = Measurement(
            quantity, LEVEL, side, value, SeriesKind.AXIAL_T2, "1", 1, quality, remark
        )
        found[one.site] = one
    return Measurements(found)


@pytest.mark.parametrize(
    ("quantity", "side", "target", "values", "source"),
    [
        (Q.SAC_AREA, None, CANAL, (101, 100, 76, 75), "Schonstrom 1985"),
        (Q.SAGITTAL_SAC_DIAMETER, None, CANAL, (12.1, 12, 10.1, 10), "Verbiest 1977"),
        (Q.RECESS_DEPTH, Side.RIGHT, RECESS, (5.1, 5, 3.1, 3), "Ciric 1980"),
    ],
)
def test_limits_are_those_of_the_papers(
    quantity: Quantity,
    side: Side | None,
    target: Target,
    values: tuple[float, float, float, float],
    source: str,
) -> None:
    expected = [Grade.NORMAL_MILD, Grade.MODERATE, Grade.MODERATE, Grade.SEVERE]
    for value, grade in zip(values, expected, strict=True):
        opinion = opinions(given((quantity, side, value)))[0][target]
        assert (opinion.grade, opinion.quantity, opinion.value) == (grade, quantity, value)
        assert opinion.source == source
        assert source in SOURCES
        assert source in opinion.reason


@pytest.mark.parametrize(
    ("height", "disc", "grade", "decides"),
    [
        (16, 5, Grade.NORMAL_MILD, Q.FORAMEN_HEIGHT),
        (15, 5, Grade.MODERATE, Q.FORAMEN_HEIGHT),
        (16, 4, Grade.MODERATE, Q.DISC_HEIGHT_BACK),
        (15, 4, Grade.SEVERE, Q.FORAMEN_HEIGHT),
        (12, None, Grade.MODERATE, Q.FORAMEN_HEIGHT),
    ],
)
def test_a_foramen_is_narrow_by_its_height_and_that_of_the_disc(
    height: float, disc: float | None, grade: Grade, decides: Quantity
) -> None:
    rows = [(Q.FORAMEN_HEIGHT, Side.LEFT, float(height))]
    if disc is not None:
        rows.append((Q.DISC_HEIGHT_BACK, None, float(disc)))
    found, absent = opinions(given(*rows))
    assert found[FORAMEN].grade is grade
    assert found[FORAMEN].quantity is decides
    assert ("disc height back" in found[FORAMEN].reason) == (disc is not None)
    assert FORAMEN.mirror() in absent


def test_the_axial_area_goes_before_the_sagittal_diameter() -> None:
    both = given((Q.SAC_AREA, None, 120.0), (Q.SAGITTAL_SAC_DIAMETER, None, 9.0))
    opinion = opinions(both)[0][CANAL]
    assert opinion.grade is Grade.NORMAL_MILD
    assert opinion.reason == (
        "dural sac area 120 mm² (moderate up to 100, severe up to 75); Schonstrom 1985"
    )


def test_a_doubtful_measurement_makes_a_doubtful_opinion() -> None:
    assert opinions(given((Q.SAC_AREA, None, 80.0)))[0][CANAL].quality is Quality.GOOD
    doubtful = opinions(given((Q.SAC_AREA, None, 80.0), doubtful=True))[0][CANAL]
    assert doubtful.quality is Quality.DOUBTFUL


def test_what_was_not_measured_is_absent_with_its_reason() -> None:
    reasons = {
        Site(Q.SAC_AREA, LEVEL): "no axial slice cuts L4/L5",
        Site(Q.SAGITTAL_SAC_DIAMETER, LEVEL): "the sac is not outlined at L4/L5",
    }
    found, absent = opinions(Measurements({}, reasons))
    assert not found
    assert set(absent) == set(TABLE_ORDER)
    assert absent[CANAL] == "no axial slice cuts L4/L5; the sac is not outlined at L4/L5"
    assert absent[RECESS] == "recess depth was not measured"


def test_disagreements_are_named_worst_first() -> None:
    measured = given(
        (Q.SAC_AREA, None, 60.0),
        (Q.RECESS_DEPTH, Side.RIGHT, 4.0),
        (Q.FORAMEN_HEIGHT, Side.LEFT, 20.0),
    )
    found, _ = opinions(measured)
    normal = (0.8, 0.1, 0.1)
    findings = {t: Finding(t, normal) for t in (RECESS, FORAMEN, CANAL)}
    told = disagreements(findings, found)
    assert list(told) == [CANAL, RECESS]
    assert told[CANAL] == (
        "Spinal canal stenosis at L4/L5: normal/mild by the network, severe by measurement "
        "(dural sac area 60 mm² (moderate up to 100, severe up to 75); Schonstrom 1985)"
    )
    del findings[CANAL]
    assert list(disagreements(findings, found)) == [RECESS]


def test_every_threshold_has_its_paper() -> None:
    used = [v for v in vars(thresholds).values() if isinstance(v, thresholds.Threshold)]
    assert {t.source for t in used} == set(SOURCES)
    assert all(t.severe is None or t.severe < t.moderate for t in used)


@pytest.mark.parametrize(("sagittal", "used"), [(3.8, Q.SAGITTAL_SAC_DIAMETER), (6.2, Q.SAC_AREA)])
def test_an_axial_outline_that_the_sagittal_view_contradicts_does_not_decide(
    sagittal: float, used: Quantity
) -> None:
    measured = given(
        (Q.SAC_AREA, None, 113.0),
        (Q.SAC_DIAMETER, None, 12.0),
        (Q.SAGITTAL_SAC_DIAMETER, None, sagittal),
    )
    opinion = opinions(measured)[0][CANAL]
    assert opinion.quantity is used
    assert opinion.grade is (Grade.SEVERE if used is Q.SAGITTAL_SAC_DIAMETER else Grade.NORMAL_MILD)
