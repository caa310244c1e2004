"""Give jobs to workers that may die: each job is done once, or given up with the reason."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeVar

from lumbargrade.domain.errors import LumbargradeError, described
from lumbargrade.launch.crew import Crew, Died, Done, Event, NotOpened, Ready, Stumbled
from lumbargrade.launch.notes import relay

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")

#: How often a job is given to a worker before it is given up.
ATTEMPTS = 3

#: Why jobs are given up that are left when the run ends.
OUT_OF_TIME = "the time limit was reached"


@dataclass(frozen=True)
class GivenUp:
    """Why a job was given up."""

    reason: str


@dataclass(frozen=True)
class Limits:
    """When to stop.

    Attributes:
        end: when the run ends, by `time.monotonic`; None for never.
        job: seconds that a job may take; None for any.
    """

    end: float | None = None
    job: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the run must end."""
        return self.end is not None and time.monotonic() >= self.end


#: Go on until all is done.
NO_LIMITS = Limits()


@dataclass
class _Task(Generic[Job]):
    """A job, which attempt it is, and when a worker got it (`time.monotonic`)."""

    job: Job
    attempt: int = 1
    since: float = 0.0


class Dispatch(Generic[Job, Outcome]):
    """Hands out jobs to a crew and replaces workers that die.

    A job whose worker died is given to another worker when all other jobs have been handed out, at
    most `ATTEMPTS` times in all. A job that ends with an exception or takes too long is given up at
    once, because it would do so again. What the workers log is logged here.

    Args:
        crew: the workers.
        size: how many work at the same time.
        limits: when to stop; jobs that are left then are given up.

    Attributes:
        hello: what the workers say of themselves; None until the first is ready.
    """

    def __init__(self, crew: Crew, size: int, limits: Limits = NO_LIMITS) -> None:
        self.crew, self.size, self.limits = crew, size, limits
        self.hello: Any = None
        #: every worker that exists and its place; those that are in neither of the next two start
        self._places: dict[int, int] = {}
        self._free: list[int] = []
        self._doing: dict[int, _Task[Job]] = {}
        self._again: deque[_Task[Job]] = deque()
        self._false_starts = 0
        self._not_opened = ""

    def start(self) -> None:
        """Start the workers and wait until the first is ready.

        Raises:
            Exception: of a worker that could not open its models.
            LumbargradeError: if workers die before they are ready, or the time is over.
        """
        for place in range(self.size):
            self._hire(place)
        while self.hello is None:
            event = self.crew.wait(self._patience())
            if isinstance(event, NotOpened):
                relay(event.notes)
                raise event.error
            if event is not None:
                self._note(event)
            elif self.limits.reached:
                raise LumbargradeError(f"{OUT_OF_TIME} while the models were opened")
            if not self._places:
                raise LumbargradeError(
                    f"workers die while they open the models: {self._not_opened}; rerun with "
                    "fewer --workers"
                )

    def run(self, jobs: Iterable[Job]) -> Generator[tuple[Job, Outcome | GivenUp]]:
        """Do all jobs, and yield each with its outcome in the order in which they end.

        If no worker is left because none could open the models again, the other jobs are given up.

        Raises:
            LumbargradeError: if workers have opened different models.
        """
        source = (_Task(job) for job in jobs)
        while self._places and not self.limits.reached:
            while self._free and (task := self._next(source)) is not None:
                worker = self._free.pop()
                self._doing[worker] = task
                task.since = time.monotonic()
                self.crew.give(worker, task.job)
            if not self._doing:
                if (task := self._next(source)) is None:
                    return
                self._again.append(task)  # no worker is ready at present
            event = self.crew.wait(self._patience())
            ended = self._slow() if event is None else self._note(event)
            if ended is not None:
                yield ended
        yield from self._left(source)

    def _next(self, source: Iterator[_Task[Job]]) -> _Task[Job] | None:
        if (task := next(source, None)) is not None:
            return task
        return self._again.popleft() if self._again else None

    def _patience(self) -> float | None:
        """Seconds until a limit is reached; None if there is none."""
        times = [] if self.limits.end is None else [self.limits.end]
        if self.limits.job is not None:
            times += [task.since + self.limits.job for task in self._doing.values()]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _note(self, event: Event) -> tuple[Job, Outcome | GivenUp] | None:
        """Take note of what a worker reports; return a job that has ended, with its outcome."""
        worker = event.worker
        if isinstance(event, Ready):
            self._welcome(event)
            return None
        relay(event.notes)
        task = self._doing.pop(worker, None)
        if isinstance(event, NotOpened | Died):
            reason = event.reason if isinstance(event, Died) else described(event.error)
            self._replace(worker, reason, ready=task is not None or worker in self._free)
            return None if task is None else self._failed(task, reason)
        self._free.append(worker)
        assert task is not None
        if isinstance(event, Stumbled):
            return task.job, GivenUp(event.reason)
        outcome: Outcome = event.outcome
        return task.job, outcome

    def _hire(self, place: int) -> None:
        self._places[self.crew.hire(place)] = place

    def _welcome(self, event: Ready) -> None:
        if self.hello is None:
            relay(event.notes)  # those of the others say the same
        elif self.hello != event.hello:
            raise LumbargradeError(
                "the workers have opened different models; every machine must have the same files "
                "at the same paths"
            )
        self.hello = event.hello
        self._false_starts = 0
        self._free.append(event.worker)

    def _replace(self, worker: int, reason: str, *, ready: bool) -> None:
        """Start a worker in place of one that is gone, unless workers never become ready."""
        place = self._places.pop(worker)
        if ready:
            self._free = [w for w in self._free if w != worker]
            self._false_starts = 0
        else:
            self._not_opened = reason
            self._false_starts += 1
        if self._false_starts <= ATTEMPTS:
            self._hire(place)

    def _failed(self, task: _Task[Job], reason: str) -> tuple[Job, Outcome | GivenUp] | None:
        if task.attempt >= ATTEMPTS:
            return task.job, GivenUp(f"{reason}; given up after {task.attempt} attempts")
        self._again.append(_Task(task.job, task.attempt + 1))
        return None

    def _slow(self) -> tuple[Job, Outcome | GivenUp] | None:
        """Replace a worker whose job takes too long, if there is one, and give up the job."""
        longest, now = self.limits.job, time.monotonic()
        for worker, task in self._doing.items():
            if longest is not None and now >= task.since + longest:
                self.crew.dismiss(worker)
                del self._doing[worker]
                self._replace(worker, "", ready=True)
                return task.job, GivenUp(f"it took longer than {longest:.0f} s")
        return None

    def _left(self, source: Iterator[_Task[Job]]) -> Generator[tuple[Job, Outcome | GivenUp]]:
        """End the run: yield what workers have finished meanwhile, and give up all that is left."""
        why = GivenUp(
            OUT_OF_TIME
            if self._places
            else f"the models could not be opened again: {self._not_opened}"
        )
        while self._doing and (event := self.crew.wait(0)) is not None:
            if isinstance(event, Done | Stumbled):
                if (ended := self._note(event)) is not None:
                    yield ended
            elif (lost := self._doing.pop(event.worker, None)) is not None:
                self._again.append(lost)
        for worker in self._doing:
            self.crew.dismiss(worker)
        for task in chain(self._doing.values(), self._again, source):
            yield task.job, why
