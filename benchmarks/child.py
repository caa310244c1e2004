"""Benchmarks whose work runs in a fresh process, so that its peak memory is known.

The start of Python, imports and preparation are not counted. ``cpu_s`` and ``wall_s`` are timers
for pytest-benchmark: they advance by what the work in the child process took.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.common import ROOT

from lumbargrade.files.memory import held_memory, peak_memory

#: Modules that commands import only when they run.
_IMPORTS = {
    "grade": (
        "lumbargrade.dicom.study",
        "lumbargrade.files.overlap",
        "lumbargrade.grading.study",
        "lumbargrade.report.grading",
    ),
    "prepare": ("lumbargrade.lsdc.prepare",),
    "submit": ("lumbargrade.report.submission", "lumbargrade.grading.lsdc_studies"),
}

#: What the fixture ``measure`` gives: :func:`measure` without its first argument.
Measure = Callable[..., None]

_total = {"cpu_s": 0.0, "wall_s": 0.0}


def cpu_s() -> float:
    """Timer: CPU seconds of all measured work, worker processes included."""
    return _total["cpu_s"]


def wall_s() -> float:
    """Timer: wall-clock seconds of all measured work."""
    return _total["wall_s"]


def measure(
    benchmark: Any,
    prepare: Callable[..., Callable[[], object]],
    *arguments: object,
    per: int = 1,
    setup: Callable[[], object] = lambda: None,
    memory: bool = True,
    here: bool = False,
) -> None:
    """Benchmark some work once, with its peak memory in ``extra_info``.

    `benchmarks.passes` repeats all benchmarks in turns, which says more than to repeat one.

    Args:
        benchmark: the fixture; its timer must be one of this module.
        prepare: a module's function that returns the work; it is called in the child process.
        arguments: of ``prepare``, which gets them as text.
        per: times are divided by this number of equal parts.
        setup: called in this process before the work.
        memory: record peak memory; it is that of the work's main process alone.
        here: measure in this process, which is quick to begin but says little about memory.
    """
    cost: dict[str, float] = {}

    def once() -> None:
        cost.update((cost_of if here else run)(prepare, *map(str, arguments)))
        for timer in _total:
            _total[timer] += cost[timer] / per

    def before() -> None:
        setup()

    benchmark.pedantic(once, setup=before)
    benchmark.extra_info["per"] = per
    for figure in ("peak_mib", "work_mib") if memory else ():
        benchmark.extra_info[figure] = cost[figure]


def cost_of(prepare: Callable[..., Callable[[], object]], *arguments: str) -> dict[str, float]:
    """The cost of some work in this process."""
    work = prepare(*arguments)
    held, wall, cpu = held_mib(), time.perf_counter(), _cpu_now()
    work()
    cost = {"cpu_s": _cpu_now() - cpu, "wall_s": time.perf_counter() - wall}
    return {**cost, "peak_mib": peak_mib(), "work_mib": peak_mib() - held}


def run(prepare: Callable[..., Callable[[], object]], *arguments: str) -> dict[str, float]:
    """The cost of some work in a fresh process with one thread.

    Raises:
        RuntimeError: with the end of its log if it fails.
    """
    name = f"{prepare.__module__}:{prepare.__name__}"
    command = [sys.executable, "-m", "benchmarks.child", name, *arguments]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command} ended with code {done.returncode}\n{done.stderr[-2000:]}")
    cost: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return cost


def command(*argv: str) -> Callable[[], None]:
    """A ``lumbargrade`` command as work for :func:`measure`."""
    from lumbargrade.cli.main import main as command_line

    for module in _IMPORTS[argv[0]]:
        importlib.import_module(module)

    def work() -> None:
        if code := command_line(list(argv)):
            sys.exit(code)

    return work


def peak_mib() -> float:
    """The most memory that this process has held, MiB."""
    return peak_memory() / 2**20


def held_mib() -> float:
    """The memory that this process holds now, MiB; its peak where the system does not say."""
    return held_memory() / 2**20 or peak_mib()


def _cpu_now() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    module, _, function = sys.argv[1].partition(":")
    print(json.dumps(cost_of(getattr(importlib.import_module(module), function), *sys.argv[2:])))
