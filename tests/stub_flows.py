"""Predictions of made studies by the two-stage system with stub networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.domain.volume import Volume
from lumbargrade.team_two_stage.choice import Choice
from lumbargrade.team_two_stage.members import Member
from lumbargrade.team_two_stage.predictor import TwoStage
from lumbargrade.team_two_stage.series import Case, read_case
from stub_networks import StubNetworks, made_study

#: What the networks of each group say.
OF_GROUP = {"fused": 1.0, "t1": 2.0, "t2": 3.0, "axial": 4.0}


def case_of(study_id: str, volumes: Sequence[Volume], *, large: bool) -> Case:
    key = tuple(map(id, volumes))
    if (key, large) not in CASES:
        CASES[key, large] = read_case(study_id, volumes, large=large)
    return replace(CASES[key, large], study_id=study_id)


CASES: dict[tuple[tuple[int, ...], bool], Case] = {}


def by_group(member: Member) -> float:
    return OF_GROUP.get(member.group, 0.0)


def severe_logit(prediction: StudyPrediction, condition: Condition) -> float:
    """The logit that every target of a condition has for severe, against the two others."""
    found = {
        round(float(np.log(f.probabilities[2] / f.probabilities[0])), 9)
        for t, f in prediction.findings.items()
        if t.condition is condition
    }
    (only,) = found
    return only


def predict(choice: Choice | None = None, **counts: int) -> StudyPrediction:
    networks = StubNetworks(by_group)
    return TwoStage(networks, choice or Choice()).predict("study", made_study(**counts))
