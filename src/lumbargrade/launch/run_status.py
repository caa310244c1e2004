"""How far a training run is: a small file in its folder, which can be read without torch."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from lumbargrade.domain.errors import BadInput
from lumbargrade.files.structures import plain, read_plain, structured
from lumbargrade.files.writing import write_text

STATUS_FILE = "status.json"

#: Environment variable with the name of the node, if it is not that of the machine.
NODE = "LUMBARGRADE_NODE"

State = Literal["waiting", "running", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class RunStatus:
    """How far a run is.

    Attributes:
        state: ``stopped`` means that a signal ended it; the same command resumes it.
        epoch: number of trained epochs.
        epochs: number of all epochs.
        best: best validation score so far; None if there is none.
        best_epoch: its epoch, from 1; 0 if there is none.
        node: name of the machine that trains.
        updated: time of this status, UTC.
        error: why it failed.
    """

    state: State = "waiting"
    epoch: int = 0
    epochs: int = 0
    best: float | None = None
    best_epoch: int = 0
    node: str = ""
    updated: str = ""
    error: str = ""


def read_run_status(folder: Path) -> RunStatus:
    """Read the status of a run; a folder without one is a run that waits.

    Raises:
        BadInput: if the file is damaged.
    """
    path = folder / STATUS_FILE
    if not path.exists():
        return RunStatus()
    return structured(read_plain(path, BadInput), RunStatus, path, "status", BadInput)


def update_run_status(folder: Path, **changes: Any) -> None:
    """Change some fields of a run's status, and set its time.

    Args:
        folder: the run's folder.
        changes: fields of `RunStatus`.

    Raises:
        BadInput: if the file is damaged.
        OSError: if it cannot be written.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    status = replace(read_run_status(folder), updated=now, **changes)
    write_text(folder / STATUS_FILE, json.dumps(plain(status), indent=1) + "\n")


def begin_run(folder: Path) -> None:
    """Set the status of a run to ``running`` on this node; arguments as in `update_run_status`."""
    node = os.environ.get(NODE, "") or platform.node()
    update_run_status(folder, state="running", node=node, error="")


@contextmanager
def failure_reported(folder: Path) -> Iterator[None]:
    """Set the status of a run to ``failed``, with the reason, if the block fails.

    A folder that does not exist yet is not made.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        stopped = isinstance(error, KeyboardInterrupt)
        text = "" if stopped else str(error).partition("\n")[0] or type(error).__name__
        if folder.is_dir():
            with suppress(OSError):  # the disk may be full; the first error is the one to report
                state = "stopped" if stopped else "failed"
                update_run_status(folder, state=state, error=text)
        raise
