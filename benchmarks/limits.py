"""How far each stage is from what this machine can do: matrix throughput and memory bandwidth.

``python -m benchmarks.limits`` measures both on this CPU, then reading a series, augmenting a
sample, and training step and inference of the published foraminal network, and prints a table of
shares of docs/benchmarks.md. Times are CPU time of one thread, like those of the other benchmarks,
and the limits are those of one core. It takes two minutes; ``--tiny`` uses a small network.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from benchmarks import bench_augment, literal
from benchmarks.bench_reading import lumbargrade as reading
from benchmarks.bench_reading import write_series
from benchmarks.common import markdown_table, number, processor, progress, ratio
from benchmarks.roofline import (
    Counting,
    Limits,
    Needs,
    copy_rate,
    matrix_rate,
    now,
    seconds_of,
)
from pydicom.uid import ExplicitVRLittleEndian

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Stage:
    """A measured stage: its name, what it needs, and the seconds that it took."""

    name: str
    needs: Needs
    seconds: float


def measure(tiny: bool) -> Iterator[Stage]:
    """Measure the stages, those without torch first."""
    with tempfile.TemporaryDirectory(prefix="lumbargrade-limits-") as folder:
        yield _reading(Path(folder), *((3, 64) if tiny else (20, 512)))
    depth, size = (3, 64) if tiny else (15, 320)
    augment = bench_augment.lumbargrade(depth, size)
    counter = iter(range(10**9))
    image = depth * size * size
    yield Stage(
        "an augmented sample",
        Needs(bytes=2 * image),
        seconds_of(lambda: augment(next(counter)), CPU, 30),
    )
    batch = literal.batch_of(depth, size)
    encoder = "pvt_v2_b0" if tiny else ""
    for name, trains in (("inference of one volume", False), ("a training step", True)):
        work = literal.work_of("ours", trains, batch, encoder)
        work(literal.batch_of(2, 64))  # begins threads, makes the optimiser's state
        with Counting() as counting:
            start = now(CPU)
            work(batch)
            seconds = now(CPU) - start
        yield Stage(name, counting.needs, seconds)


def _reading(folder: Path, slices: int, side: int) -> Stage:
    """Read an explicit series: each pixel is read as uint16 and written as uint8."""
    write_series(folder / "series", ExplicitVRLittleEndian, slices, side)
    needs = Needs(bytes=3 * slices * side * side)
    return Stage("reading a series", needs, seconds_of(lambda: reading(folder / "series"), CPU, 10))


def row(stage: Stage, limits: Limits) -> list[str]:
    """A stage's row in the table."""
    operations = stage.needs.operations / stage.seconds / limits.operations
    traffic = stage.needs.bytes / stage.seconds / limits.bytes
    return [
        stage.name,
        limits.bound(stage.needs),
        ratio(operations) if operations else "-",
        ratio(traffic),
        ratio(limits.shortest(stage.needs) / stage.seconds),
    ]


HEADER = ("stage", "meets first", "of matrix throughput", "of memory bandwidth", "of its limit")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a small network: does it work at all?")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    side, mib = (128, 1) if options.tiny else (2048, 256)
    limits = Limits(matrix_rate(CPU, side), copy_rate(CPU, mib))
    progress(
        f"one core of {processor()}: {number(limits.operations / 1e9)} GFLOP/s in fp32, "
        f"{number(limits.bytes / 1e9)} GB/s"
    )
    rows = []
    for stage in measure(options.tiny):
        progress(
            f"{stage.name}: {number(1e3 * stage.seconds)} ms, "
            f"{number(stage.needs.operations / 1e9)} G operations, "
            f"{number(stage.needs.bytes / 1e9)} GB"
        )
        rows.append(row(stage, limits))
    print(markdown_table(HEADER, rows, words=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
