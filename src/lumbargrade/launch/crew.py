"""Workers that may die: what they are given, and what they report."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from lumbargrade.launch.notes import Note

#: Opens what a worker works with: what it says of itself, and what it does with a job. Its argument
#: is the worker's place, from 0; workers of one machine share its GPUs by their places.
OpenWorker = Callable[[int], tuple[Any, Callable[[Any], Any]]]


@dataclass(frozen=True)
class Ready:
    """A worker has opened its models and can take a job.

    Attributes:
        worker: its number.
        hello: what it says of itself.
        notes: what was logged meanwhile.
    """

    worker: int
    hello: Any
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class NotOpened:
    """A worker could not open its models, and does not exist any more."""

    worker: int
    error: Exception
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Done:
    """A worker has finished its job and can take another."""

    worker: int
    outcome: Any
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Stumbled:
    """A worker could not finish its job because of an exception; it can take another.

    Attributes:
        worker: its number.
        reason: type and text of the exception.
        notes: what was logged meanwhile.
    """

    worker: int
    reason: str
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Died:
    """A worker does not exist any more.

    Attributes:
        worker: its number.
        reason: how it ended.
        notes: what it logged, if it could still tell.
    """

    worker: int
    reason: str
    notes: tuple[Note, ...] = ()


Event = Ready | NotOpened | Done | Stumbled | Died

#: Events after which their worker does not exist any more.
GONE = (NotOpened, Died)


class Crew(Protocol):
    """Workers, each of which opens the models once and then does one job at a time."""

    def hire(self, place: int) -> int:
        """Start a worker at a place and return its number; it reports when it is ready."""

    def give(self, worker: int, job: Any) -> None:
        """Send a job to a worker that has nothing to do."""

    def wait(self, seconds: float | None = None) -> Event | None:
        """Wait until a worker has something to report; None after so many seconds."""

    def dismiss(self, worker: int) -> None:
        """End a worker at once; it reports nothing any more."""

    def close(self) -> None:
        """End all workers at once."""


@contextmanager
def closing(crew: Crew) -> Generator[Crew]:
    """End all workers when the block ends, for whatever reason."""
    try:
        yield crew
    finally:
        crew.close()
