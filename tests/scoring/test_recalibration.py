"""Recalibration: refuses what is too little, helps where it can, keeps what is right already."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cohorts import drawn
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.scoring.agreement import CALIBRATED
from lumbargrade.scoring.calibration import COMPETITION_WEIGHTS, log_loss
from lumbargrade.scoring.recalibration import recalibrate


def test_a_small_set_is_refused_with_its_numbers() -> None:
    for one in recalibrate(drawn(20)).values():
        assert one.refused == "20 studies, at least 50 are needed"
        assert one.calibration is None
        assert not one.helps


def test_too_few_of_one_grade_refuses_that_condition_only() -> None:
    g = drawn(60)
    canal = Condition.CANAL
    severe = np.flatnonzero((g.grades == 2) & np.isin(g.targets, g.of(canal).targets))
    kept = np.ones(len(g), bool)
    kept[severe[4:]] = False
    found = recalibrate(g.where(kept))
    assert found[canal].refused == "4 severe findings, at least 10 of each are needed"
    assert not found[Condition.FORAMINAL].refused
    assert not recalibrate(g.where(kept), fewest_of_a_grade=4)[canal].refused


def test_sharp_probabilities_are_helped_and_the_gain_holds_on_other_studies() -> None:
    found = recalibrate(drawn(80, sharpness=2))
    fresh = drawn(400, seed=77, sharpness=2)
    for condition, one in found.items():
        assert one.helps
        assert one.gain is not None
        assert one.calibration is not None
        assert one.gain.low > 0
        assert one.gain.value == pytest.approx(one.before - one.after)
        others = fresh.of(condition)
        after = log_loss(one.calibration.apply(others.probabilities), others.grades)
        assert after < log_loss(others.probabilities, others.grades)
        assert after == pytest.approx(one.after, abs=0.06)


def test_weights_of_the_training_loss_are_undone() -> None:
    g = drawn(100)
    weighted = g.probabilities * COMPETITION_WEIGHTS
    weighted /= weighted.sum(axis=1, keepdims=True)
    for condition, one in recalibrate(replace(g, probabilities=weighted)).items():
        assert one.measures is not None
        assert one.calibration is not None
        ece = {s: one.measures.measures["ece_every_grade" + s].value for s in ("", CALIBRATED)}
        assert ece[CALIBRATED] < ece[""] / 2
        mine = g.of(condition).probabilities
        off = one.calibration.apply(weighted[np.isin(g.targets, g.of(condition).targets)]) - mine
        assert np.abs(off).mean() < 0.04


def test_what_is_calibrated_already_stays_as_it_was() -> None:
    """The truth itself cannot be bettered on studies that a fit has not seen."""
    sharp = drawn(80, sharpness=2)
    shown = replace(sharp, calibrated=drawn(80).probabilities)
    for one in recalibrate(shown).values():
        assert one.before == pytest.approx(
            log_loss(shown.of(one.condition).calibrated, shown.of(one.condition).grades)
        )
        assert one.after == pytest.approx(one.before, abs=0.05)
        assert one.helps == (one.after < one.before)
        assert (one.calibration is not None) == one.helps
    frequencies = recalibrate(drawn(80))
    assert all(one.after <= one.before + 1e-12 for one in frequencies.values())
