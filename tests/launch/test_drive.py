"""Jobs are driven to their end: lost ones start again, failing ones do not stop the others."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lumbargrade.domain.errors import BadInput
from lumbargrade.launch.drive import Drive
from lumbargrade.launch.jobs import LOG_FILE, Job
from lumbargrade.launch.local import LocalRunner
from lumbargrade.launch.run_status import RunStatus, read_run_status, update_run_status
from lumbargrade.launch.table import JobTable


def job(out: Path, fold: int) -> Job:
    return Job("a", fold, ("train", "a"), f"a/fold{fold}", "data", out=str(out))


@dataclass
class Scripted:
    """Jobs end as written down: fold -> what each try returns."""

    ends: dict[int, list[int | str]]
    at_start: Callable[[], None] = lambda: None
    started: list[int] = field(default_factory=list)
    stopped: list[int] = field(default_factory=list)
    _jobs: list[Job] = field(default_factory=list)

    def has_room(self, running: int) -> bool:
        return running < 2

    def start(self, job: Job) -> int:
        self.started.append(job.fold)
        self._jobs.append(job)
        self.at_start()
        return len(self._jobs) - 1

    def ended(self, handles: Sequence[int], seconds: float) -> dict[int, int | str]:
        handle = handles[0]
        job = self._jobs[handle]
        end = self.ends[job.fold].pop(0)
        if end == 0:
            update_run_status(job.path, state="finished", epoch=3, epochs=3, best=0.5)
        return {handle: end}

    def stop(self, handles: Sequence[int]) -> None:
        self.stopped += [self._jobs[h].fold for h in handles]


def states(table: JobTable) -> list[tuple[str, int]]:
    table.refresh()
    return [(record.status.state, record.tries) for record in table]


def test_what_is_lost_starts_again_and_what_fails_stops_nothing_else(tmp_path: Path) -> None:
    table = JobTable(tmp_path)
    records = table.add([job(tmp_path, fold) for fold in range(4)])
    runner = Scripted({0: ["its node was lost", -9, 0], 1: [2], 2: [-9, 1, -9], 3: [0]})
    Drive(table, runner, retries=2).run(records)
    assert states(table) == [("finished", 3), ("failed", 1), ("failed", 3), ("finished", 1)]
    assert sorted(runner.started) == [0, 0, 0, 1, 2, 2, 2, 3]
    assert read_run_status(tmp_path / "a/fold2").error == (
        f"its process ended with signal 9 in try 3; see {LOG_FILE}"
    )

    again = JobTable(tmp_path)
    left = [r for r in again.add([job(tmp_path, fold) for fold in range(4)]) if not r.complete]
    assert [r.job.fold for r in left] == [1, 2]


def test_a_job_that_has_changed_is_not_complete(tmp_path: Path) -> None:
    table = JobTable(tmp_path)
    records = table.add([job(tmp_path, 0)])
    Drive(table, Scripted({0: [0]}), retries=0).run(records)
    assert records[0].complete
    other = Job("a", 0, ("train", "a", "--train.epochs", "9"), "a/fold0", "data", out=str(tmp_path))
    assert not JobTable(tmp_path).add([other])[0].complete
    fresh = Job("a", 0, ("train", "a"), "a/fold0", "other store", out=str(tmp_path))
    assert not JobTable(tmp_path).add([fresh])[0].complete


def test_a_signal_stops_all_jobs_and_starts_no_more(tmp_path: Path) -> None:
    table = JobTable(tmp_path)
    records = table.add([job(tmp_path, fold) for fold in range(3)])

    def signalled() -> None:
        if len(runner.started) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    runner = Scripted({0: [1], 1: [-15]}, signalled)
    Drive(table, runner, retries=2).run(records)
    assert runner.started == runner.stopped == [0, 1]
    assert states(table) == [("stopped", 1), ("stopped", 1), ("waiting", 0)]


def test_a_damaged_table_or_status_is_named(tmp_path: Path) -> None:
    (tmp_path / "jobs.json").write_text('{"format": 1}')
    with pytest.raises(BadInput, match=r"jobs\.json.*missing"):
        JobTable(tmp_path)
    (tmp_path / "status.json").write_text("{")
    with pytest.raises(BadInput, match=r"status\.json: not valid JSON"):
        read_run_status(tmp_path)
    assert read_run_status(tmp_path / "absent") == RunStatus()


class Script(Job):
    """A job that runs a piece of Python."""

    def command(self, python: str = sys.executable) -> list[str]:
        return [python, "-c", self.arguments[0]]


def script(out: Path, fold: int, text: str, gpus: int = 0) -> Script:
    return Script("a", fold, (text,), f"a/fold{fold}", "data", out=str(out), gpus=gpus)


def test_local_jobs_have_a_log_a_code_and_their_own_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    runner = LocalRunner(2)
    text = "import os; print(os.environ['CUDA_VISIBLE_DEVICES']); raise SystemExit(7)"
    children = [runner.start(script(tmp_path, fold, text, gpus=2)) for fold in range(2)]
    assert not runner.has_room(2)
    ends: dict[object, int | str] = {}
    while len(ends) < 2:
        ends |= runner.ended([c for c in children if c not in ends], 10.0)
    assert set(ends.values()) == {7}
    logs = [(tmp_path / f"a/fold{fold}" / LOG_FILE).read_text().strip() for fold in range(2)]
    assert logs == ["4,5", "6,7"]


def test_a_job_ends_when_its_launcher_dies(tmp_path: Path) -> None:
    text = (
        "from lumbargrade.launch.signals import leave_with_launcher\n"
        "import time; leave_with_launcher(); print('begun', flush=True); time.sleep(100)"
    )
    child = LocalRunner(1).start(script(tmp_path, 0, text))
    log = tmp_path / "a/fold0" / LOG_FILE
    while "begun" not in log.read_text():
        assert child.poll() is None
        time.sleep(0.02)
    assert child.stdin is not None
    child.stdin.close()  # as the system does when the launcher dies
    assert child.wait(timeout=60) == 1
