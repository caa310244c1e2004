"""Work that needs no imports, for processes that start at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from lumbargrade.domain.errors import BadModel


def open_doubling() -> tuple[str, Callable[[int], int]]:
    return "doubles", doubled


def doubled(job: int) -> int:
    """Twice the job; a negative number is the exit code or signal that the process ends with."""
    if job <= -100:
        os._exit(-job - 100)
    if job < 0:
        os.kill(os.getpid(), -job)
    if job == 13:
        raise ValueError("13 is unlucky")
    return 2 * job


def open_damaged() -> tuple[str, Any]:
    raise BadModel("a model: damaged")


def open_and_die() -> tuple[str, Any]:
    os.kill(os.getpid(), signal.SIGSEGV)
    return open_doubling()


def open_other() -> tuple[str, Any]:
    return f"process {os.getpid()}", doubled
