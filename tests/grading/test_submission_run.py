"""Studies that fail, crash or hang cost themselves only; every study has a result in the end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import failing_models
from failing_models import CANAL, Failing
from lumbargrade.domain.errors import BadModel, LumbargradeError, NothingDone
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.grading import submission_run
from lumbargrade.grading.submission_run import OUT_OF_TIME, TimeLimits, predict_submission


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes import `failing_models`."""
    folders = [str(Path(failing_models.__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))


def by_study(found: Iterator[StudyPrediction]) -> dict[str, StudyPrediction]:
    listed = list(found)
    assert len({p.study_id for p in listed}) == len(listed)
    return {p.study_id: p for p in listed}


def why(prediction: StudyPrediction) -> str:
    assert not prediction.findings
    assert len(prediction.absent) == 25
    (problem,) = prediction.problems
    assert problem.fatal
    assert problem.study == prediction.study_id
    return problem.what


def test_every_study_has_a_result_whatever_happens_to_its_process(tmp_path: Path) -> None:
    studies = ["first", "crashes", "crashes once", "cuda once", "hangs", "last"]
    job = Failing(tmp_path)
    limits = TimeLimits(study=2.4)
    _, results = predict_submission(job, studies, workers=2, limits=limits)
    found = by_study(results)
    assert set(found) == set(studies)
    assert why(found["crashes"]) == "its process died (exit code 7)"
    assert why(found["hangs"]) == "it took longer than 2 s"
    for study in ("first", "crashes once", "cuda once", "last"):
        assert set(found[study].findings) == set(CANAL), study
    assert [job.attempts(s) for s in studies] == [1, 2, 2, 2, 1, 1]


def test_the_time_limit_ends_a_study_that_hangs_and_leaves_the_rest(tmp_path: Path) -> None:
    limits = TimeLimits(end=time.monotonic() + 3)
    _, results = predict_submission(Failing(tmp_path), ["hangs", "last"], workers=1, limits=limits)
    found = by_study(results)
    assert [why(found[s]) for s in ("hangs", "last")] == [OUT_OF_TIME, OUT_OF_TIME]


def test_the_time_limit_holds_in_this_process_too(tmp_path: Path) -> None:
    limits = TimeLimits(end=time.monotonic() - 1)
    _, results = predict_submission(Failing(tmp_path), ["last"], workers=0, limits=limits)
    assert why(by_study(results)["last"]) == OUT_OF_TIME


def test_models_that_cannot_be_opened_are_an_error_before_any_study(tmp_path: Path) -> None:
    damaged, crashes = Failing(tmp_path, "damaged"), Failing(tmp_path, "crashes")
    with pytest.raises(BadModel, match="MODEL: damaged"):
        predict_submission(damaged, ["last"], workers=1, limits=TimeLimits())
    with pytest.raises(LumbargradeError, match=r"died \(exit code 3\) while it opened"):
        predict_submission(crashes, ["last"], workers=1, limits=TimeLimits())
    with pytest.raises(NothingDone, match="lists no study"):
        predict_submission(damaged, [], workers=1, limits=TimeLimits())


def test_models_that_can_no_longer_be_opened_leave_what_is_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission_run, "_GIVE_UP", 1)
    studies = ["first", "crashes", "last"]
    _, results = predict_submission(
        Failing(tmp_path, "once"), studies, workers=1, limits=TimeLimits()
    )
    found = by_study(results)
    assert set(found["first"].findings) == set(CANAL)
    assert "while it opened the models" in why(found["crashes"])
    assert why(found["last"]) == "the models could not be opened again"
