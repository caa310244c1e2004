"""Images that the tables of a data set name and its image folder lacks."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.dataset.tables import LsdcTables


@dataclass(frozen=True)
class MissingImages:
    """What the tables name and the image folder lacks.

    Attributes:
        folder: where the images should be.
        present: number of series of the tables that have a folder with files.
        studies: studies without any image.
        series: (study, series) without images, of studies that have some.
        instances: (study, series, instance) that carry a point and have no ``<instance>.dcm``,
            of series that have images.
    """

    folder: Path
    present: int = 0
    studies: tuple[int, ...] = ()
    series: tuple[tuple[int, int], ...] = ()
    instances: tuple[tuple[int, int, int], ...] = ()

    @property
    def any(self) -> bool:
        return bool(self.studies or self.series or self.instances)


def find_missing(tables: LsdcTables) -> MissingImages:
    """Compare the tables with the image folder; opens no image."""
    instances: dict[tuple[int, int], set[int]] = defaultdict(set)
    for point in tables.points:
        instances[point.study_id, point.series_id].add(point.instance_number)
    there = set(_names(tables.images))
    missing_studies = [s for s in tables.studies if str(s) not in there]
    present, series, lost = 0, [], []
    for entry in tables.series:
        if str(entry.study_id) not in there:
            continue
        files = set(_names(tables.images / str(entry.study_id) / str(entry.series_id)))
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
