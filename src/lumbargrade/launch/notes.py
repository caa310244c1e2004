"""What a worker logs, for the log of the process that all workers report to."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass

_ours = logging.getLogger("lumbargrade")


@dataclass(frozen=True)
class Note:
    """A line of a log.

    Attributes:
        logger: name of the logger.
        level: of `logging`.
        text: the line.
    """

    logger: str
    level: int
    text: str


def relay(notes: Iterable[Note]) -> None:
    """Log what a worker has logged."""
    for note in notes:
        logging.getLogger(note.logger).log(note.level, "%s", note.text)


@contextmanager
def collected() -> Generator[list[Note]]:
    """Collect what the package logs in the block, instead of writing it."""
    handler = _Collector()
    level, propagate = _ours.level, _ours.propagate
    _ours.addHandler(handler)
    _ours.setLevel(logging.INFO)
    _ours.propagate = False
    try:
        yield handler.notes
    finally:
        _ours.removeHandler(handler)
        _ours.setLevel(level)
        _ours.propagate = propagate


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.notes: list[Note] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.notes.append(Note(record.name, record.levelno, record.getMessage()))
