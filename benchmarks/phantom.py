"""Making a phantom study, against writing as many slices of noise with bare pydicom.

``python -m benchmarks.phantom`` prints the section of docs/benchmarks.md.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from benchmarks.common import Row, Section, against, main, number, one_thread, ratio
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from lumbargrade.phantom.dataset import Settings, make_dataset
from lumbargrade.phantom.study import plan_study

SEED = 1
OURS, BARE = "a phantom study", "bare pydicom, noise"


def slice_shapes(numbers: range) -> list[tuple[int, int]]:
    """(rows, columns) of every slice of some phantom studies."""
    series = [s for study in numbers for s in plan_study(SEED, study).series]
    return [s.shape for s in series for _ in s.planes]


def bare(out: Path, shapes: Sequence[tuple[int, int]]) -> None:
    """Slices of these sizes, of noise, one minimal file each."""
    rng = np.random.default_rng(0)
    for i, shape in enumerate(shapes):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.Rows, data.Columns = shape
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.SamplesPerPixel, data.PixelRepresentation = 15, 1, 0
        data.PhotometricInterpretation = "MONOCHROME2"
        data.PixelData = rng.integers(0, 1000, shape, np.uint16).tobytes()
        data.save_as(out / f"{i}.dcm", enforce_file_format=True)


def _cpu_seconds(work: Callable[[], object], studies: int) -> float:
    start = time.process_time()
    work()
    return (time.process_time() - start) / studies


def run(quick: bool = False) -> list[Row]:
    """CPU time per study of each way; one process, one thread; a first round does not count."""
    studies, rounds = (1, 1) if quick else (6, 3)
    seconds: dict[str, list[float]] = {OURS: [], BARE: []}
    slices = 0
    with one_thread():
        for turn in range(-1, rounds):
            first, count = (turn * studies, studies) if turn >= 0 else (rounds * studies, 1)
            shapes = slice_shapes(range(first, first + count))
            settings = Settings(count, SEED, first, "train", "explicit")
            with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
                made = _cpu_seconds(partial(make_dataset, Path(ours), settings), count)
                written = _cpu_seconds(partial(bare, Path(theirs), shapes), count)
            if turn >= 0:
                seconds[OURS].append(made)
                seconds[BARE].append(written)
                slices += len(shapes)
    return [
        {"case": name, "s": statistics.median(taken), "slices": round(slices / studies / rounds)}
        for name, taken in seconds.items()
    ]


def sections(rows: list[Row]) -> list[Section]:
    """The part of the document."""
    s = {row["case"]: row["s"] for row in rows}
    return [
        Section(
            "A phantom study",
            f"A whole study of {rows[0]['slices']} slices on average, anatomy to files, costs "
            f"{number(s[OURS])} s of one core: {against(s[OURS] / s[BARE], 'only writing noise')}.",
            "bare pydicom writing as many files of the same size, filled with noise",
            "CPU time of one process and thread, median of rounds of different studies that take "
            "turns.",
            ["", "CPU s per study", "ratio"],
            [[name, number(t), ratio(t / s[BARE])] for name, t in s.items()],
        )
    ]


if __name__ == "__main__":
    main("benchmarks.phantom", run, sections)
