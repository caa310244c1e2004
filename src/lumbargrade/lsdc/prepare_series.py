"""Read a series from DICOM into the store, and place its labelled points in the volume.

A worker process does this. It writes only the files of its own series.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from lumbargrade.dicom.reader import read_series
from lumbargrade.dicom.rules import LSDC, READER_VERSION
from lumbargrade.domain.errors import BadDicom, Problem
from lumbargrade.domain.volume import Volume, VolumeSlice
from lumbargrade.lsdc.series_file import SeriesRecord, read_record, write_series
from lumbargrade.lsdc.store_tables import StoredPoint
from lumbargrade.lsdc.tables import LsdcTables, SeriesEntry, TablePoint


@dataclass(frozen=True, slots=True)
class SeriesJob:
    """A series of the tables, the folder of its DICOM files, and its labelled points."""

    entry: SeriesEntry
    folder: Path
    points: tuple[TablePoint, ...]


def series_jobs(tables: LsdcTables) -> list[SeriesJob]:
    """Return a job for each series, in the order of the tables."""
    points: dict[tuple[str, str], list[TablePoint]] = defaultdict(list)
    for point in tables.points:
        points[point.study_id, point.series_id].append(point)
    return [
        SeriesJob(e, tables.images / e.study_id / e.series_id, tuple(points.get(e[:2], ())))
        for e in tables.series
    ]


@dataclass(frozen=True, slots=True)
class SeriesOutcome:
    """The result of preparing a series; small, because a data set has thousands of series.

    Attributes:
        entry: the series.
        record: its record in the store, without the slices.
        points: its labelled points, placed.
        problems: of its files and of its points.
        written: False if the store had it already.
    """

    entry: SeriesEntry
    record: SeriesRecord
    points: tuple[StoredPoint, ...]
    problems: tuple[Problem, ...]
    written: bool


def prepare_series(store: Path, job: SeriesJob) -> SeriesOutcome:
    """Write a series to the store unless it exists there from the same files; place its points.

    Raises:
        OSError: if the store cannot be written, naming the store.
    """
    study, series, _ = job.entry
    try:
        signature = folder_signature(job.folder, job.entry)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        what = "no image folder" if missing else f"cannot be read: {error.strerror}"
        problem = Problem(what, study, series, str(job.folder))
        return SeriesOutcome(job.entry, SeriesRecord("", None), (), (problem,), written=False)
    record = read_record(store, study, series)
    written = record is None or record.signature != signature
    if record is None or written:
        record = _read_and_write(store, job, signature)
    points, point_problems = place_points(job.points, record.slices)
    if record.shape is None:
        points, point_problems = (), ()
    return SeriesOutcome(
        job.entry,
        replace(record, slices=()),
        points,
        (*record.problems, *point_problems),
        written=written,
    )


def _read_and_write(store: Path, job: SeriesJob, signature: str) -> SeriesRecord:
    volume, problems = read_entry(job.entry, job.folder)
    study, series, _ = job.entry
    try:
        return write_series(
            store, study, series, signature=signature, volume=volume, problems=problems
        )
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(store)) from None


def read_entry(entry: SeriesEntry, folder: Path) -> tuple[Volume | None, tuple[Problem, ...]]:
    """Return the volume of a series by the LSDC rules (None if it has none), and every problem."""
    study, series, kind = entry
    try:
        result = read_series(folder, series_id=series, study_id=study, kind=kind, rules=LSDC)
    except BadDicom as error:
        return None, (Problem(str(error), study, series, str(folder)),)
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
        return None, (Problem(what, study, series, str(error.filename or folder)),)
    return result.volume, tuple(result.problems)


def folder_signature(folder: Path, entry: SeriesEntry) -> str:
    """Return a text that changes if files of the folder, or the reader, change.

    Raises:
        OSError: if the folder cannot be listed.
    """
    parts = [f"reader {READER_VERSION}", entry.kind.value]
    with os.scandir(folder) as entries:
        for file in sorted(entries, key=lambda e: e.name):
            # a broken link is an unusable file, not a missing series
            status = file.stat(follow_symlinks=Path(file).exists())
            parts.append(f"{file.name} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256(os.fsencode("\n".join(parts))).hexdigest()


def place_points(
    points: tuple[TablePoint, ...], slices: tuple[VolumeSlice, ...]
) -> tuple[tuple[StoredPoint, ...], tuple[Problem, ...]]:
    """Place labelled points in voxels and patient mm.

    A point names its slice by the number of its file, which is the slice's instance number by the
    LSDC rules. A point on an instance that the volume lacks or holds more than once, or outside its
    image, is a problem; it keeps its pixel position, but has no slice and no place in the patient.
    """
    by_instance = {s.instance_number: (z, s) for z, s in enumerate(slices)}
    counts = Counter(s.instance_number for s in slices)
    placed, problems = [], []
    for p in points:
        z, patient = math.nan, None
        found = by_instance.get(p.instance_number)
        if found is None:
            problems.append(_point_problem(p, f"instance {p.instance_number} is not in the volume"))
        elif counts[p.instance_number] > 1:
            several = f"{counts[p.instance_number]} slices have instance number {p.instance_number}"
            problems.append(_point_problem(p, several))
        elif not _inside(p, found[1].shape):
            size = f"{found[1].shape[1]} x {found[1].shape[0]}"
            problems.append(_point_problem(p, f"({p.x:.1f}, {p.y:.1f}) is outside {size} pixels"))
        else:
            z = float(found[0])
            x_mm, y_mm, z_mm = found[1].plane.to_patient((p.x, p.y)).tolist()
            patient = (x_mm, y_mm, z_mm)
        at = (p.x, p.y, z)
        placed.append(
            StoredPoint(p.target, p.series_id, p.instance_number, at, patient, study_id=p.study_id)
        )
    return tuple(placed), tuple(problems)


def _inside(point: TablePoint, shape: tuple[int, int]) -> bool:
    # pixel centres are at integers, so the image extends half a pixel further on every side
    height, width = shape
    return -0.5 <= point.x <= width - 0.5 and -0.5 <= point.y <= height - 0.5


def _point_problem(point: TablePoint, what: str) -> Problem:
    return Problem(
        f"point of {point.target.column} left out: {what}",
        point.study_id,
        point.series_id,
    )
