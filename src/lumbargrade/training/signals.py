"""SIGTERM and SIGINT as requests to stop, which the training loop obeys after the current batch."""

from __future__ import annotations

import logging
import signal
from types import FrameType, TracebackType

log = logging.getLogger(__name__)

_CAUGHT = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Context manager that catches the signals and restores the earlier handlers on exit.

    Attributes:
        asked: whether a signal arrived.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.asked = False

    def __enter__(self) -> StopSignals:
        self._before = {s: signal.signal(s, self._ask) for s in _CAUGHT}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        log.warning("%s: %s; saving", self.label, signal.Signals(number).name)
        self.asked = True
