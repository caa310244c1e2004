"""Where a run spends its time: named stages, timed only while somebody asks for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lumbargrade.files.memory import peak_memory


@dataclass
class Stage:
    """Time of one stage.

    Attributes:
        wall: seconds in the stage itself, without the stages that ran inside it.
        calls: how often it ran.
    """

    wall: float = 0.0
    calls: int = 0


@dataclass(eq=False)
class Profile:
    """The stages of a run, in the order in which they first ended.

    Stages of several threads overlap, so their sum can be more than the time of the run.

    Attributes:
        stages: by name.
        started: time at which the run began, of `time.perf_counter`.
    """

    stages: dict[str, Stage] = field(default_factory=dict)
    started: float = field(default_factory=lambda: time.perf_counter())
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, name: str, seconds: float, calls: int = 1) -> None:
        """Add time to a stage."""
        with self._lock:
            stage = self.stages.setdefault(name, Stage())
            stage.wall += seconds
            stage.calls += calls

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self.started

    def text(self) -> str:
        """A table of all stages, the longest first, with the whole time and the peak memory."""
        whole = self.elapsed
        rows = sorted(self.stages.items(), key=lambda item: -item[1].wall)
        width = max([5, *(len(name) for name in self.stages)])
        lines = [f"{'stage':{width}}  seconds  share   calls"]
        lines += [
            f"{name:{width}}  {s.wall:7.2f}  {s.wall / whole:5.0%}  {s.calls:6d}"
            for name, s in rows
        ]
        lines.append(f"{'whole':{width}}  {whole:7.2f}")
        if memory := peak_memory():
            lines.append(f"peak memory {memory / 2**20:.0f} MiB")
        return "\n".join(lines)


_active: Profile | None = None
_inside = threading.local()


@contextmanager
def profiled(profile: Profile) -> Iterator[Profile]:
    """Collect the stages of all threads in a profile."""
    global _active
    before, _active = _active, profile
    try:
        yield profile
    finally:
        _active = before


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Time a stage, if a profile is active; the time of stages inside it is not counted twice."""
    profile = _active
    if profile is None:
        yield
        return
    outer = getattr(_inside, "spent", 0.0)
    _inside.spent = 0.0
    start = time.perf_counter()
    try:
        yield
    finally:
        whole = time.perf_counter() - start
        profile.add(name, whole - _inside.spent)
        _inside.spent = outer + whole
