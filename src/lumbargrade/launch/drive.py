"""Run jobs until all have ended: start, watch, start again what was lost."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from lumbargrade.launch.jobs import HOPELESS, LOG_FILE, Job
from lumbargrade.launch.run_status import update_run_status
from lumbargrade.launch.signals import StopSignals
from lumbargrade.launch.table import JobTable, Record

log = logging.getLogger(__name__)

HandleT = TypeVar("HandleT")

#: Seconds between two looks at the runs.
INTERVAL = 1.0


class Runner(Protocol[HandleT]):
    """Starts jobs somewhere."""

    def has_room(self, running: int) -> bool:
        """Return whether another job can be started beside those that run or are queued."""

    def start(self, job: Job) -> HandleT:
        """Start or queue a job."""

    def ended(self, handles: Sequence[HandleT], seconds: float) -> dict[HandleT, int | str]:
        """Wait for the end of some jobs.

        Returns:
            For each job that has ended its exit code, or the reason why it was lost.
        """

    def stop(self, handles: Sequence[HandleT]) -> None:
        """Ask jobs to save and end."""


class Drive(Generic[HandleT]):
    """Run jobs to their end.

    Args:
        table: all jobs; it is saved whenever a job's status changes.
        runner: starts jobs.
        retries: how often a job is started again after its process or node was lost.
    """

    def __init__(self, table: JobTable, runner: Runner[HandleT], retries: int) -> None:
        self.table, self.runner, self.retries = table, runner, retries
        self._said: dict[str, str] = {}

    def run(self, records: Sequence[Record]) -> None:
        """Run jobs until each is finished, failed or stopped.

        A job that fails does not stop the others. SIGTERM and SIGINT stop all; the same command
        resumes them.
        """
        waiting, running = deque(records), dict[HandleT, Record]()
        for record in records:
            record.tries, record.slurm = 0, ""
            update_run_status(record.job.path, state="waiting", node="", error="")
        told = False
        with StopSignals("all jobs") as signals:
            while running or (waiting and not signals.asked):
                while waiting and not signals.asked and self.runner.has_room(len(running)):
                    record = waiting.popleft()
                    record.tries += 1
                    running[self.runner.start(record.job)] = record
                if signals.asked and not told:
                    told = True
                    self.runner.stop(list(running))
                for handle, end in self.runner.ended(list(running), INTERVAL).items():
                    record = running.pop(handle)
                    if self._again(record, end, signals.asked):
                        waiting.append(record)
                self._look()
        self._look()
        self.table.save()

    def _again(self, record: Record, end: int | str, stopping: bool) -> bool:
        """Note how a job ended; return whether it is to be started again."""
        record.refresh()
        state = record.status.state
        if end == 0 or state == "finished" or (state == "failed" and end in HOPELESS):
            return False
        folder = record.job.path
        reason = end if isinstance(end, str) else f"its process ended with {_code(end)}"
        if stopping:
            update_run_status(folder, state="stopped")
            return False
        if end in HOPELESS or record.tries > self.retries:
            tries = f" in try {record.tries}" if record.tries > 1 else ""
            update_run_status(folder, state="failed", error=f"{reason}{tries}; see {LOG_FILE}")
            return False
        log.warning("%s: %s; it starts again from its last saved state", record.job, reason)
        update_run_status(folder, state="waiting", node="", error=reason)
        return True

    def _look(self) -> None:
        """Log what has changed and save the table."""
        changed = self.table.refresh()
        for record in changed:
            text = f"{record.job}: {described(record)}"
            if self._said.get(record.job.folder) != text:
                self._said[record.job.folder] = text
                log.info(text)
        if changed:
            self.table.save()


def described(record: Record) -> str:
    """A few words on how far a job is."""
    status = record.status
    parts: list[str] = [status.state]
    if status.state == "running" and status.node:
        parts[0] += f" on {status.node}"
    if record.tries > 1:
        parts.append(f"try {record.tries}")
    if status.epochs:
        parts.append(f"epoch {status.epoch}/{status.epochs}")
    if status.best is not None:
        parts.append(f"best {status.best:.4f}")
    if status.error:
        parts.append(status.error)
    return ", ".join(parts)


def _code(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
