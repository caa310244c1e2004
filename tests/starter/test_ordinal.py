"""Probabilities from measurements: the thresholds' grade leads, and the error sets how far."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.domain.measurement import Measurement, Measurements, Quality, Quantity, Site
from lumbargrade.domain.vocabulary import Condition, Grade, Level, SeriesKind, Side, Target
from lumbargrade.starter.ordinal import ERROR, GROSS, probabilities
from lumbargrade.starter.thresholds import opinions

CANAL = Target(Condition.CANAL, Level.L4_L5)
RECESS = Target(Condition.SUBARTICULAR, Level.L4_L5, Side.LEFT)
FORAMEN = Target(Condition.FORAMINAL, Level.L4_L5, Side.RIGHT)


def measured(*values: tuple[Quantity, float], doubtful: bool = False) -> Measurements:
    """Measurements at L4/L5, of the left side for recesses and the right for foramina."""
    found = {}
    for quantity, value in values:
        side = Side.LEFT if quantity is Quantity.RECESS_DEPTH else Side.RIGHT
        one = Measurement(
            *(quantity, Level.L4_L5, side if quantity.sided else None, value),
            *(SeriesKind.AXIAL_T2, "1", 1),
            *((Quality.DOUBTFUL, "unclear") if doubtful else ()),
        )
        found[one.site] = one
    return Measurements(found)


def shares(target: Target, given: Measurements) -> tuple[np.ndarray, Grade]:
    opinion = opinions(given)[0][target]
    return np.array(probabilities(target, opinion, given)), opinion.grade


@given(st.floats(0, 300), st.booleans())
def test_the_grade_of_the_thresholds_is_the_most_probable(area: float, doubtful: bool) -> None:
    p, grade = shares(CANAL, measured((Quantity.SAC_AREA, area), doubtful=doubtful))
    assert p.sum() == pytest.approx(1)
    assert (p >= GROSS / 3 - 1e-9).all()
    assert int(np.argmax(p)) == grade


@given(st.floats(5, 30), st.floats(0, 12))
def test_a_foramen_is_severe_if_it_is_narrow_in_both_ways(height: float, disc: float) -> None:
    heights = ((Quantity.FORAMEN_HEIGHT, height), (Quantity.DISC_HEIGHT_BACK, disc))
    p, grade = shares(FORAMEN, measured(*heights))
    assert p.sum() == pytest.approx(1)
    assert int(np.argmax(p)) == grade
    assert grade == (height <= 15) + (disc <= 4)


def test_at_a_threshold_both_neighbours_are_as_probable() -> None:
    p, _ = shares(RECESS, measured((Quantity.RECESS_DEPTH, 5.0)))
    assert p[0] == pytest.approx(p[1], abs=0.01)


def test_one_standard_deviation_from_a_threshold() -> None:
    """A logistic distribution has 14 % beyond one standard deviation."""
    away = 100 + ERROR[Quantity.SAC_AREA]
    p, _ = shares(CANAL, measured((Quantity.SAC_AREA, away)))
    beyond = 1 / (1 + np.exp(np.pi / np.sqrt(3)))
    assert p[1] + p[2] == pytest.approx((1 - GROSS) * beyond + 2 / 3 * GROSS, abs=1e-6)


def test_a_doubtful_measurement_is_less_sure() -> None:
    values = (Quantity.RECESS_DEPTH, 2.0)
    sure, _ = shares(RECESS, measured(values))
    doubtful, _ = shares(RECESS, measured(values, doubtful=True))
    assert sure[2] > doubtful[2] > 0.5


def test_a_foramen_whose_disc_was_not_measured_is_not_severe() -> None:
    p, grade = shares(FORAMEN, measured((Quantity.FORAMEN_HEIGHT, 8.0)))
    assert grade is Grade.MODERATE
    assert p[2] == pytest.approx(GROSS / 3)
    assert Site(Quantity.DISC_HEIGHT_BACK, Level.L4_L5) not in measured().found
