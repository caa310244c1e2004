"""Measure how ``grade`` scales with studies and workers: time, memory, and what a study costs.

``python -m benchmarks.scaling --studies 50 200 800 --workers 1 2`` grades phantom studies with the
starter, writes ``scaling.json`` and ``scaling.png``, and prints tables. Runs that the file has are
not repeated, so an interrupted command is resumed by the same command. ``--page`` also rewrites the
figures of docs/scaling.md; ``--busy`` leaves out wall time, which says nothing on a machine that
has other work.

There are only a few different studies (``--unlike``); the others are copies under new ids, so that
every number of studies has the same mix. Each run is a process of its own with ``OMP_NUM_THREADS``
threads per worker.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from benchmarks import scaling_report
from benchmarks.common import ROOT, processor, progress

from lumbargrade.files.cpus import usable_cpus
from lumbargrade.files.writing import write_text
from lumbargrade.phantom.dataset import Settings, make_dataset

#: Seconds between two looks at the memory.
_TICK = 0.1
_MIB = 2**20


@dataclass(frozen=True)
class Run:
    """One run of ``grade``.

    Attributes:
        launcher, workers, studies: what was run; one local worker is the process itself.
        wall_s: wall-clock seconds.
        cpu_s: CPU seconds of all processes.
        again_cpu_s: CPU seconds of a second run, which finds every result.
        driver_mib, worker_mib: peak memory of the driver and of the largest worker.
        input_files, input_bytes: the images.
        result_files, result_bytes: the results of all studies, without the overview.
        overview_bytes: the overview.
    """

    launcher: str
    workers: int
    studies: int
    wall_s: float
    cpu_s: float
    again_cpu_s: float
    driver_mib: float
    worker_mib: float
    input_files: int
    input_bytes: int
    result_files: int
    result_bytes: int
    overview_bytes: int

    @property
    def key(self) -> tuple[str, int, int]:
        return self.launcher, self.workers, self.studies


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--studies", type=int, nargs="+", default=[50, 200, 800])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--launcher", choices=["local", "ray"], nargs="+", default=["local"])
    parser.add_argument("--unlike", type=int, default=20, help="number of different studies")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "scaling")
    parser.add_argument("--page", action="store_true", help="rewrite docs/scaling.md and its plot")
    parser.add_argument(
        "--busy", action="store_true", help="leave out wall time, which says nothing"
    )
    parser.add_argument("--keep", action="store_true", help="keep the studies (14 MB each)")
    given = parser.parse_args(argv)
    found = given.work / "scaling.json"
    runs = _read(found)
    wanted = [
        (launcher, workers, studies)
        for studies in sorted(given.studies)
        for launcher in given.launcher
        for workers in given.workers
    ]
    missing = [key for key in wanted if key not in {run.key for run in runs}]
    if missing:
        images = make_images(given.work, max(s for _, _, s in missing), given.unlike)
        for launcher, workers, studies in missing:
            progress(f"{launcher}, {workers} workers, {studies} studies")
            runs.append(measured(given.work, images, launcher, workers, studies))
            _write(found, runs)
        if not given.keep:
            shutil.rmtree(images)
    shown = [run for run in runs if run.key in wanted]
    print(scaling_report.tables(shown, wall=not given.busy))
    scaling_report.draw(shown, given.work / "scaling.png", wall=not given.busy)
    if given.page:
        scaling_report.write_page(shown, machine(), wall=not given.busy)
    return 0


def machine() -> str:
    """The machine, as a sentence."""
    return f"{usable_cpus()} cores of {processor()}, Python {platform.python_version()}."


def _read(path: Path) -> list[Run]:
    return [Run(**row) for row in json.loads(path.read_text())["runs"]] if path.exists() else []


def _write(path: Path, runs: Sequence[Run]) -> None:
    content = {"machine": machine(), "runs": [asdict(run) for run in runs]}
    write_text(path, json.dumps(content, indent=1) + "\n")


def make_images(work: Path, studies: int, unlike: int) -> Path:
    """Return a folder of at least so many studies, most of them copies under other ids."""
    unlike = min(unlike, studies)
    data = work / "phantoms"
    make_dataset(data, Settings(unlike, 7, 0, "test", "explicit"), workers=0)
    originals = sorted((data / "test_images").iterdir())
    images = work / "images"
    for number in range(studies):
        original = originals[number % unlike]
        # of the same length, so that the lengths in the headers stay right
        new = f"{9_000_000_000 + number:0{len(original.name)}d}"[-len(original.name) :]
        _copy(original, images / new)
    return images


def _copy(study: Path, to: Path) -> None:
    if to.exists():
        return
    part = to.with_name(f".{to.name}")
    shutil.rmtree(part, ignore_errors=True)
    for file in study.rglob("*.dcm"):
        copy = part / file.relative_to(study)
        copy.parent.mkdir(parents=True, exist_ok=True)
        # the study's number is in the UIDs of study, series and image
        copy.write_bytes(file.read_bytes().replace(study.name.encode(), to.name.encode()))
    part.rename(to)


def measured(work: Path, images: Path, launcher: str, workers: int, studies: int) -> Run:
    """Grade so many studies, twice: the second run finds every result."""
    chosen, out = work / "chosen", work / "out"
    for folder in (chosen, out):
        shutil.rmtree(folder, ignore_errors=True)
    chosen.mkdir()
    for study in sorted(images.iterdir())[:studies]:
        (chosen / study.name).symlink_to(study.resolve())
    options = ["--launcher", launcher, "--workers", str(workers)]
    first = _watched([str(chosen), "--out", str(out), *options])
    again = _watched([str(chosen), "--out", str(out), *options])
    summary = json.loads((out / "summary.json").read_text())
    if len(summary["studies"]) != studies or not all(s["reused"] for s in summary["studies"]):
        raise SystemExit(f"{out}: not every study has a result that the second run kept")
    inputs = [p.stat().st_size for s in chosen.iterdir() for p in s.resolve().rglob("*.dcm")]
    results = [p.stat().st_size for p in out.glob("*/**/*") if p.is_file()]
    overview = sum(p.stat().st_size for p in out.iterdir() if p.is_file())
    for folder in (chosen, out):
        shutil.rmtree(folder)
    return Run(
        launcher=launcher,
        workers=workers,
        studies=studies,
        wall_s=first.wall,
        cpu_s=first.cpu,
        again_cpu_s=again.cpu,
        driver_mib=first.driver,
        worker_mib=first.worker or first.driver,
        input_files=len(inputs),
        input_bytes=sum(inputs),
        result_files=len(results),
        result_bytes=sum(results),
        overview_bytes=overview,
    )


@dataclass(frozen=True)
class _Watched:
    wall: float
    cpu: float
    driver: float
    worker: float


def _watched(arguments: Sequence[str]) -> _Watched:
    """Run ``grade`` and watch the memory of its processes.

    CPU seconds are those of all processes that have ended and were waited for; the processes of
    Ray are not, so theirs are added up as they were seen last.
    """
    command = [sys.executable, "-m", "lumbargrade.cli.main", "grade", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    before, begin = _children_cpu(), time.perf_counter()
    # no pipe, which would fill up
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    driver, worker, seen = 0.0, 0.0, {}
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        driver = max(driver, _memory(watched))
        for child in _children(watched):
            if _is_worker(child):
                worker = max(worker, _memory(child))
            if "ray" in " ".join(_command(child)):
                seen[child.pid] = _cpu(child) or seen.get(child.pid, 0.0)
        time.sleep(_TICK)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    wall = time.perf_counter() - begin
    cpu = _children_cpu() - before + sum(seen.values())
    return _Watched(wall, cpu, driver / _MIB, worker / _MIB)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def _is_worker(process: psutil.Process) -> bool:
    """Whether a process grades: a spawned Python process, or an actor of Ray."""
    return bool(re.search(r"spawn_main|ray::(?!IDLE)", " ".join(_command(process))))


def _memory(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss)
    except psutil.Error:
        return 0.0


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


if __name__ == "__main__":
    sys.exit(main())
