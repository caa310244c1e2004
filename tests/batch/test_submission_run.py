"""Studies that fail, crash or hang cost themselves only; every study has a result in the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from failing_models import CANAL, GOOD, Failing
from lumbargrade.batch.submission import predict_submission
from lumbargrade.domain.errors import BadModel, LumbargradeError, NothingDone
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.launch.dispatch import ATTEMPTS, NO_LIMITS, OUT_OF_TIME, Limits


def predicted(
    opener: Failing, studies: Sequence[str], workers: int = 1, limits: Limits = NO_LIMITS
) -> dict[str, StudyPrediction]:
    with predict_submission(opener, studies, workers=workers, limits=limits) as (constants, found):
        listed = list(found)
    assert constants == dict.fromkeys(CANAL, GOOD)
    assert sorted(p.study_id for p in listed) == sorted(studies)
    return {p.study_id: p for p in listed}


def why(prediction: StudyPrediction) -> str:
    assert not prediction.findings
    assert len(prediction.absent) == 25
    (problem,) = prediction.problems
    assert problem.fatal
    assert problem.study == prediction.study_id
    return problem.what


def test_every_study_has_a_result_whatever_happens_to_its_process(tmp_path: Path) -> None:
    studies = ["first", "crashes", "crashes once", "cuda once", "hangs", "fails", "last"]
    opener = Failing(tmp_path)
    found = predicted(opener, studies, 2, Limits(job=2.4))
    given_up = f"given up after {ATTEMPTS} attempts"
    assert why(found["crashes"]) == f"its worker process ended with exit code 7; {given_up}"
    assert why(found["hangs"]) == "it took longer than 2 s"
    assert why(found["fails"]) == "ZeroDivisionError: spacing"
    for study in ("first", "crashes once", "cuda once", "last"):
        assert set(found[study].findings) == set(CANAL), study
    assert [opener.attempts(s) for s in studies] == [1, ATTEMPTS, 2, 2, 1, 1, 1]


def test_in_this_process_too_a_study_that_fails_costs_only_itself(tmp_path: Path) -> None:
    opener = Failing(tmp_path)
    found = predicted(opener, ["first", "cuda once", "fails", "last"], 0)
    assert why(found.pop("fails")) == "ZeroDivisionError: spacing"
    assert all(set(p.findings) == set(CANAL) for p in found.values())
    assert opener.attempts("opened") == 2  # after the CUDA error again


def test_studies_that_are_left_when_the_time_is_over_are_not_predicted(tmp_path: Path) -> None:
    found = predicted(Failing(tmp_path), ["first", "last"], 0, Limits(end=time.monotonic()))
    assert {why(p) for p in found.values()} == {OUT_OF_TIME}


def test_models_that_cannot_be_opened_are_an_error_before_any_study(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="MODEL: damaged"):
        predicted(Failing(tmp_path, "damaged"), ["last"])
    with pytest.raises(LumbargradeError, match=r"die while they open the models: .*exit code 3"):
        predicted(Failing(tmp_path, "crashes"), ["last"])
    with pytest.raises(NothingDone, match="lists no study"):
        predicted(Failing(tmp_path), [])


def test_models_that_can_no_longer_be_opened_leave_what_is_predicted(tmp_path: Path) -> None:
    found = predicted(Failing(tmp_path, "once"), ["first", "crashes", "last"])
    assert set(found["first"].findings) == set(CANAL)
    again = "the models could not be opened again: its worker process ended with exit code 3"
    assert [why(found[s]) for s in ("crashes", "last")] == [again, again]
