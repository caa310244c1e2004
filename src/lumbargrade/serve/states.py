"""States of studies and of files to send, and the rows of the queue."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """State of a study; see the module."""

    RECEIVING = "receiving"
    WAITING = "waiting"
    GRADING = "grading"
    SENDING = "sending"
    DONE = "done"
    FAILED = "failed"
    REMOVED = "removed"


class SendState(StrEnum):
    """State of a file for a destination: superseded ones belong to an earlier result."""

    PENDING = "pending"
    SENT = "sent"
    GIVEN_UP = "given up"
    SUPERSEDED = "superseded"


@dataclass(frozen=True)
class About:
    """What an instance says of its study.

    Attributes:
        patient, patient_id, date, description: for the page; hostile texts are possible.
        expected: number of the study's instances; 0 if it does not say.
    """

    patient: str = ""
    patient_id: str = ""
    date: str = ""
    description: str = ""
    expected: int = 0


@dataclass(frozen=True)
class StudyRow:
    """A study of the queue; see the table for the columns."""

    id: int
    uid: str
    state: State
    revision: int
    graded: int
    result: int
    attempts: int
    created: float
    received: float
    changed: float
    expected: int
    reason: str
    summary: str
    patient: str
    patient_id: str
    date: str
    description: str

    @property
    def reviewable(self) -> bool:
        """Whether it has a result of all its images."""
        ended = self.state in (State.SENDING, State.DONE, State.FAILED)
        return ended and bool(self.summary) and self.graded == self.revision


@dataclass(frozen=True)
class Instance:
    """A stored instance.

    Attributes:
        uid: series and SOP instance UID with a slash between; anonymised exports use the same SOP
            instance UIDs in every series.
        digest: SHA-256 of the file.
        size: in bytes.
    """

    uid: str
    digest: str
    size: int


@dataclass(frozen=True)
class Claim:
    """A study that a grader has taken: its number, UID, revision and number of its result."""

    id: int
    uid: str
    revision: int
    result: int

    @property
    def folder(self) -> str:
        """The folder of its result, below that of all results."""
        return result_folder(self.id, self.result)


@dataclass(frozen=True)
class Send:
    """A file for a destination."""

    id: int
    study: int
    result: int
    file: str
    uid: str
    destination: str
    state: SendState
    attempts: int
    next: float
    until: float
    error: str


def result_folder(study: int, result: int) -> str:
    """The folder of a result, below that of all results."""
    return f"{study:06d}/{result}"
