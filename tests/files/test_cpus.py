"""CPUs that this process may use: those it may run on, and the CPU time of its container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lumbargrade.files import cpus


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("900000 100000", 5),
     ("max 100000", 5), ("", 5)],
)  # fmt: skip
def test_no_more_cpus_than_the_time_that_a_container_has(
    limit: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpus, "_CPU_LIMIT", tmp_path / "cpu.max")
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4})
    else:
        monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert cpus.usable_cpus() == 5
    (tmp_path / "cpu.max").write_text(limit + "\n")
    assert cpus.usable_cpus() == expected
