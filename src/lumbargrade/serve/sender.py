"""Sends results to their destinations until they are stored there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.domain.errors import one_line
from lumbargrade.pacs.dicomweb import Server
from lumbargrade.pacs.store import StoreNode
from lumbargrade.serve.inbox import Folders
from lumbargrade.serve.queue import Queue
from lumbargrade.serve.settings import Destination
from lumbargrade.serve.states import Send, SendState, result_folder

log = logging.getLogger(__name__)

#: Seconds between two looks at the queue.
_PAUSE = 0.5

#: The longest wait between two attempts, in seconds.
_LONGEST = 600.0


@dataclass
class Sender:
    """Sends to one destination; a destination that hangs does not delay the others.

    Attributes:
        destination: where to.
        ae_title: our own title.
        folders, queue: of the node.
        sent: called with the state of every file that was tried.
    """

    destination: Destination
    ae_title: str
    folders: Folders
    queue: Queue
    sent: Callable[[str, SendState], None]

    def step(self) -> float:
        """Send what is due for one study; a step of a `Loop`."""
        sends = self.queue.due(self.destination.name)
        if not sends:
            return _PAUSE
        delay = min(_LONGEST, self.destination.retry_seconds * 2 ** min(30, sends[0].attempts))
        self.queue.attempted(sends, delay)
        for send, error in zip(sends, self._send(sends), strict=True):
            state = self.queue.answered(send, error)
            log.log(
                logging.INFO if not error else logging.WARNING,
                "sent" if not error else "not sent",
                extra={
                    "study": send.study,
                    "result": send.result,
                    "file": send.file,
                    "destination": self.destination.name,
                    "attempt": send.attempts + 1,
                    "state": str(state),
                },
            )
            self.sent(self.destination.name, state)
        return 0.0

    def _send(self, sends: list[Send]) -> list[str]:
        files = [
            self.folders.results / result_folder(send.study, send.result) / send.file
            for send in sends
        ]
        try:
            return self._store(files)
        except Exception as error:  # noqa: BLE001  whatever it is, it is tried again
            return [f"{type(error).__name__}: {one_line(error)}"] * len(sends)

    def _store(self, files: list[Path]) -> list[str]:
        to = self.destination
        if to.url:
            return Server(to.url, to.timeout_seconds, to.credentials).store(files)
        node = StoreNode(
            *(to.ae_title, to.host, to.port, self.ae_title, to.timeout_seconds),
            *(to.tls, to.tls_ca, to.tls_cert, to.tls_key),
        )
        return node.send(files)
