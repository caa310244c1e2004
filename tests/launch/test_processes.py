"""Processes of this machine as workers: how they end is told, and none survives."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from small_jobs import open_and_die, open_damaged, open_doubling, open_other

from lumbargrade.domain.errors import BadModel, LumbargradeError
from lumbargrade.launch.crew import Dispatch, GivenUp, closing
from lumbargrade.launch.processes import ProcessCrew

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes end by signals")


def done(
    jobs: Iterable[int], opener: Callable[[], Any] = open_doubling, size: int = 2
) -> dict[int, Any]:
    with closing(ProcessCrew(opener, 1)) as crew:
        dispatch: Dispatch[int, int] = Dispatch(crew, size)
        dispatch.start()
        ended = list(dispatch.run(jobs))
    assert not multiprocessing.active_children()
    assert len(ended) == len(dict(ended))
    return dict(ended)


def test_processes_that_die_in_any_way_lose_no_job_and_tell_how() -> None:
    found = done([1, -signal.SIGKILL, 2, -signal.SIGSEGV, 3, -105, 13])
    assert {job: found.pop(job) for job in (1, 2, 3)} == {1: 2, 2: 4, 3: 6}
    end = "; given up after 3 attempts"
    process = "its worker process"
    assert found == {
        -9: GivenUp(f"{process} was ended by SIGKILL, possibly out of memory{end}"),
        -11: GivenUp(f"{process} was ended by SIGSEGV{end}"),
        -105: GivenUp(f"{process} ended with exit code 5{end}"),
        13: GivenUp(f"ValueError: 13 is unlucky{end}"),
    }


def test_what_keeps_workers_from_starting_stops_the_run() -> None:
    with pytest.raises(BadModel, match="a model: damaged"):
        done([1], open_damaged)
    with pytest.raises(LumbargradeError, match=r"die while they open the models: its .*SEGV"):
        done([1], open_and_die)
    with pytest.raises(LumbargradeError, match="the workers have opened different models"):
        done(range(100_000), open_other)
    assert not multiprocessing.active_children()
