"""Compare tables, sample submission and image folder of a data set, and report differences."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.domain.errors import BadTable, Problem
from lumbargrade.domain.vocabulary import FINDINGS, Target
from lumbargrade.files.tables import id_text, read_table
from lumbargrade.lsdc.tables import LsdcTables
from lumbargrade.scoring.submissions import split_row_id


@dataclass(frozen=True)
class MissingImages:
    """Images that the tables list and the image folder does not contain.

    Attributes:
        folder: the image folder.
        present: number of series in the tables that have a folder with files.
        studies: studies without any image.
        series: (study, series) without images, if the study has other images.
        instances: (study, series, instance) with a point but without ``<instance>.dcm``, if the
            series has other images.
    """

    folder: Path
    present: int = 0
    studies: tuple[str, ...] = ()
    series: tuple[tuple[str, str], ...] = ()
    instances: tuple[tuple[str, str, int], ...] = ()

    @property
    def any(self) -> bool:
        return bool(self.studies or self.series or self.instances)


def find_missing(tables: LsdcTables) -> MissingImages:
    """Compare the tables with the image folder; opens no image."""
    instances: dict[tuple[str, str], set[int]] = defaultdict(set)
    for point in tables.points:
        instances[point.study_id, point.series_id].add(point.instance_number)
    there = set(_names(tables.images))
    missing_studies = [s for s in tables.studies if s not in there]
    present, series, lost = 0, [], []
    for entry in tables.series:
        if entry.study_id not in there:
            continue
        files = set(_names(tables.images / entry.study_id / entry.series_id))
        if not files:
            series.append((entry.study_id, entry.series_id))
            continue
        present += 1
        wanted = sorted(instances.get(entry[:2], ()))
        lost += [(*entry[:2], i) for i in wanted if f"{i}.dcm" not in files]
    return MissingImages(tables.images, present, tuple(missing_studies), tuple(series), tuple(lost))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 (names only, of thousands of folders)
    except (FileNotFoundError, NotADirectoryError):
        return []


def unlisted_studies(images: Path, listed: Collection[str], table: str) -> Iterator[Problem]:
    """A note for each study folder that the table of series descriptions does not list.

    Args:
        images: folder ``train_images`` or ``test_images``.
        listed: study ids of the table.
        table: its name, for the notes.
    """
    for study in _folders(images, listed):
        what = f"study folder that {table} does not list; its images are not used"
        yield Problem(what, study=study, file=str(images / study), fatal=False)


def unlisted_series(
    images: Path, listed: Mapping[str, Collection[str]], table: str
) -> Iterator[Problem]:
    """A note for each series folder of a listed study that the table does not list.

    Args:
        images: folder ``train_images`` or ``test_images``.
        listed: study id -> its series ids.
        table: name of the table, for the notes.
    """
    for study, known in listed.items():
        for series in _folders(images / study, known):
            what = f"series folder that {table} does not list; its images are not used"
            folder = str(images / study / series)
            yield Problem(what, study=study, series=series, file=folder, fatal=False)


def _folders(folder: Path, known: Collection[str]) -> list[str]:
    """Names of folders that are not empty and not known; hidden folders are ignored."""
    try:
        with os.scandir(folder) as entries:
            found = [e for e in entries if e.name not in known and not e.name.startswith(".")]
            return sorted(e.name for e in found if e.is_dir() and _holds_something(e.path))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _holds_something(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(not e.name.startswith(".") for e in entries)
    except PermissionError:
        return True


SAMPLE = "sample_submission.csv"


def sample_studies(folder: Path, split: str) -> tuple[str, ...] | None:
    """Study ids of a data set's sample submission, in its order.

    Args:
        folder: the data set.
        split: ``train`` or ``test``; a sample submission belongs to the test split.

    Returns:
        None for the train split, or if there is no sample submission.

    Raises:
        BadTable: if a row_id is malformed or duplicate, a study has fewer than 25 rows, or the
            table is empty.
    """
    path = folder / SAMPLE
    if split != "test" or not path.exists():
        return None
    found: dict[str, set[Target]] = {}
    seen: dict[tuple[str, Target], int] = {}
    for row in read_table(path, ("row_id",)):
        study, target = row.read(_study_and_target, "row_id")
        row.require_first(seen, (study, target), f"row_id {row['row_id']}")
        found.setdefault(study, set()).add(target)
    if not found:
        raise BadTable(f"{path}: no rows; delete the file to predict the studies of the table")
    for study_id, rows in found.items():
        if missing := [t.column for t in FINDINGS if t not in rows]:
            what = f"row {study_id}_{missing[0]} is missing ({len(missing)} of 25 rows)"
            raise BadTable(f"{path}: {what}")
    return tuple(found)


def _study_and_target(row_id: str) -> tuple[str, Target]:
    study, target = split_row_id(row_id)
    return id_text(study), target


def sample_problems(wanted: Collection[str], listed: Collection[str], table: str) -> list[Problem]:
    """Problems for studies that only one of sample submission and table of series lists.

    Args:
        wanted: study ids of the sample submission.
        listed: study ids of the table of series descriptions.
        table: its name.
    """
    return [*_without_series(wanted, listed, table), *_unwanted(wanted, listed, table)]


def _without_series(
    wanted: Collection[str], listed: Collection[str], table: str
) -> Iterator[Problem]:
    for study in wanted:
        if study not in listed:
            what = f"{SAMPLE} lists the study, but {table} does not list its series"
            advice = "add its series to the table; until then all its findings are filled"
            yield Problem(what, study=study, advice=advice)


def _unwanted(wanted: Collection[str], listed: Collection[str], table: str) -> Iterator[Problem]:
    for study in listed:
        if study not in wanted:
            what = f"{table} lists the study, but {SAMPLE} does not"
            advice = "it is not included in a submission"
            yield Problem(what, study=study, advice=advice, fatal=False)
