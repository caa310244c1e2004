"""The grader of the starter: crops, network and reasons, beside the two-stage model in torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from lumbargrade.domain.vocabulary import FINDINGS, Condition, SeriesKind, Side
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.grader_export import export_grader
from lumbargrade.models.registry import get_task
from lumbargrade.sampling.study_rows import study_rows
from lumbargrade.starter.grader import grade_levels
from small_graders import CROPS, level_network
from small_models import small_recipe

T1, T2, AXIAL = SeriesKind


class OnlyNaN:
    """A session whose outputs are not finite."""

    def __init__(self, session):
        self.session = session

    def get_modelmeta(self):
        return self.session.get_modelmeta()

    def run(self, names, inputs):
        return [np.full_like(v, np.nan) for v in self.session.run(names, inputs)]


@pytest.fixture(scope="module")
def network():
    return level_network()


@pytest.fixture(scope="module")
def session(network, tmp_path_factory) -> onnxruntime.InferenceSession:
    path = tmp_path_factory.mktemp("grader") / "grader.onnx"
    export_grader(network, CROPS, path)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def study(phantom_store: Path):
    """Series and labelled points of a study."""
    store = VolumeStore.open(phantom_store)
    row = study_rows(store, FINDINGS)[0]
    return [store.volume(s.study_id, s.series_id) for s in row.series], row.guides


def without(points, condition):
    return [p for p in points if p.target.condition is not condition]


@pytest.mark.parametrize("absent", [None, T1, T2, AXIAL])
def test_grades_and_reasons_are_those_of_the_two_stage_model(network, session, study, absent):
    volumes = [v for v in study[0] if v.kind is not absent]
    task = get_task(small_recipe("two_stage"))
    (expected,) = task.predict(network, "1", volumes, study[1])
    found = grade_levels(session, volumes, study[1])
    assert found.absent == expected.absent
    assert found.probabilities.keys() == expected.findings.keys() == set(FINDINGS)
    for target, finding in expected.findings.items():
        np.testing.assert_allclose(
            found.probabilities[target], finding.probabilities, atol=1e-3, rtol=0
        )
        assert absent not in found.seen_in[target]
        assert len(found.seen_in[target]) == (3 if absent is None else 2)


def test_a_target_that_no_view_shows_is_absent_with_the_reason(session, study):
    volumes, points = study
    upper = [p for p in points if p.target.level.label != "L5/S1"]
    found = grade_levels(session, volumes, upper)
    assert {t.level.label for t in found.absent} == {"L5/S1"}
    assert len(found.absent) == 5
    assert all("no point of L5/S1 was found" in why for why in found.absent.values())
    nothing = grade_levels(session, [], [])
    assert set(nothing.absent) == set(FINDINGS)
    assert all("no usable" in why for why in nothing.absent.values())


def test_one_side_alone_is_graded(session, study):
    """Without canal points and right foramina, only T1 shows something: the left foramina."""
    volumes, points = study
    left = [p for p in without(points, Condition.CANAL) if p.target.side is Side.LEFT]
    left = without(left, Condition.SUBARTICULAR)
    found = grade_levels(session, volumes, left)
    sided = {t for t in found.probabilities if t.side is not None}
    assert {t.side for t in sided} == {Side.LEFT}
    assert all(found.seen_in[t] == (T1,) for t in found.probabilities)
    assert {t.side for t in found.absent} == {Side.RIGHT}


def test_an_output_that_is_not_finite_is_no_grade(session, study):
    found = grade_levels(OnlyNaN(session), *study)
    assert not found.probabilities
    assert all("not finite" in why for why in found.absent.values())
