"""Give jobs to workers that may die: each job is done once, or given up with the reason."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from lumbargrade.domain.errors import LumbargradeError

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")

#: Opens what a worker works with: what it says of itself, and what it does with a job.
OpenWorker = Callable[[], tuple[Any, Callable[[Any], Any]]]

#: How often a job is given to a worker before it is given up.
ATTEMPTS = 3


@dataclass(frozen=True)
class Ready:
    """A worker has opened its models and can take a job.

    Attributes:
        worker: its number.
        hello: what it says of itself.
    """

    worker: int
    hello: Any


@dataclass(frozen=True)
class NotOpened:
    """A worker could not open its models; no other could either."""

    worker: int
    error: Exception


@dataclass(frozen=True)
class Done:
    """A worker has finished its job and can take another."""

    worker: int
    outcome: Any


@dataclass(frozen=True)
class Stumbled:
    """A worker could not finish its job because of an unexpected exception; it can go on.

    Attributes:
        worker: its number.
        reason: type and text of the exception.
    """

    worker: int
    reason: str


@dataclass(frozen=True)
class Died:
    """A worker does not exist any more.

    Attributes:
        worker: its number.
        reason: how it ended.
    """

    worker: int
    reason: str


Event = Ready | NotOpened | Done | Stumbled | Died


class Crew(Protocol):
    """Workers, each of which opens the models once and then does one job at a time."""

    def hire(self) -> int:
        """Start a worker and return its number; it reports when it is ready."""

    def give(self, worker: int, job: Any) -> None:
        """Send a job to a worker that has nothing to do."""

    def wait(self) -> Event:
        """Wait until a worker has something to report."""

    def close(self) -> None:
        """End all workers at once."""


@contextmanager
def closing(crew: Crew) -> Generator[Crew]:
    """End all workers when the block ends, for whatever reason."""
    try:
        yield crew
    finally:
        crew.close()


@dataclass(frozen=True)
class GivenUp:
    """Why a job was given up after `ATTEMPTS` attempts."""

    reason: str


class Dispatch(Generic[Job, Outcome]):
    """Hands out jobs to a crew and replaces workers that die.

    A job whose worker died is given to another worker when all other jobs have been handed out, at
    most `ATTEMPTS` times in all.

    Args:
        crew: the workers.
        size: how many work at the same time.

    Attributes:
        hello: what the workers say of themselves; None until the first is ready.
    """

    def __init__(self, crew: Crew, size: int) -> None:
        self.crew, self.size = crew, size
        self.hello: Any = None
        self._starting = 0
        self._free: list[int] = []
        self._doing: dict[int, tuple[Job, int]] = {}
        self._again: deque[tuple[Job, int]] = deque()
        self._false_starts = 0

    def start(self) -> None:
        """Start the workers and wait until the first is ready.

        Raises:
            Exception: of a worker that could not open its models.
            LumbargradeError: if workers die before they are ready, or differ.
        """
        for _ in range(self.size):
            self._hire()
        while self.hello is None:
            self._note(self.crew.wait())

    def run(self, jobs: Iterable[Job]) -> Generator[tuple[Job, Outcome | GivenUp]]:
        """Do all jobs, and yield each with its outcome in the order in which they end.

        Raises:
            Exception, LumbargradeError: like `start`.
        """
        source = iter(jobs)
        while True:
            while self._free and (task := self._next(source)) is not None:
                worker = self._free.pop()
                self._doing[worker] = task
                self.crew.give(worker, task[0])
            if not self._doing and not self._again:
                if (task := self._next(source)) is None:
                    return
                self._again.append(task)  # no worker is ready at present
            ended = self._note(self.crew.wait())
            if ended is not None:
                yield ended

    def _next(self, source: Iterable[Job]) -> tuple[Job, int] | None:
        for job in source:
            return job, 1
        return self._again.popleft() if self._again else None

    def _note(self, event: Event) -> tuple[Job, Outcome | GivenUp] | None:
        """Take note of what a worker reports; return a job that has ended, with its outcome."""
        worker = event.worker
        if isinstance(event, NotOpened):
            raise event.error
        if isinstance(event, Ready):
            self._welcome(worker, event.hello)
            return None
        task = self._doing.pop(worker, None)
        if isinstance(event, Died):
            self._replace(worker, event.reason, ready=task is not None or worker in self._free)
            return None if task is None else self._failed(task, event.reason)
        self._free.append(worker)
        assert task is not None
        if isinstance(event, Stumbled):
            return self._failed(task, event.reason)
        outcome: Outcome = event.outcome
        return task[0], outcome

    def _hire(self) -> None:
        self.crew.hire()
        self._starting += 1

    def _welcome(self, worker: int, hello: Any) -> None:
        if self.hello not in (None, hello):
            raise LumbargradeError(
                "the workers have opened different models; every machine must have the same files "
                "at the same paths"
            )
        self.hello = hello
        self._starting -= 1
        self._false_starts = 0
        self._free.append(worker)

    def _replace(self, worker: int, reason: str, *, ready: bool) -> None:
        """Start a worker in place of one that died, unless workers die before they are ready."""
        if ready:
            self._free = [w for w in self._free if w != worker]
            self._hire()
            return
        self._starting -= 1
        self._false_starts += 1
        if self._false_starts <= ATTEMPTS:
            self._hire()
        elif not (self._doing or self._free or self._starting):
            raise LumbargradeError(
                f"workers die while they open the models: {reason}; results so far are kept; "
                "rerun with fewer --workers"
            )

    def _failed(self, task: tuple[Job, int], reason: str) -> tuple[Job, Outcome | GivenUp] | None:
        job, attempts = task
        if attempts >= ATTEMPTS:
            return job, GivenUp(f"{reason}; given up after {attempts} attempts")
        self._again.append((job, attempts + 1))
        return None
