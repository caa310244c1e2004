"""A worker in the process of the program itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from lumbargrade.launch.crew import Event, OpenWorker
from lumbargrade.launch.worker import Report, Worker


class InProcess:
    """One worker in this process (a `Crew`).

    If it crashes, so does the program, and a job that has begun goes on to its end: nobody waits
    beside it.

    Args:
        open_worker: opens the models.
    """

    def __init__(self, open_worker: OpenWorker) -> None:
        self._open = open_worker
        self._worker: Worker | None = None
        self._next: Callable[[], Report] | None = None
        self._hired = 0

    def hire(self, place: int) -> int:
        self._worker = Worker(self._open, place)
        self._next = self._worker.open
        self._hired += 1
        return self._hired

    def give(self, worker: int, job: Any) -> None:
        assert self._worker is not None
        self._next = partial(self._worker.work, job)

    def wait(self, seconds: float | None = None) -> Event | None:
        assert self._next is not None
        kind, *content = self._next()
        event: Event = kind(self._hired, *content)
        return event

    def dismiss(self, worker: int) -> None:
        self.close()

    def close(self) -> None:
        self._worker = self._next = None
