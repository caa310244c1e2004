"""Grading leaves out what rests on implausible points, whatever predicts; a submission does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from lumbargrade.cli.main import main
from lumbargrade.dicom.study import Study
from lumbargrade.domain.errors import NothingDone
from lumbargrade.domain.findings import Finding, ModelSource, StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, Level, SeriesKind, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.blend_file import FORMAT, Blend, BlendMember, ConditionBlend, Measured
from lumbargrade.grading.calibration_file import LocalCalibration
from lumbargrade.grading.combine import average, combine
from lumbargrade.grading.findings_file import read_findings
from lumbargrade.grading.predictor import Predictor, Recalibrated
from lumbargrade.grading.study import grade_study, only_plausible
from lumbargrade.report.study import write_study
from lumbargrade.scoring.blend_weights import Origin
from lumbargrade.scoring.calibration import Calibration, Method
from made_spines import T1, T2, VOLUMES, Points, axial, places, rotation, sagittal, spine
from small_models import save_small_model
from small_studies import write_noise_study

LOWEST = Target(Condition.CANAL, Level.L5_S1)
NO_SPINE = "the points found are not those of a lumbar spine"


@dataclass(frozen=True)
class Scripted:
    """A predictor that says what it is told to: all severe, at given places."""

    own: dict[Target, Point]
    points: dict[Target, Point] = field(default_factory=dict)
    sources: Sequence[ModelSource] = ()
    kinds = frozenset(SeriesKind)
    conditions = frozenset(Condition)
    flips = calibrated = False
    about = ""

    def predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        found = {t: Finding(t, (0.1, 0.2, 0.7), self.own.get(t)) for t in FINDINGS}
        return StudyPrediction(study_id, found, points=self.points)

    def fingerprint(self) -> str:
        return "scripted"


@dataclass(frozen=True)
class Blended(Scripted):
    """Two members of a blend that say the same."""

    def predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        one = super().predict(study_id, volumes)
        plain = Calibration(Method.TEMPERATURE, scale=(1.0, 1.0, 1.0))
        measured = Measured(10, {}, 0.4, 0.3)
        weights = {"a": 0.5, "b": 0.5}
        conditions = {c: ConditionBlend(weights, Origin.FITTED, plain, measured) for c in Condition}
        members = tuple(BlendMember(n, False, ()) for n in weights)
        return combine(Blend(FORMAT, "x", members, conditions), {"a": one, "b": average([one])})


def study(volumes: Sequence[Volume] = VOLUMES) -> Study:
    return Study("1", tuple(v for kind in SeriesKind for v in volumes if v.kind is kind))


def lowest_on_the_next(points: Points) -> Points:
    return {**points, LOWEST: points[Target(Condition.CANAL, Level.L4_L5)] - [0, 0, 2.0]}


def turned_quarter(points: Points) -> Points:
    return {t: rotation((90, 0, 0)) @ p for t, p in points.items()}


def by_own(points: Points) -> Predictor:
    return Scripted(places(points))


def by_first_stage(points: Points) -> Predictor:
    """Findings at good places, cut around points that are not."""
    found = {t: p for t, p in places(points).items() if t.condition is not Condition.SUBARTICULAR}
    return Scripted(places(spine()), found)


def recalibrated(points: Points) -> Predictor:
    return Recalibrated(by_first_stage(points), LocalCalibration({}))


def blended(points: Points) -> Predictor:
    return Blended(places(spine()), by_first_stage(points).points)  # type: ignore[attr-defined]


PREDICTORS = pytest.mark.parametrize("predictor", [by_own, by_first_stage, recalibrated, blended])


@PREDICTORS
def test_a_spine_is_graded_in_full(predictor: Callable[[Points], Predictor]) -> None:
    graded = grade_study(study(), predictor(spine()))
    assert set(graded.findings) == set(FINDINGS)
    assert graded.problems == ()


@PREDICTORS
def test_an_implausible_level_is_absent_and_numbering_uncertain_everywhere(
    predictor: Callable[[Points], Predictor], tmp_path: Path
) -> None:
    points = lowest_on_the_next(spine())
    graded = grade_study(study(), predictor(points))
    lost = {t for t in FINDINGS if t.level is Level.L5_S1}
    assert set(graded.absent) == lost
    assert set(graded.findings) == set(FINDINGS) - lost
    assert all("L5/S1 does not fit" in why for why in graded.absent.values())
    write_study(tmp_path, study(), graded, flip=False, fingerprint="x", dicom=False)
    told = json.loads((tmp_path / "findings.json").read_text())
    note = "the numbering of the levels is uncertain: L5/S1 was not found"
    assert [p["what"] for p in told["problems"]] == [note]
    assert note in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert read_findings(tmp_path / "findings.json").prediction == graded
    whole = grade_study(study(), predictor(points), check_points=False)
    assert set(whole.findings) == set(FINDINGS)


@PREDICTORS
def test_points_of_no_spine_are_an_ungraded_study(
    predictor: Callable[[Points], Predictor],
) -> None:
    with pytest.raises(NothingDone, match=NO_SPINE):
        grade_study(study(), predictor(turned_quarter(spine())))


def test_levels_below_the_image_are_absent(tmp_path: Path) -> None:
    points = spine()
    end = float(points[Target(Condition.CANAL, Level.L4_L5)][2]) - 3
    short = (sagittal(T1, round(150 - end)), sagittal(T2, round(150 - end)), axial())
    graded = grade_study(study(short), Scripted(places(points, short)))
    assert {t.level for t in graded.absent} == {Level.L4_L5, Level.L5_S1}
    assert {t.level for t in graded.findings} == {Level.L1_L2, Level.L2_L3, Level.L3_L4}
    assert any("numbering of the levels is uncertain" in p.what for p in graded.problems)


def test_findings_without_points_are_kept() -> None:
    """Nothing is known against them; the first stage's points alone may still refuse them."""
    bare = {t: Finding(t, (0.1, 0.2, 0.7)) for t in TARGETS[Condition.CANAL]}
    prediction = StudyPrediction("1", bare)
    assert only_plausible(prediction, VOLUMES) == prediction
    turned = replace(prediction, points=places(turned_quarter(spine())))
    assert only_plausible(turned, VOLUMES).findings == {}


def test_models_that_point_anywhere_in_noise_grade_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_small_model(tmp_path / "models" / "canal", "canal")
    write_noise_study(tmp_path / "study")
    line = ["grade", tmp_path / "study", "--models", tmp_path / "models", "--device", "cpu"]
    assert main([*map(str, line), "--out", str(tmp_path / "out")]) == 3
    assert NO_SPINE in caplog.text
    assert not list((tmp_path / "out").rglob("findings.json"))
    unchecked = [*map(str, line), "--out", str(tmp_path / "all"), "--no-check-points"]
    assert main(unchecked) == 0
    (found,) = (tmp_path / "all").glob("*/findings.json")
    probabilities = read_findings(found).prediction.findings.values()
    assert all(np.isclose(sum(f.probabilities), 1) for f in probabilities)
    assert len(probabilities) == 5
