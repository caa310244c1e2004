"""A worker in the process of the program: the same jobs, the same reports."""

from __future__ import annotations

import logging
import time

import pytest
from small_jobs import open_damaged, open_doubling, open_placed

from lumbargrade.domain.errors import BadModel
from lumbargrade.launch.crew import closing
from lumbargrade.launch.dispatch import OUT_OF_TIME, Dispatch, GivenUp, Limits
from lumbargrade.launch.in_process import InProcess


def test_jobs_are_done_one_after_the_other(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, "lumbargrade")
    with closing(InProcess(open_doubling)) as crew:
        dispatch: Dispatch[int, int] = Dispatch(crew, 1)
        dispatch.start()
        found = list(dispatch.run([1, 13, 2]))
    assert found == [(1, 2), (13, GivenUp("ValueError: 13 is unlucky")), (2, 4)]
    assert caplog.messages == ["opened", "13 comes"]


def test_models_are_opened_again_after_a_cuda_error() -> None:
    with closing(InProcess(open_placed)) as crew:
        dispatch: Dispatch[int, tuple[int, int]] = Dispatch(crew, 1)
        dispatch.start()
        found = dict(dispatch.run([0, 1]))
    assert found[0] == GivenUp("RuntimeError: CUDA error: out of luck; given up after 3 attempts")
    assert found[1] != found[0]


def test_no_job_begins_after_the_end_of_the_time() -> None:
    with closing(InProcess(open_doubling)) as crew:
        dispatch: Dispatch[int, int] = Dispatch(crew, 1, Limits(end=time.monotonic() + 60))
        dispatch.start()
        dispatch.limits = Limits(end=time.monotonic())
        assert list(dispatch.run([1, 2])) == [(1, GivenUp(OUT_OF_TIME)), (2, GivenUp(OUT_OF_TIME))]


def test_models_that_cannot_be_opened_stop_the_run() -> None:
    with pytest.raises(BadModel, match="a model: damaged"):
        Dispatch(InProcess(open_damaged), 1).start()
