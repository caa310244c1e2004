"""Reading a series to the volume, against bare pydicom, SimpleITK, and pydicom doing all of it.

Bare pydicom neither orders the slices nor checks or scales anything; SimpleITK only orders them.
lumbargrade also checks every header before it decodes, and keeps the plane of every slice. It
decodes lossless JPEG in a child process, whose CPU time counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from benchmarks import child
from benchmarks.reading import (
    SYNTAXES,
    WAYS,
    bare_pydicom,
    lumbargrade,
    pydicom_to_volume,
    reading,
    simple_itk,
    write_series,
)


@pytest.fixture(scope="module", params=SYNTAXES)
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny: bool
) -> tuple[str, Path]:
    """A transfer syntax and a series in it."""
    folder = tmp_path_factory.mktemp("series") / "1"
    write_series(folder, SYNTAXES[request.param], *((3, 64) if tiny else (20, 512)))
    for way in WAYS:  # before the first group, too, memory has been used and freed
        way(folder)
    return request.param, folder


def cpu_s() -> float:
    """Timer: CPU seconds of this process and of those that decode for it."""
    return time.process_time() + sum(map(_cpu_of, psutil.Process().children()))


def _cpu_of(process: psutil.Process) -> float:
    # exact where the system tells nanoseconds; psutil has hundredths of a second
    exact = Path(f"/proc/{process.pid}/schedstat")
    if exact.exists():
        return int(exact.read_text().split()[0]) / 1e9
    times = process.cpu_times()
    return float(times.user + times.system)


@pytest.fixture
def series(written: tuple[str, Path], benchmark: Any) -> Path:
    """The folder of a series; benchmarks of one syntax are one group."""
    benchmark.group = f"reading a series, {written[0]}"
    return written[1]


@pytest.fixture
def reads(benchmark: Any, series: Path, tiny: bool) -> Callable[..., Any]:
    """Benchmark a way of reading; its memory is that of a fresh process that reads once."""

    def measured(way: Callable[[Path], Any]) -> Any:
        read = benchmark(way, series)
        cost = (child.cost_of if tiny else child.run)(reading, way.__name__, str(series))
        benchmark.extra_info["peak_mib"] = cost["peak_mib"]
        return read

    return measured


by_cpu = pytest.mark.benchmark(timer=cpu_s)


@by_cpu
def bench_bare_pydicom(reads: Callable[..., Any]) -> None:
    reads(bare_pydicom)


@by_cpu
def bench_simpleitk(reads: Callable[..., Any]) -> None:
    reads(simple_itk)


@by_cpu
def bench_pydicom_to_the_same_volume(reads: Callable[..., Any]) -> None:
    reads(pydicom_to_volume)


@by_cpu
def bench_lumbargrade(reads: Callable[..., Any], series: Path) -> None:
    volume = reads(lumbargrade)
    np.testing.assert_array_equal(volume, pydicom_to_volume(series))
