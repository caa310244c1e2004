"""Requests to stop: Ctrl-C, the end of a batch job, a launcher that ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from multiprocessing.process import BaseProcess
from types import FrameType

log = logging.getLogger(__name__)

#: Environment variable of a process whose standard input is a pipe from its launcher.
LAUNCHED = "LUMBARGRADE_LAUNCHED"


class StopSignals:
    """Turn SIGTERM and SIGINT into requests to stop at the next good moment.

    This is a context manager that restores the earlier handlers on exit.

    Args:
        label: what is going to stop, for the log.

    Attributes:
        asked: whether a signal arrived.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.asked = False

    def __enter__(self) -> StopSignals:
        self._before = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        log.warning("%s: %s; saving", self.label, signal.Signals(number).name)
        self.asked = True


def ask_to_stop(children: Iterable[subprocess.Popen[bytes] | BaseProcess]) -> None:
    """Pass a request to stop on to child processes, which save and end.

    On Windows, Ctrl-C has already reached them, and `terminate` would kill them while they save.
    """
    if sys.platform == "win32":
        return
    for child in children:
        child.terminate()


def leave_with_launcher() -> None:
    """End this process at once if it was started by a launcher that dies.

    Otherwise the job of a lost worker could train on, while its next try trains in the same folder.
    Nothing is lost but the work since the last saved state, because files are written atomically.
    """
    if os.environ.pop(LAUNCHED, ""):
        threading.Thread(target=_leave_at_end_of_input, daemon=True).start()


def _leave_at_end_of_input() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)
