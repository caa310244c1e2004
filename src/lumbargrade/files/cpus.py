"""How many CPUs this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

#: Limits of CPU time that the system sets for a group of processes (Linux, cgroup version 2).
_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def usable_cpus() -> int:
    """Return how many CPUs this process may use, at least 1.

    This is the number of CPUs that it may run on, or fewer if the system limits its CPU time, as in
    a container.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, min(count, _limited_cpus()))


def _limited_cpus() -> int:
    """Return the CPUs whose time the process may use, from the limit of its group."""
    try:
        quota, period = _CPU_LIMIT.read_text().split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):  # no limit ("max"), or no such system
        return 1_000_000
