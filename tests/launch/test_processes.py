"""Processes of this machine as workers: how they end is told, and none survives."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from small_jobs import (
    HANGS,
    open_and_die,
    open_damaged,
    open_doubling,
    open_other,
    open_placed,
)

from lumbargrade.domain.errors import BadModel, LumbargradeError
from lumbargrade.launch.crew import closing
from lumbargrade.launch.dispatch import NO_LIMITS, OUT_OF_TIME, Dispatch, GivenUp, Limits
from lumbargrade.launch.processes import ProcessCrew

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes end by signals")


def done(
    jobs: Iterable[int],
    opener: Callable[[int], Any] = open_doubling,
    size: int = 2,
    limits: Callable[[], Limits] = lambda: NO_LIMITS,
) -> dict[int, Any]:
    with closing(ProcessCrew(opener, 1)) as crew:
        dispatch: Dispatch[int, Any] = Dispatch(crew, size)
        dispatch.start()
        dispatch.limits = limits()
        ended = list(dispatch.run(jobs))
    assert not multiprocessing.active_children()
    assert len(ended) == len(dict(ended))
    return dict(ended)


def test_processes_that_die_in_any_way_lose_no_job_and_tell_how(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "lumbargrade")
    found = done([1, -signal.SIGKILL, 2, -signal.SIGSEGV, 3, -105, 13])
    assert {job: found.pop(job) for job in (1, 2, 3)} == {1: 2, 2: 4, 3: 6}
    end = "; given up after 3 attempts"
    process = "its worker process"
    assert found == {
        -9: GivenUp(f"{process} was ended by SIGKILL, possibly out of memory{end}"),
        -11: GivenUp(f"{process} was ended by SIGSEGV{end}"),
        -105: GivenUp(f"{process} ended with exit code 5{end}"),
        13: GivenUp("ValueError: 13 is unlucky"),
    }
    # what workers log is logged here; what all say when they open the models only once
    assert sorted(caplog.messages) == ["13 comes", "opened"]
    assert {record.name for record in caplog.records} == {"lumbargrade.small_jobs"}


def test_a_process_that_cannot_go_on_is_replaced_at_its_place() -> None:
    found = done(range(12), open_placed)
    assert found.pop(0) == GivenUp(
        "RuntimeError: CUDA error: out of luck; given up after 3 attempts"
    )
    assert sorted(found) == list(range(1, 12))
    assert {place for place, _ in found.values()} <= {0, 1}
    assert len({process for _, process in found.values()}) <= 5


def test_a_process_that_hangs_is_killed_and_the_others_go_on() -> None:
    found = done([1, HANGS, 2, 3], limits=lambda: Limits(job=2.0))
    assert found == {1: 2, 2: 4, 3: 6, HANGS: GivenUp("it took longer than 2 s")}


def test_at_the_end_of_the_time_what_is_left_is_given_up() -> None:
    found = done([1, HANGS, 2], size=1, limits=lambda: Limits(end=time.monotonic() + 1))
    assert found[1] == 2 or found[1] == GivenUp(OUT_OF_TIME)  # if the machine is slow
    assert [found[HANGS], found[2]] == [GivenUp(OUT_OF_TIME)] * 2


def test_what_keeps_workers_from_starting_stops_the_run() -> None:
    with pytest.raises(BadModel, match="a model: damaged"):
        done([1], open_damaged)
    with pytest.raises(LumbargradeError, match=r"die while they open the models: its .*SEGV"):
        done([1], open_and_die)
    with pytest.raises(LumbargradeError, match="the workers have opened different models"):
        done(range(100_000), open_other)
    assert not multiprocessing.active_children()


def test_ctrl_c_of_the_terminal_does_not_reach_the_workers() -> None:
    with closing(ProcessCrew(open_doubling, 1)) as crew:
        dispatch: Dispatch[int, int] = Dispatch(crew, 1)
        dispatch.start()
        (process,) = multiprocessing.active_children()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        assert list(dispatch.run([1])) == [(1, 2)]
        assert multiprocessing.active_children() == [process]


DRIVER = """
import signal
import sys
from small_jobs import open_doubling
from lumbargrade.launch.crew import closing
from lumbargrade.launch.dispatch import Dispatch
from lumbargrade.launch.processes import ProcessCrew

if __name__ == "__main__":
    # a program that a shell started in the background ignores it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with closing(ProcessCrew(open_doubling, 1)) as crew:
            dispatch = Dispatch(crew, 1)
            dispatch.start()
            for job, outcome in dispatch.run(map(int, sys.argv[1:])):
                print(job, outcome, flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def driver(folder: Path, *jobs: int) -> subprocess.Popen[str]:
    script = folder / "driver.py"
    script.write_text(DRIVER)
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, jobs)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_a_worker_prints_is_no_output_of_the_program(tmp_path: Path) -> None:
    out, said = driver(tmp_path, 1, 2).communicate(timeout=60)
    assert out == "1 2\n2 4\n"
    assert said.count("what a library prints") == said.count("what a library in C prints") == 2


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_program_however_it_ends(tmp_path: Path, how: signal.Signals) -> None:
    program = driver(tmp_path, 1, HANGS)
    assert program.stdout is not None
    assert program.stdout.readline() == "1 2\n"
    if how == signal.SIGINT:  # as a terminal does, to all processes
        os.killpg(program.pid, how)
    else:
        program.kill()
    out, said = program.communicate(timeout=60)  # the worker has the same pipe for its errors
    assert out == ("interrupted\n" if how == signal.SIGINT else "")
    assert "Traceback" not in said
    while alive(program.pid):
        time.sleep(0.02)
