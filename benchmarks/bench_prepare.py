"""``prepare`` by number of studies and of workers, and reading its store.

Every run of ``prepare`` is a process of its own. The studies are ten phantom studies (RLE, three
series each), listed again and again.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import child
from benchmarks.studies import make_studies, repeat_studies

from lumbargrade.lsdc.prepare import prepare
from lumbargrade.lsdc.store import VolumeStore

by_studies = pytest.mark.benchmark(group="`prepare` per study, by studies", timer=child.cpu_s)
again = pytest.mark.benchmark(group="`prepare` again", timer=child.cpu_s)
by_workers = pytest.mark.benchmark(group="`prepare`, by workers (wall time)", timer=child.wall_s)
reading = pytest.mark.benchmark(group="reading all volumes of a store")


@pytest.fixture(scope="module")
def studies(tiny: bool) -> int:
    """Studies of the small data set."""
    return 1 if tiny else 10


@pytest.fixture(scope="module")
def times(tiny: bool) -> int:
    """How often the large data set lists every study of the small one."""
    return 2 if tiny else 4


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, studies: int) -> Path:
    """The small data set."""
    return make_studies(tmp_path_factory.mktemp("few") / "data", studies)


@pytest.fixture(scope="module")
def many(few: Path, times: int) -> Path:
    """The large data set."""
    return repeat_studies(few, few.with_name("many"), times)


@pytest.fixture(scope="module")
def store(few: Path) -> Path:
    """The store of the small data set."""
    prepare(few, few.with_name("store"))
    return few.with_name("store")


def first_run(
    measure: child.Measure,
    data: Path,
    out: Path,
    studies: int,
    workers: int = 1,
    memory: bool = True,
) -> None:
    """Benchmark ``prepare`` into a fresh store."""

    def remove() -> None:
        shutil.rmtree(out, ignore_errors=True)

    arguments = ("prepare", data, "--out", out, "--workers", workers)
    measure(
        child.command,
        *arguments,
        per=studies,
        setup=remove,
        memory=memory,
    )


@by_studies
@pytest.mark.parametrize("listed", [10, 40])
def bench_studies(
    measure: child.Measure,
    few: Path,
    many: Path,
    tmp_path: Path,
    studies: int,
    times: int,
    listed: int,
) -> None:
    if listed == 10:
        first_run(measure, few, tmp_path / "store", studies)
    else:
        first_run(measure, many, tmp_path / "store", studies * times)


@again
def bench_first_run(measure: child.Measure, few: Path, tmp_path: Path, studies: int) -> None:
    first_run(measure, few, tmp_path / "store", studies)


@again
def bench_second_run(measure: child.Measure, few: Path, store: Path, studies: int) -> None:
    """A second run that finds nothing changed."""
    arguments = ("prepare", few, "--out", store, "--workers", 1)
    measure(child.command, *arguments, per=studies)


@by_workers
@pytest.mark.parametrize("workers", [1, 2])
def bench_workers(
    measure: child.Measure, many: Path, tmp_path: Path, studies: int, times: int, workers: int
) -> None:
    first_run(measure, many, tmp_path / "store", studies * times, workers, memory=False)


@reading
def bench_compressed_npz(benchmark: Any, store: Path, tmp_path: Path) -> None:
    opened = VolumeStore.open(store)
    files = []
    for study, series, _ in opened.series:
        files.append(tmp_path / f"{series}.npz")
        np.savez_compressed(files[-1], pixels=opened.volume(study, series).pixels)

    def read() -> int:
        total = 0
        for file in files:
            with np.load(file) as content:
                total += content["pixels"].nbytes
        return total

    assert benchmark(read) > 0
    benchmark.extra_info["disk_mib"] = sum(f.stat().st_size for f in files) / 2**20


@reading
def bench_store(benchmark: Any, store: Path) -> None:
    """Every pixel is copied to memory; planes and names are read too."""
    opened = VolumeStore.open(store)

    def read() -> int:
        volumes = (opened.volume(study, series) for study, series, _ in opened.series)
        return sum(np.array(volume.pixels).nbytes for volume in volumes)

    benchmark.extra_info["disk_mib"] = benchmark(read) / 2**20
