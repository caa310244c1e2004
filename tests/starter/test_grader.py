"""The grader of the starter: crops, network and reasons, beside the two-stage model in torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lumbargrade.domain.vocabulary import FINDINGS, Condition, SeriesKind, Side
from lumbargrade.inference.engines import OnnxEngine
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.grader_export import export_grader
from lumbargrade.models.registry import get_task
from lumbargrade.models.torch_engine import TorchEngine
from lumbargrade.sampling.study_rows import study_rows
from lumbargrade.starter.grader import grade_levels
from small_graders import CROPS, level_network
from small_models import small_recipe

T1, T2, AXIAL = SeriesKind


class OnlyNaN:
    """An engine whose outputs are not finite."""

    def __init__(self, engine):
        self.engine, self.metadata = engine, engine.metadata

    def run(self, inputs):
        return {name: np.full_like(v, np.nan) for name, v in self.engine.run(inputs).items()}


@pytest.fixture(scope="module")
def network():
    return level_network()


@pytest.fixture(scope="module")
def engine(network, tmp_path_factory) -> OnnxEngine:
    path = tmp_path_factory.mktemp("grader") / "grader.onnx"
    export_grader(network, CROPS, path)
    return OnnxEngine(path)


@pytest.fixture(scope="module")
def study(phantom_store: Path):
    """Series and labelled points of a study."""
    store = VolumeStore.open(phantom_store)
    row = study_rows(store, FINDINGS)[0]
    return [store.volume(s.study_id, s.series_id) for s in row.series], row.guides


def without(points, condition):
    return [p for p in points if p.target.condition is not condition]


@pytest.mark.parametrize("absent", [None, T1, T2, AXIAL])
def test_grades_and_reasons_are_those_of_the_two_stage_model(network, engine, study, absent):
    volumes = [v for v in study[0] if v.kind is not absent]
    task = get_task(small_recipe("two_stage"))
    (expected,) = task.inference.predict(TorchEngine(task, network), "1", volumes, study[1])
    found = grade_levels(engine, "1", volumes, study[1])
    assert found.absent == expected.absent
    assert found.findings.keys() == expected.findings.keys() == set(FINDINGS)
    for target, finding in expected.findings.items():
        np.testing.assert_allclose(
            found.findings[target].probabilities, finding.probabilities, atol=1e-3, rtol=0
        )


def test_a_target_that_no_view_shows_is_absent_with_the_reason(engine, study):
    volumes, points = study
    upper = [p for p in points if p.target.level.label != "L5/S1"]
    found = grade_levels(engine, "1", volumes, upper)
    assert {t.level.label for t in found.absent} == {"L5/S1"}
    assert len(found.absent) == 5
    assert all("no point of L5/S1 was found" in why for why in found.absent.values())
    nothing = grade_levels(engine, "1", [], [])
    assert set(nothing.absent) == set(FINDINGS)
    assert all("no usable" in why for why in nothing.absent.values())


def test_one_side_alone_is_graded(engine, study):
    """Without canal points and right foramina, only T1 shows something: the left foramina."""
    volumes, points = study
    left = [p for p in without(points, Condition.CANAL) if p.target.side is Side.LEFT]
    left = without(left, Condition.SUBARTICULAR)
    found = grade_levels(engine, "1", volumes, left)
    sided = {t for t in found.findings if t.side is not None}
    assert {t.side for t in sided} == {Side.LEFT}
    assert {t.side for t in found.absent} == {Side.RIGHT}


def test_an_output_that_is_not_finite_is_no_grade(engine, study):
    found = grade_levels(OnlyNaN(engine), "1", *study)
    assert not found.findings
    assert all("not finite" in why for why in found.absent.values())
