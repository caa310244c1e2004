"""Making a phantom study, against writing as many slices of noise with bare pydicom.

``python -m benchmarks.phantom`` prints the table.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from benchmarks.common import Row, Section, against, main, number, one_thread, ratio
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from lumbargrade.phantom.dataset import Settings, make_dataset
from lumbargrade.phantom.study import plan_study

SEED = 1
OURS, BARE = "a phantom study", "bare pydicom, noise"


def bare(out: Path, numbers: range) -> None:
    """As many slices of the same sizes as the studies have, of noise, one minimal file each."""
    rng = np.random.default_rng(0)
    for study in numbers:
        for place, series in enumerate(plan_study(SEED, study).series):
            for instance in range(len(series.planes)):
                meta = FileMetaDataset()
                meta.MediaStorageSOPClassUID = MRImageStorage
                meta.MediaStorageSOPInstanceUID = generate_uid()
                meta.TransferSyntaxUID = ExplicitVRLittleEndian
                data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
                data.Rows, data.Columns = series.shape
                data.BitsAllocated = data.BitsStored = 16
                data.HighBit, data.SamplesPerPixel, data.PixelRepresentation = 15, 1, 0
                data.PhotometricInterpretation = "MONOCHROME2"
                data.PixelData = rng.integers(0, 1000, series.shape, np.uint16).tobytes()
                data.save_as(out / f"{study}-{place}-{instance}.dcm", enforce_file_format=True)


def _cpu_seconds(work: Callable[[], object], studies: int) -> float:
    start = time.process_time()
    work()
    return (time.process_time() - start) / studies


def run(quick: bool = False) -> list[Row]:
    """CPU time per study of each way; one process, one thread."""
    studies, rounds = (1, 1) if quick else (6, 3)
    seconds: dict[str, list[float]] = {OURS: [], BARE: []}
    with one_thread():
        for turn in range(rounds):
            numbers = range(turn * studies, (turn + 1) * studies)
            settings = Settings(studies, SEED, numbers.start, "train", "explicit")
            with tempfile.TemporaryDirectory() as folder:
                ours, theirs = Path(folder) / "ours", Path(folder)
                seconds[OURS].append(
                    _cpu_seconds(lambda o=ours, s=settings: make_dataset(o, s), studies)
                )
                seconds[BARE].append(_cpu_seconds(lambda o=theirs, n=numbers: bare(o, n), studies))
    slices = np.mean(
        [sum(len(s.planes) for s in plan_study(SEED, n).series) for n in range(studies * rounds)]
    )
    return [
        {"case": name, "s": statistics.median(taken), "slices": round(float(slices))}
        for name, taken in seconds.items()
    ]


def sections(rows: list[Row]) -> list[Section]:
    """The part of the document."""
    s = {row["case"]: row["s"] for row in rows}
    return [
        Section(
            "A phantom study",
            f"A whole study of {rows[0]['slices']} slices on average, anatomy to files, costs "
            f"{number(s[OURS])} s of one core; {against(s[OURS] / s[BARE], BARE)}.",
            "bare pydicom writing as many files of the same size, filled with noise",
            "CPU time of one process and thread, median of rounds of different studies that take "
            "turns.",
            ["", "CPU s per study", "ratio"],
            [[name, number(t), ratio(t / s[BARE])] for name, t in s.items()],
        )
    ]


if __name__ == "__main__":
    main("benchmarks.phantom", run, sections)
