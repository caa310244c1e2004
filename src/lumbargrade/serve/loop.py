"""Threads of a node that do the same step again and again until they are asked to stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from lumbargrade.domain.errors import described

log = logging.getLogger(__name__)

#: Seconds that a loop waits after a step that failed.
_AFTER_ERROR = 5.0


class Loop:
    """A thread; a step that fails is logged and tried again, and `fault` says so meanwhile.

    Args:
        name: of the thread, for the log.
        step: does what there is to do and returns the seconds until the next step.
        stop: set when all loops are to end.

    Attributes:
        fault: the type of the error of the last step; empty if it had none.
        error: its text, which may name a patient's files.
    """

    def __init__(self, name: str, step: Callable[[], float], stop: threading.Event) -> None:
        self.name, self.fault, self.error = name, "", ""
        self._step, self._stop = step, stop
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def healthy(self) -> bool:
        """Whether the thread runs, and its last step succeeded."""
        return self._thread.is_alive() and not self.fault

    def join(self, deadline: float) -> None:
        """Wait for its end until a time of `time.monotonic`."""
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                pause = self._step()
                self.fault = ""
            except Exception as error:  # the node goes on, and its health shows the fault
                self.fault, self.error = type(error).__name__, described(error)
                # the text of an error may name a patient's folder or file
                log.error("a step failed", extra={"loop": self.name, "error": self.fault})
                log.debug("step of %s", self.name, exc_info=True)
                pause = _AFTER_ERROR
            self._stop.wait(pause)
