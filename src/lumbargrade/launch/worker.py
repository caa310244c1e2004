"""What a worker does, wherever it is: it opens its models, does jobs, and tells how they went."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lumbargrade.domain.errors import described
from lumbargrade.launch.crew import Died, Done, NotOpened, OpenWorker, Ready, Stumbled
from lumbargrade.launch.notes import Note, collected

#: Kind of an event, and what it has beside the number of the worker.
Report = tuple[type, Any, tuple[Note, ...]]


class Spoilt(Exception):
    """A job has left its process unable to do any other; another worker must do it."""


def spoils(error: Exception) -> bool:
    """Whether an error leaves its process unable to work: after a CUDA error every call fails."""
    return isinstance(error, Spoilt) or "CUDA" in str(error)


class Worker:
    """A worker; every report can be sent to another process.

    Args:
        open_worker: opens the models.
        place: of the worker.
    """

    def __init__(self, open_worker: OpenWorker, place: int) -> None:
        self._open, self._place = open_worker, place
        self._work: Callable[[Any], Any] | None = None

    def open(self) -> Report:
        """Open the models."""
        with collected() as notes:
            try:
                hello, self._work = self._open(self._place)
            except Exception as error:  # noqa: BLE001  whatever it is, the driver must know
                return NotOpened, error, tuple(notes)
        return Ready, hello, tuple(notes)

    def work(self, job: Any) -> Report:
        """Do a job."""
        assert self._work is not None
        with collected() as notes:
            try:
                return Done, self._work(job), tuple(notes)
            except Exception as error:  # noqa: BLE001  one job must not stop the others
                text = str(error) if isinstance(error, Spoilt) else described(error)
                return Died if spoils(error) else Stumbled, text, tuple(notes)
