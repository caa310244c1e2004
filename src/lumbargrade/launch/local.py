"""Run jobs on this machine, some at a time."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence

from lumbargrade.launch.jobs import Job, start
from lumbargrade.launch.signals import ask_to_stop

Child = subprocess.Popen[bytes]


class LocalRunner:
    """Run each job in a process of its own.

    Args:
        jobs: number of jobs at the same time.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._places: dict[Child, int] = {}

    def has_room(self, running: int) -> bool:
        return running < self.jobs

    def start(self, job: Job) -> Child:
        place = min(set(range(self.jobs)) - set(self._places.values()))
        child = start(job, _gpus(job.gpus, place))
        self._places[child] = place
        return child

    def ended(self, handles: Sequence[Child], seconds: float) -> dict[Child, int | str]:
        end = time.monotonic() + seconds
        while True:
            found = {c: code for c in handles if (code := c.poll()) is not None}
            if found or time.monotonic() > end:
                break
            time.sleep(0.05)
        for child in found:
            del self._places[child]
            assert child.stdin is not None
            child.stdin.close()
        return {**found}

    def stop(self, handles: Sequence[Child]) -> None:
        ask_to_stop(handles)


def _gpus(count: int, place: int) -> dict[str, str]:
    """Environment variables that show a job its own GPUs, of those that this process may use."""
    if not count:
        return {}
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    first = place * count
    names = seen.split(",") if seen else [str(i) for i in range(first + count)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(names[first : first + count])}
