"""The memory that this process holds."""

from __future__ import annotations

import sys
from pathlib import Path

#: What Linux says of a process: a field such as ``VmRSS`` in each line, in kB.
_STATUS = Path("/proc/self/status")


def held_memory() -> int:
    """Return the memory of this process now, in bytes; 0 if the system does not tell."""
    return _field("VmRSS") or 0


def peak_memory() -> int:
    """Return the largest memory of this process so far, in bytes; 0 if the system does not tell."""
    # on Linux ru_maxrss begins with the size of the process that started this one
    if (peak := _field("VmHWM")) is not None:
        return peak
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def forget_peak() -> bool:
    """Let `peak_memory` begin anew with what is held now; return whether this system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _field(name: str) -> int | None:
    if not _STATUS.exists():
        return None
    fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(fields[name].split()[0]) * 1024
