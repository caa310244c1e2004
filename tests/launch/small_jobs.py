"""Work that needs no imports, for processes that start at once."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from lumbargrade.domain.errors import BadModel

log = logging.getLogger("lumbargrade.small_jobs")

#: A job that never ends.
HANGS = 1000


def open_doubling(place: int) -> tuple[str, Callable[[int], int]]:
    log.info("opened")
    return "doubles", doubled


def doubled(job: int) -> int:
    """Twice the job; a negative number is the exit code or signal that the process ends with."""
    print("what a library prints")
    os.write(1, b"what a library in C prints")
    if job <= -100:
        os._exit(-job - 100)
    if job < 0:
        os.kill(os.getpid(), -job)
    if job == 13:
        log.info("13 comes")
        raise ValueError("13 is unlucky")
    if job == HANGS:
        time.sleep(600)
    return 2 * job


def open_placed(place: int) -> tuple[str, Callable[[int], tuple[int, int]]]:
    """The work tells the worker's place and process; job 0 ends a process, as far as it knows."""

    def work(job: int) -> tuple[int, int]:
        if job == 0:
            raise RuntimeError("CUDA error: out of luck")
        return place, os.getpid()

    return "placed", work


def open_damaged(place: int) -> tuple[str, Any]:
    raise BadModel("a model: damaged")


def open_and_die(place: int) -> tuple[str, Any]:
    os.kill(os.getpid(), signal.SIGSEGV)
    return open_doubling(place)


def open_other(place: int) -> tuple[str, Any]:
    return f"process {os.getpid()}", doubled
