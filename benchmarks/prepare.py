"""Prepare: cost by number of workers, by number of studies, and reading the store against npz.

The images are noise, written uncompressed, so that what is timed is prepare and not a codec.
Every run is a process of its own, so its peak memory is its own too.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lumbargrade.dataset.prepare import prepare
from lumbargrade.dataset.store import VolumeStore

TESTS = Path(__file__).resolve().parents[1] / "tests" / "dataset"
DEPTH, SHAPE = 15, (320, 320)

_CHILD = """
import json, resource, sys, time
from pathlib import Path
from lumbargrade.dataset.prepare import prepare

if __name__ == "__main__":
    start = time.perf_counter()
    summary = prepare(Path(sys.argv[1]), Path(sys.argv[2]), workers=int(sys.argv[3]))
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        peak = int(fields["VmHWM"].split()[0]) / 1024
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(json.dumps([seconds, peak, summary.studies]))
"""


def _write_studies(folder: Path, studies: int) -> None:
    sys.path.insert(0, str(TESTS))
    try:
        from lsdc import write_lsdc
    finally:
        sys.path.pop(0)
    write_lsdc(folder, studies, depth=DEPTH, shape=SHAPE)


def _prepare(data: Path, workers: int) -> tuple[float, float]:
    """Seconds and peak MiB of one run into a fresh store."""
    with tempfile.TemporaryDirectory(dir=data.parent) as folder:
        script = Path(folder) / "child.py"
        script.write_text(_CHILD)
        out = Path(folder) / "store"
        done = subprocess.run(
            [sys.executable, str(script), str(data), str(out), str(workers)],
            capture_output=True,
            text=True,
            check=True,
        )
    seconds, peak, _ = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak


def _row(benchmark: str, case: str, ms: float, reference: float, **more: object) -> dict[str, Any]:
    ratio = round(ms / reference, 3)
    return {"benchmark": benchmark, "case": case, "ms": round(ms, 2), "ratio": ratio, **more}


def by_work(root: Path, counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Cost per study and peak memory, one worker."""
    rows: list[dict[str, Any]] = []
    for studies in counts:
        data = root / f"data{studies}"
        _write_studies(data, studies)
        seconds, peak = _prepare(data, 1)
        ms = seconds / studies * 1e3
        first = rows[0]["ms"] if rows else ms
        rows.append(
            _row(
                "prepare per study, by studies",
                f"{studies} studies",
                ms,
                first,
                peak_mib=round(peak),
            )
        )
    return rows


def by_workers(data: Path, studies: int, workers: tuple[int, ...]) -> list[dict[str, Any]]:
    """Cost per study, the start of the workers included."""
    times = {n: _prepare(data, n)[0] / studies * 1e3 for n in workers}
    return [
        _row(
            f"prepare per study, {studies} studies",
            f"{n} worker" + "s" * (n > 1),
            ms,
            times[workers[0]],
        )
        for n, ms in times.items()
    ]


def second_run(data: Path, root: Path, studies: int) -> list[dict[str, Any]]:
    """A run that finds everything done, against the first; and opening the store."""
    name = f"prepare per study, {studies} studies"
    start = time.perf_counter()
    prepare(data, root / "store")
    first = (time.perf_counter() - start) / studies * 1e3
    start = time.perf_counter()
    prepare(data, root / "store")
    second = (time.perf_counter() - start) / studies * 1e3
    opened = _milliseconds(lambda: VolumeStore.open(root / "store")) / studies
    return [
        _row(name, "first run", first, first),
        _row(name, "second run, nothing changed", second, first),
        _row(name, "opening the store", opened, first),
    ]


def read_against_npz(root: Path) -> list[dict[str, Any]]:
    """One volume of 15 x 320 x 320 through the store, against the same pixels in an npz."""
    store = VolumeStore.open(root / "store")
    study, series, _ = store.series[0]
    pixels = np.array(store.volume(study, series).pixels)
    smooth = np.cumsum(pixels.astype(np.int64) % 3 - 1, axis=2).astype(np.uint8)
    np.savez_compressed(root / "noise.npz", pixels=pixels)
    np.savez_compressed(root / "smooth.npz", pixels=smooth)
    cases: dict[str, Callable[[], object]] = {
        "store (npy, memory-mapped, planes too)": lambda: np.array(
            store.volume(study, series).pixels
        ),
        "compressed npz, noise": lambda: np.load(root / "noise.npz")["pixels"],
        "compressed npz, smooth": lambda: np.load(root / "smooth.npz")["pixels"],
    }
    times = {name: _milliseconds(case) for name, case in cases.items()}
    reference = next(iter(times.values()))
    name = f"reading a volume of {DEPTH} x {SHAPE[0]} x {SHAPE[1]}"
    return [_row(name, case, ms, reference) for case, ms in times.items()]


def _milliseconds(one: Callable[[], object], repeats: int = 15) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        one()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def run(
    counts: tuple[int, ...] = (10, 30, 100), workers: tuple[int, ...] = (1, 2)
) -> list[dict[str, Any]]:
    """All rows; takes about a minute and 600 MB of disk for a while."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows = by_work(root, counts)
        middle = counts[len(counts) // 2]
        data = root / f"data{middle}"
        rows += by_workers(data, middle, workers)
        rows += second_run(data, root, middle)
        return rows + read_against_npz(root)


if __name__ == "__main__":
    for row in run():
        print(json.dumps(row))
