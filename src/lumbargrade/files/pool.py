"""Do the same work on many jobs in parallel, with a progress bar; safe to kill."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tqdm import tqdm

from lumbargrade.domain.errors import LumbargradeError
from lumbargrade.files.cpus import usable_cpus

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


def run_jobs(
    work: Callable[[Job], Outcome],
    jobs: Sequence[Job],
    workers: int,
    *,
    task: str,
    unit: str,
    kept: str = "",
) -> list[Outcome]:
    """Run all jobs and return their outcomes in the order of the jobs.

    Args:
        work: a function of a module (or a partial of one), because other processes import it.
        jobs: what it is called with.
        workers: number of processes; 1 works in this process, 0 uses one per CPU core.
        task, unit: names of the work and of one job, for the progress bar.
        kept: what is not lost if a worker dies, for the message.

    Raises:
        LumbargradeError: if a worker process dies.
    """
    outcomes: dict[int, Outcome] = {}
    # without a terminal, a line every half minute is enough
    interval = 0.2 if sys.stderr.isatty() else 30.0
    with tqdm(total=len(jobs), desc=task, unit=unit, mininterval=interval) as bar:
        for number, outcome in _outcomes(work, jobs, workers or usable_cpus(), kept):
            outcomes[number] = outcome
            bar.update()
    return [outcomes[i] for i in range(len(jobs))]


def _outcomes(
    work: Callable[[Job], Outcome], jobs: Sequence[Job], workers: int, kept: str
) -> Iterator[tuple[int, Outcome]]:
    """Yield (job number, outcome) in the order in which jobs end."""
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from ((i, work(job)) for i, job in enumerate(jobs))
        return
    # spawned, not forked: a fork does not survive if the caller runs threads, as torch does
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=start_worker,
    )
    try:
        numbers = {pool.submit(work, job): i for i, job in enumerate(jobs)}
        for future in as_completed(numbers):
            yield numbers[future], future.result()
    except BrokenProcessPool:
        advice = f"{kept} rerun with fewer --workers".strip()
        raise LumbargradeError(f"a worker process died, possibly out of memory; {advice}") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def start_worker() -> None:
    # Ctrl-C reaches every process of the terminal; only the parent handles it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End a worker whose parent was killed; it would wait for work forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
