"""The SQLite file of a node: its tables, transactions, and what every part of the queue needs."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lumbargrade.domain.errors import UsageError
from lumbargrade.serve.states import Send, SendState, State, StudyRow

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
    summary TEXT NOT NULL,           -- of the result, in a few words
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


class Database:
    """The SQLite file; all threads of one process share one object.

    Args:
        path: the SQLite file.
        clock: seconds since 1970.

    Raises:
        UsageError: if the file is of another version, or another kind of file.

    Attributes:
        lock: held during every transaction. Whoever moves files of studies holds it too, so that
            files and rows change together.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        try:
            self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self.db.row_factory = sqlite3.Row
            self._open()
        except sqlite3.DatabaseError as error:
            raise UsageError(f"{path}: cannot be used as a queue ({error})") from None

    def _open(self) -> None:
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")  # acknowledged means on the disk
        with self.transaction():
            (version,) = self.db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _TABLES.split(";\n"):
                    self.db.execute(statement)
                self.db.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise sqlite3.DatabaseError(f"it has version {version}, not {_VERSION}")

    def close(self) -> None:
        with self.lock:
            self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Change rows together or, if the block fails, not at all."""
        with self.lock:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Return the rows that a statement finds."""
        with self.lock:
            return self.db.execute(sql, values).fetchall()

    def note(self, study: int, what: str) -> None:
        """Add a line to the history of a study, within a transaction."""
        self.db.execute("INSERT INTO history VALUES (?, ?, ?)", (study, self.clock(), what))

    def to(self, study: int, state: State, reason: str = "") -> None:
        """Set the state of a study, within a transaction."""
        self.db.execute(
            "UPDATE studies SET state = ?, changed = ?, reason = ? WHERE id = ?",
            (state, self.clock(), reason, study),
        )
        self.note(study, f"{state}: {reason}" if reason else str(state))

    def study(self, number: int) -> StudyRow | None:
        """Return a study by its queue number."""
        found = self.rows("SELECT * FROM studies WHERE id = ?", number)
        return study_row(found[0]) if found else None

    def sends(self, number: int) -> list[Send]:
        """All files of a study for all destinations."""
        found = self.rows("SELECT * FROM sends WHERE study = ? ORDER BY id", number)
        return [send_row(row) for row in found]


def study_row(row: sqlite3.Row) -> StudyRow:
    return StudyRow(**{**dict(row), "state": State(row["state"])})


def send_row(row: sqlite3.Row) -> Send:
    return Send(**{**dict(row), "state": SendState(row["state"])})
