"""``prepare``: cost by studies and by workers, and reading the store against compressed npz.

Every run is a process of its own, so that its peak memory is its own too.
``python -m benchmarks.prepare`` prints the section of docs/benchmarks.md.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from benchmarks.common import (
    Row,
    Section,
    against,
    cost_against_work,
    main,
    number,
    progress,
    ratio,
    run_child,
    take_turns,
    work_table,
)
from benchmarks.studies import make_studies, named, repeat_studies

from lumbargrade.lsdc.prepare import prepare
from lumbargrade.lsdc.store import VolumeStore

BY_STUDIES, BY_WORKERS, AGAIN, READ = "by studies", "by workers", "again", "read"


def _prepare(data: Path, workers: int) -> dict[str, float]:
    """What one run into a fresh store costs; see :mod:`benchmarks.child`."""
    with tempfile.TemporaryDirectory(dir=data.parent) as folder:
        options = [data, "--out", f"{folder}/store", "--workers", workers]
        found: dict[str, float] = run_child("benchmarks.child", "prepare", *options)
    return found


def _measured(cases: Sequence[tuple[Path, int, int]], rounds: int) -> list[Row]:
    """A row for each (data set, its studies, workers); they take turns."""
    found: dict[str, list[dict[str, float]]] = {str(i): [] for i in range(len(cases))}

    def one(name: str) -> None:
        data, _, workers = cases[int(name)]
        found[name].append(_prepare(data, workers))

    take_turns({name: partial(one, name) for name in found}, rounds, warm_up=False)
    return [
        {
            "studies": studies,
            "workers": workers,
            "wall_ms": 1e3 * statistics.median(r["seconds"] for r in runs) / studies,
            "ms": 1e3 * statistics.median(r["cpu_seconds"] for r in runs) / studies,
            "peak_mib": max(r["peak_mib"] for r in runs),
            "work_mib": max(r["work_mib"] for r in runs),
        }
        for (_, studies, workers), runs in zip(cases, found.values(), strict=True)
    ]


def second_run(data: Path, store: Path, studies: int) -> list[Row]:
    """A run that finds everything done."""
    rows = []
    for case in ("first run", "second run, nothing changed"):
        start = time.process_time()
        prepare(data, store)
        ms = (time.process_time() - start) / studies * 1e3
        rows.append({"benchmark": AGAIN, "case": case, "ms": ms})
    return rows


def read_against_npz(folder: Path, rounds: int) -> list[Row]:
    """Every volume of a store to memory, against the same pixels in compressed npz files."""
    store = VolumeStore.open(folder)
    volumes = [(study, series) for study, series, _ in store.series]
    zipped = {v: folder.with_name(f"{v[1]}.npz") for v in volumes}
    for volume, file in zipped.items():
        np.savez_compressed(file, pixels=store.volume(*volume).pixels)

    def from_store() -> int:
        return sum(np.array(store.volume(*v).pixels).nbytes for v in volumes)

    def from_npz() -> int:
        total = 0
        for file in zipped.values():
            with np.load(file) as content:
                total += content["pixels"].nbytes
        return total

    seconds = take_turns({"store": from_store, "npz": from_npz}, rounds)
    sizes = {"store": from_store(), "npz": sum(f.stat().st_size for f in zipped.values())}
    return [
        {
            "benchmark": READ,
            "case": name,
            "ms": 1e3 * statistics.median(seconds[name]) / len(volumes),
            "disk_mib": sizes[name] / len(volumes) / 2**20,
        }
        for name in seconds
    ]


def run(quick: bool = False) -> list[Row]:
    """All rows."""
    base, repeats, rounds = (1, (1, 2), 1) if quick else (10, (1, 3, 10), 2)
    workers = sorted({2, min(os.cpu_count() or 1, 8)} - {1})
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        progress(f"  making {named(base)}")
        data = make_studies(root / "data", base)
        sets = {base * n: repeat_studies(data, root / f"data{n}", n) for n in repeats}
        largest = max(sets)
        cases = [(path, n, 1) for n, path in sets.items()]
        cases += [(sets[largest], largest, n) for n in workers]
        progress("  by number of studies and of workers")
        measured = _measured(cases, rounds)
        progress("  a second run, and reading the store")
        return [
            *({"benchmark": BY_STUDIES, **r} for r in measured if r["workers"] == 1),
            *({"benchmark": BY_WORKERS, **r} for r in measured if r["studies"] == largest),
            *second_run(data, root / "store", base),
            *read_against_npz(root / "store", 5 * rounds),
        ]


def sections(rows: list[Row]) -> list[Section]:
    """Three tables: by studies, by workers with the second run, the store against npz."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["benchmark"], []).append(row)
    return [
        _by_studies(found[BY_STUDIES]),
        _by_workers(found[BY_WORKERS], found[AGAIN]),
        _read(found[READ]),
    ]


def _by_studies(rows: list[Row]) -> Section:
    return Section(
        "`prepare` by number of studies",
        cost_against_work(rows),
        named(rows[0]["studies"]),
        "One worker, in a process of its own whose start is not counted; median time and highest "
        "peak of runs that take turns; *the work's* memory is what it holds more than after its "
        "imports. The studies are ten phantom studies (RLE, three series each), listed again and "
        "again.",
        *work_table(rows),
    )


def _by_workers(rows: list[Row], again: list[Row]) -> Section:
    first, last = rows[0], rows[-1]
    one, most = _workers(first), _workers(last)
    cells = [
        [
            _workers(row),
            number(row["wall_ms"]),
            ratio(row["wall_ms"] / first["wall_ms"]),
            number(row["ms"]),
            ratio(row["ms"] / first["ms"]),
            f"{row['ms'] / row['wall_ms']:.1f}",
        ]
        for row in rows
    ]
    return Section(
        "`prepare` by number of workers",
        f"{most} are {against(last['wall_ms'] / first['wall_ms'], one)} on {first['studies']} "
        f"studies, in a run that got {last['ms'] / last['wall_ms']:.1f} cores. A second run that "
        "finds nothing changed takes "
        f"{again[1]['ms'] / again[0]['ms']:.3f} of the time of the first.",
        one,
        f"{first['studies']} studies; wall time of a whole run, and CPU time of all its processes, "
        "the start of the workers included. *Cores got* is the one over the other: where other "
        "work leaves the workers no free core, they cannot be faster.",
        ["workers", "wall ms per study", "ratio", "CPU ms per study", "ratio", "cores got"],
        cells,
    )


def _workers(row: Row) -> str:
    return f"{row['workers']} worker" + "s" * (row["workers"] > 1)


def _read(rows: list[Row]) -> Section:
    by_case = {r["case"]: r for r in rows}
    store, npz = by_case["store"], by_case["npz"]
    titles = {
        "store": "the store (`.npy`, memory-mapped; planes and names too)",
        "npz": "`.npz`, compressed",
    }
    return Section(
        "Reading a volume from the store",
        f"The store is {against(store['ms'] / npz['ms'], 'compressed npz files')} and takes "
        f"{ratio(store['disk_mib'] / npz['disk_mib'])} times their space.",
        "`numpy.savez_compressed` of the same pixels",
        "All volumes of ten phantom "
        "studies, every pixel copied to memory; the files are in the page cache. The store also "
        "reads the place of every slice.",
        ["form", "ms per volume", "ratio", "MiB per volume", "ratio"],
        [
            [
                titles[r["case"]],
                number(r["ms"]),
                ratio(r["ms"] / npz["ms"]),
                number(r["disk_mib"]),
                ratio(r["disk_mib"] / npz["disk_mib"]),
            ]
            for r in rows
        ],
    )


if __name__ == "__main__":
    main("benchmarks.prepare", run, sections)
