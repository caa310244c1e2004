"""Runs a node: opens the models, listens, and ends when it is asked to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lumbargrade.batch.steps import Opened
from lumbargrade.domain.errors import LumbargradeError
from lumbargrade.files.cpus import usable_cpus
from lumbargrade.files.writing import locked_folder
from lumbargrade.launch.signals import StopSignals
from lumbargrade.serve.grader import Grader
from lumbargrade.serve.inbox import Folders, Inbox
from lumbargrade.serve.keeper import Keeper
from lumbargrade.serve.loop import Loop
from lumbargrade.serve.metrics import Metrics
from lumbargrade.serve.node import Node
from lumbargrade.serve.queue import Queue
from lumbargrade.serve.sender import Sender
from lumbargrade.serve.settings import DicomSettings, Settings, WebSettings
from lumbargrade.serve.web import Site, serving

log = logging.getLogger(__name__)

#: Seconds that all threads together have to end; what they do then is done again by the next start.
_PATIENCE = 20.0


def serve(open_models: Callable[[int], Opened], settings: Settings, data: Path) -> None:
    """Run a node until SIGTERM or SIGINT.

    Args:
        open_models: see `batch.run.grade_studies`.
        settings: of the node.
        data: its folder; gets the queue, images and results.

    Raises:
        UsageError: if another process uses the folder, or a port cannot be used.
        LumbargradeError: if the models cannot be opened.
    """
    data.mkdir(parents=True, exist_ok=True)
    busy = f"--data {data}: another process uses it; wait for its end, or give another folder"
    with StopSignals("lumbargrade serve") as signals, locked_folder(data, busy, patience=10.0):
        with running(open_models, settings, data):
            while not signals.asked:
                time.sleep(0.2)
        log.info("stopped")


@contextmanager
def running(
    open_models: Callable[[int], Opened], settings: Settings, data: Path
) -> Iterator[Queue]:
    """Run a node until the block ends; see `serve`."""
    folders, stop = Folders(data), threading.Event()
    queue = Queue(folders.queue)
    inbox = Inbox(folders, queue, settings.dicom)
    metrics = Metrics(queue, data)
    again = queue.recover()
    queue.give_up_unknown(settings.tried_for)
    inbox.clean()
    loops: list[Loop] = []
    with ExitStack() as ending:
        ending.callback(queue.close)
        graders = _graders(open_models, settings, folders, queue, metrics, stop)
        for grader in graders:
            ending.callback(grader.close)
        ending.callback(_end, loops, stop)
        loops += [Loop(f"grade {i}", g.step, stop) for i, g in enumerate(graders, start=1)]
        _wait_for_models(graders, loops)
        keeper = Keeper(settings.studies, folders, queue)
        loops.append(Loop("completeness", keeper.step, stop))
        loops.append(Loop("removal", keeper.remove_old, stop))
        for to in settings.send:
            sender = Sender(to, settings.dicom.ae_title, folders, queue, metrics.sent)
            loops.append(Loop(f"send to {to.name}", sender.step, stop))
        node = Node(settings.dicom, inbox, metrics.received)
        ending.callback(node.close)
        site = Site(settings, folders, queue, metrics, loops)
        ending.enter_context(serving(site, settings.web))
        log.info("listening for DICOM", extra=_at(settings.dicom))
        log.info("listening for browsers", extra=_at(settings.web))
        if again:
            log.info("studies are graded again after a crash", extra={"count": again})
        yield queue


def _at(settings: DicomSettings | WebSettings) -> dict[str, object]:
    """Extra keys of a line of the log."""
    return {"host": settings.host, "port": settings.port}


def _graders(
    open_models: Callable[[int], Opened],
    settings: Settings,
    folders: Folders,
    queue: Queue,
    metrics: Metrics,
    stop: threading.Event,
) -> list[Grader]:
    size = settings.studies.workers
    threads = max(1, usable_cpus() // size)
    return [
        Grader(open_models, settings, folders, queue, metrics.graded, stop, threads, place)
        for place in range(size)
    ]


def _wait_for_models(graders: Sequence[Grader], loops: Sequence[Loop]) -> None:
    """Wait until every worker has opened the models.

    Raises:
        LumbargradeError: if one cannot.
    """
    for grader, loop in zip(graders, loops, strict=True):
        while not grader.ready.wait(0.1):
            if loop.fault:
                raise LumbargradeError(f"the models cannot be opened: {loop.error}")


def _end(loops: list[Loop], stop: threading.Event) -> None:
    stop.set()
    deadline = time.monotonic() + _PATIENCE
    for loop in loops:
        loop.join(deadline)
