"""Workers that are processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from lumbargrade.files.pool import start_worker
from lumbargrade.launch.crew import GONE, Died, Event, OpenWorker
from lumbargrade.launch.worker import Worker

#: Seconds until workers that still work when they are asked to end are killed.
_PATIENCE = 5.0


class ProcessCrew:
    """Processes of this machine (a `Crew`).

    They end with this process, however it ends. Ctrl-C reaches this process only. What a library
    prints in a worker goes to the standard error.

    Args:
        open_worker: opens the models in the worker's process; it must be a function of a module,
            or a partial of one.
        threads: threads of each worker, unless OMP_NUM_THREADS is set.
    """

    def __init__(self, open_worker: OpenWorker, threads: int) -> None:
        self._open, self._threads = open_worker, threads
        # spawned, not forked: a fork does not survive if the caller runs threads, as torch does
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, tuple[SpawnProcess, Connection]] = {}
        self._hired = 0

    def hire(self, place: int) -> int:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs, self._open, place, self._threads), daemon=False
        )
        process.start()
        theirs.close()  # so that the end of the worker is the end of the pipe
        self._hired += 1
        self._workers[self._hired] = (process, ours)
        return self._hired

    def give(self, worker: int, job: Any) -> None:
        with suppress(OSError):  # if the worker has just died, `wait` reports it
            self._workers[worker][1].send(job)

    def wait(self, seconds: float | None = None) -> Event | None:
        pipes = {connection: number for number, (_, connection) in self._workers.items()}
        ready = wait(pipes, seconds)
        if not ready:
            return None
        connection = ready[0]
        assert isinstance(connection, Connection)
        worker = pipes[connection]
        try:
            kind, *content = connection.recv()
        except (EOFError, OSError):
            return Died(worker, _how(self._bury(worker)))
        event: Event = kind(worker, *content)
        if kind in GONE:
            self.dismiss(worker)  # it has nothing to do but end, which libraries can delay
        return event

    def dismiss(self, worker: int) -> None:
        if worker in self._workers:
            self._workers[worker][0].kill()
            self._bury(worker)

    def _bury(self, worker: int) -> int:
        """Forget a worker that is dead or has been killed; return its exit code."""
        process, connection = self._workers.pop(worker)
        connection.close()
        process.join()
        code = process.exitcode or 0
        process.close()
        return code

    def close(self) -> None:
        for _, connection in self._workers.values():
            connection.close()  # a worker without work ends by itself
        deadline = time.monotonic() + _PATIENCE
        for process, _ in self._workers.values():
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.join()
            process.close()
        self._workers.clear()


def _how(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"its worker process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    memory = ", possibly out of memory" if name == "SIGKILL" else ""
    return f"its worker process was ended by {name}{memory}"


def _serve(pipe: Connection, open_worker: OpenWorker, place: int, threads: int) -> None:
    """Open the models, then do each job that comes through the pipe, until it is closed."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    start_worker()
    with suppress(OSError):  # without a standard error, a program has no output at all
        os.dup2(2, 1)
    worker = Worker(open_worker, place)
    report = worker.open()
    while True:
        try:
            pipe.send(report)
            if report[0] in GONE:
                return
            job = pipe.recv()
        except (EOFError, OSError):  # nobody needs it any more
            return
        report = worker.work(job)
