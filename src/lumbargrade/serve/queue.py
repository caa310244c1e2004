"""The studies of a node and their states, in an SQLite file that outlives every crash.

A study goes through these states::

    receiving --(quiet, or all instances)--> waiting --(a worker is free)--> grading
    grading --> sending --(all is sent)--> done
    grading --(no result)--> failed;  sending --(given up)--> failed
    failed --(a user asks)--> waiting or sending
    done, failed --(after a time)--> removed
    any state --(an instance that is new or has other pixels)--> receiving

Every arrow is one transaction, and no file is needed to know the state. What a process that is
killed (``kill -9``) leaves behind, and what makes it harmless:

* *While an instance is received*: the file is written beside the others, then renamed, then
  registered here, then acknowledged. A file that is not registered was not acknowledged; the
  sender will send it again, and the next start removes it.
* *receiving, waiting*: nothing is in work. The quiet time goes on.
* *grading*: the next start sets the study back to waiting. Its result has the same number, hence
  the same folder and fingerprint, so a result that was complete (``findings.json`` comes last) is
  found and not made again. Workers end with this process. A study that was in work at `ATTEMPTS`
  such ends has failed, because it may be the cause.
* *After grading*: result and sends are registered in the transaction that ends grading; there is
  no moment in which a study is graded but nothing will be sent.
* *sending*: an attempt is registered, with the time of the next one, before it begins. If the
  answer was lost, the file is sent again with the same SOP instance UID, which replaces the same
  object in an archive. What was answered with success is never sent again.
* *Removal*: the transaction comes first, then the folders; the next start removes what is left.

An instance that arrives while its study is graded does not stop that; the result is discarded when
it is complete, and the study is graded again with all instances. If results were sent before, the
next ones have a new number, and the history of the study says so.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

#: How often a study may be in work when the process ends before it has failed.
ATTEMPTS = 3

#: Version of the tables, in the file's ``user_version``.
_VERSION = 1

_TABLES = """
CREATE TABLE studies (
    id INTEGER PRIMARY KEY,          -- the queue number
    uid TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    revision INTEGER NOT NULL,       -- bumped by every instance that is new or has changed
    graded INTEGER NOT NULL,         -- the revision that the result is made from, or 0
    result INTEGER NOT NULL,         -- number of the result, from 1; 0: none yet
    attempts INTEGER NOT NULL,       -- how often it was taken for grading without an end
    created REAL NOT NULL,
    received REAL NOT NULL,          -- when the last instance arrived
    changed REAL NOT NULL,           -- when the state changed
    expected INTEGER NOT NULL,       -- instances that the study has; 0: unknown
    reason TEXT NOT NULL,            -- why it has failed
    patient TEXT NOT NULL, patient_id TEXT NOT NULL, date TEXT NOT NULL, description TEXT NOT NULL
);
CREATE INDEX studies_by_state ON studies (state);
CREATE TABLE instances (
    study INTEGER NOT NULL REFERENCES studies (id),
    uid TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (study, uid)
) WITHOUT ROWID;
CREATE TABLE sends (
    id INTEGER PRIMARY KEY,
    study INTEGER NOT NULL REFERENCES studies (id),
    result INTEGER NOT NULL,
    file TEXT NOT NULL, uid TEXT NOT NULL, destination TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL, next REAL NOT NULL, until REAL NOT NULL, error TEXT NOT NULL,
    UNIQUE (study, result, file, destination)
);
CREATE INDEX sends_by_uid ON sends (uid);
CREATE INDEX sends_by_state ON sends (state, destination);
CREATE TABLE history (
    study INTEGER NOT NULL REFERENCES studies (id), time REAL NOT NULL, what TEXT NOT NULL
);
CREATE INDEX history_by_study ON history (study);
"""


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
    patient: str
    patient_id: str
    date: str
    description: str


@dataclass(frozen=True)
class Instance:
    """A stored instance: its SOP instance UID, the SHA-256 of its encoded data set, its bytes."""

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


class Queue:
    """The queue; all threads of one process share one object.

    Args:
        path: the SQLite file.
        clock: seconds since 1970.

    Attributes:
        lock: held during every transaction. Whoever moves files of studies holds it too, so that
            files and rows change together.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # acknowledged means on the disk
        with self._transaction():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _TABLES.split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {_VERSION}")

    def close(self) -> None:
        with self.lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self.lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self.lock:
            return self._db.execute(sql, values).fetchall()

    def _note(self, study: int, what: str) -> None:
        self._db.execute("INSERT INTO history VALUES (?, ?, ?)", (study, self.clock(), what))

    def _to(self, study: int, state: State, reason: str = "") -> None:
        self._db.execute(
            "UPDATE studies SET state = ?, changed = ?, reason = ? WHERE id = ?",
            (state, self.clock(), reason, study),
        )
        self._note(study, f"{state}: {reason}" if reason else str(state))

    # receiving

    def recover(self) -> int:
        """Set studies back to waiting that were being graded when the process ended.

        Returns:
            Their number.
        """
        sql = "SELECT id FROM studies WHERE state = ?"
        with self._transaction():
            # made for an instance that was then refused
            self._db.execute("DELETE FROM studies WHERE revision = 0")
            ids = [row["id"] for row in self._rows(sql, State.GRADING)]
            for study in ids:
                self._to(study, State.WAITING)
                self._note(study, "the program ended while the study was graded")
            return len(ids)

    def number_of(self, uid: str, about: About) -> int:
        """Return the queue number of a study, which is made if it is new."""
        with self._transaction():
            now = self.clock()
            found = self._rows("SELECT id FROM studies WHERE uid = ?", uid)
            if found:
                return int(found[0]["id"])
            texts = (about.patient, about.patient_id, about.date, about.description)
            made = self._db.execute(
                "INSERT INTO studies VALUES (NULL, ?, ?, 0, 0, 0, 0, ?, ?, ?, ?, '', ?, ?, ?, ?)",
                (uid, State.RECEIVING, now, now, now, about.expected, *texts),
            )
            assert made.lastrowid is not None
            return made.lastrowid

    def instance(self, study: int, uid: str) -> Instance | None:
        """Return an instance, if it is stored."""
        found = self._rows(
            "SELECT uid, digest, size FROM instances WHERE study = ? AND uid = ?", study, uid
        )
        return Instance(**found[0]) if found else None

    def instances(self, study: int) -> set[str]:
        """Return the SOP instance UIDs of a study."""
        found = self._rows("SELECT uid FROM instances WHERE study = ?", study)
        return {row["uid"] for row in found}

    def size(self, study: int) -> int:
        """Return the bytes of a study's instances."""
        sql = "SELECT COALESCE(SUM(size), 0) AS size FROM instances WHERE study = ?"
        return int(self._rows(sql, study)[0]["size"])

    def add(self, study: int, instance: Instance, about: About) -> None:
        """Register an instance that is new or has other pixels; its file must be in place."""
        with self._transaction():
            before = self.study(study)
            assert before is not None
            now = self.clock()
            self._db.execute(
                "INSERT OR REPLACE INTO instances VALUES (?, ?, ?, ?)",
                (study, instance.uid, instance.digest, instance.size),
            )
            self._db.execute(
                "UPDATE studies SET revision = revision + 1, received = ?, attempts = 0, "
                "expected = MAX(expected, ?), patient = ?, patient_id = ?, date = ?, "
                "description = ? WHERE id = ?",
                (
                    *(now, about.expected, about.patient, about.patient_id, about.date),
                    *(about.description, study),
                ),
            )
            if before.state is State.GRADING:
                return  # its end notices the revision
            if before.state is not State.RECEIVING:
                if before.result and before.state is not State.REMOVED:
                    self._note(
                        study,
                        f"new images after result {before.result}; the study will be graded again",
                    )
                self._to(study, State.RECEIVING)

    def complete(self, quiet: float, expected: int) -> int:
        """Let studies wait for grading that are complete; return their number.

        Args:
            quiet: seconds without a new instance.
            expected: number of instances, for studies that do not say it; 0: any.
        """
        with self._transaction():
            found = self._rows(
                "SELECT id FROM studies WHERE state = ? AND revision > 0 AND (received <= ? OR "
                "(SELECT COUNT(*) FROM instances WHERE study = id) >= "
                "COALESCE(NULLIF(expected, 0), NULLIF(?, 0), 1e9))",
                *(State.RECEIVING, self.clock() - quiet, expected),
            )
            for row in found:
                self._to(row["id"], State.WAITING)
            return len(found)

    # grading

    def claim(self) -> Claim | None:
        """Take the study that has waited longest for grading; None if none waits."""
        with self._transaction():
            while True:
                sql = "SELECT * FROM studies WHERE state = ? ORDER BY changed, id LIMIT 1"
                found = self._rows(sql, State.WAITING)
                if not found:
                    return None
                study = _study(found[0])
                if study.attempts >= ATTEMPTS:
                    self._to(
                        *(study.id, State.FAILED),
                        f"the program ended {ATTEMPTS} times while the study was graded",
                    )
                    continue
                # the same images have the same result
                again = study.graded == study.revision and study.result > 0
                result = study.result if again else study.result + 1
                self._db.execute(
                    "UPDATE studies SET attempts = attempts + 1, result = ?, graded = revision "
                    "WHERE id = ?",
                    (result, study.id),
                )
                self._to(study.id, State.GRADING)
                return Claim(study.id, study.uid, study.revision, result)

    def release(self, claim: Claim) -> None:
        """Let a study wait again whose grading was not begun or was stopped on purpose."""
        with self._transaction():
            self._db.execute("UPDATE studies SET attempts = attempts - 1 WHERE id = ?", (claim.id,))
            self._to(claim.id, State.WAITING)

    def graded(
        self, claim: Claim, files: Mapping[str, str], destinations: Mapping[str, float]
    ) -> State:
        """End the grading of a study: send its result, or grade again if images have arrived.

        Args:
            claim: from `claim`.
            files: names of the DICOM files of the result, and their SOP instance UIDs.
            destinations: names, and for how many seconds sending is tried.

        Returns:
            Its new state.
        """
        with self._transaction():
            if self._outdated(claim):
                return State.RECEIVING
            now = self.clock()
            self._db.execute(
                "UPDATE sends SET state = ? WHERE study = ? AND state != ? AND result != ?",
                (SendState.SUPERSEDED, claim.id, SendState.SENT, claim.result),
            )
            for file, uid in files.items():
                for destination, seconds in destinations.items():
                    self._db.execute(
                        "INSERT OR IGNORE INTO sends VALUES (NULL, ?, ?, ?, ?, ?, ?, 0, 0, ?, '')",
                        (
                            *(claim.id, claim.result, file, uid, destination),
                            *(SendState.PENDING, now + seconds),
                        ),
                    )
            self._note(claim.id, f"result {claim.result} is complete")
            state = State.SENDING if files and destinations else State.DONE
            self._to(claim.id, state)
            return state

    def failed(self, claim: Claim, reason: str) -> State:
        """End the grading of a study that has no result; see `graded`."""
        with self._transaction():
            if self._outdated(claim):
                return State.RECEIVING
            self._to(claim.id, State.FAILED, reason)
            return State.FAILED

    def _outdated(self, claim: Claim) -> bool:
        """Take note of the end of grading; receive on if images have arrived meanwhile."""
        study = self.study(claim.id)
        assert study is not None
        self._db.execute("UPDATE studies SET attempts = 0 WHERE id = ?", (claim.id,))
        if study.revision == claim.revision:
            return False
        self._note(claim.id, "images arrived while the study was graded; it is graded again")
        self._to(claim.id, State.RECEIVING)
        return True

    # sending

    def due(self, destination: str) -> list[Send]:
        """Return what a destination should get now: files of one study."""
        found = self._rows(
            "SELECT * FROM sends WHERE state = ? AND destination = ? AND next <= ? "
            "ORDER BY next, id",
            *(SendState.PENDING, destination, self.clock()),
        )
        return [_send(row) for row in found if row["study"] == found[0]["study"]]

    def attempted(self, sends: Sequence[Send], delay: float) -> None:
        """Register that files are going to be sent, and tried again after so many seconds."""
        with self._transaction():
            for send in sends:
                self._db.execute(
                    "UPDATE sends SET attempts = attempts + 1, next = ? WHERE id = ?",
                    (self.clock() + delay, send.id),
                )

    def answered(self, send: Send, error: str) -> SendState:
        """Register how a file was sent; the study ends when all of its files are.

        Args:
            send: the file.
            error: why it was not stored; empty if it was.
        """
        with self._transaction():
            state = SendState.SENT
            if error:
                state = SendState.GIVEN_UP if self.clock() >= send.until else SendState.PENDING
            self._db.execute(
                "UPDATE sends SET state = ?, error = ? WHERE id = ? AND state = ?",
                (state, error, send.id, SendState.PENDING),
            )
            if state is not SendState.PENDING:
                self._note(
                    send.study,
                    f"{send.file} of result {send.result} to "
                    f"{send.destination}: {state}{': ' * bool(error)}{error}",
                )
                self._settle(send.study)
            return state

    def _settle(self, number: int) -> None:
        study = self.study(number)
        assert study is not None
        mine = [s for s in self.sends(number) if s.result == study.result]
        states = {s.state for s in mine}
        if study.state is not State.SENDING or SendState.PENDING in states:
            return
        if SendState.GIVEN_UP in states:
            errors = {f"{s.destination}: {s.error}" for s in mine if s.state is SendState.GIVEN_UP}
            self._to(number, State.FAILED, "not sent: " + "; ".join(sorted(errors)))
        else:
            self._to(number, State.DONE)

    def is_own(self, uid: str) -> bool:
        """Whether an instance is a result that was made here."""
        return bool(self._rows("SELECT 1 FROM sends WHERE uid = ? LIMIT 1", uid))

    # the user, and time

    def retry(self, number: int, seconds: float) -> bool:
        """Try a failed study again: send what was given up, or grade it.

        Args:
            number: of the study.
            seconds: for how long sending is tried.

        Returns:
            Whether there was something to try.
        """
        with self._transaction():
            study = self.study(number)
            if study is None or study.state is not State.FAILED:
                return False
            given_up = [
                s
                for s in self.sends(number)
                if s.result == study.result and s.state is SendState.GIVEN_UP
            ]
            self._note(number, "a user asked to try again")
            if given_up:
                for send in given_up:
                    self._db.execute(
                        "UPDATE sends SET state = ?, attempts = 0, next = 0, until = ? "
                        "WHERE id = ?",
                        (SendState.PENDING, self.clock() + seconds, send.id),
                    )
                self._to(number, State.SENDING)
                return True
            if not self.instances(number):
                return False
            self._db.execute("UPDATE studies SET attempts = 0 WHERE id = ?", (number,))
            self._to(number, State.WAITING)
            return True

    def expired(self, seconds: float) -> list[StudyRow]:
        """Return studies that ended so many seconds ago and still have images or results."""
        found = self._rows(
            "SELECT * FROM studies WHERE state IN (?, ?) AND changed <= ?",
            *(State.DONE, State.FAILED, self.clock() - seconds),
        )
        return [_study(row) for row in found]

    def forget_images(self, number: int) -> bool:
        """Forget the images of a study, and the study unless a result was not sent.

        Returns:
            Whether results are to be removed too.
        """
        with self._transaction():
            self._db.execute("DELETE FROM instances WHERE study = ?", (number,))
            unsent = (SendState.PENDING, SendState.GIVEN_UP)
            if any(send.state in unsent for send in self.sends(number)):
                return False
            self._db.execute("DELETE FROM history WHERE study = ?", (number,))
            self._to(number, State.REMOVED)
            self._db.execute(
                "UPDATE studies SET patient = '', patient_id = '', date = '', description = '' "
                "WHERE id = ?",
                (number,),
            )
            return True

    # looking

    def study(self, number: int) -> StudyRow | None:
        found = self._rows("SELECT * FROM studies WHERE id = ?", number)
        return _study(found[0]) if found else None

    def studies(self, limit: int = 1000) -> list[StudyRow]:
        """The studies that changed last."""
        found = self._rows("SELECT * FROM studies ORDER BY changed DESC, id DESC LIMIT ?", limit)
        return [_study(row) for row in found]

    def counts(self) -> dict[State, int]:
        """Number of studies in each state."""
        found = self._rows("SELECT state, COUNT(*) AS n FROM studies GROUP BY state")
        return {**dict.fromkeys(State, 0), **{State(row["state"]): row["n"] for row in found}}

    def longest_wait(self) -> float:
        """Seconds that the oldest waiting study has waited; 0 if none waits."""
        sql = "SELECT MIN(changed) AS since FROM studies WHERE state = ?"
        since = self._rows(sql, State.WAITING)[0]["since"]
        return 0.0 if since is None else max(0.0, self.clock() - since)

    def sends(self, number: int) -> list[Send]:
        """All files of a study for all destinations."""
        found = self._rows("SELECT * FROM sends WHERE study = ? ORDER BY id", number)
        return [_send(row) for row in found]

    def history(self, number: int) -> list[tuple[float, str]]:
        """What has happened to a study, and when."""
        found = self._rows("SELECT * FROM history WHERE study = ? ORDER BY rowid", number)
        return [(row["time"], row["what"]) for row in found]


def _study(row: sqlite3.Row) -> StudyRow:
    return StudyRow(**{**dict(row), "state": State(row["state"])})


def _send(row: sqlite3.Row) -> Send:
    return Send(**{**dict(row), "state": SendState(row["state"])})
