"""Read every image of a data set to find those that cannot be decoded; write nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lumbargrade.domain.errors import Problem
from lumbargrade.files.pool import run_jobs
from lumbargrade.lsdc.prepare_series import SeriesJob, place_points, read_entry, series_jobs
from lumbargrade.lsdc.tables import LsdcTables


@dataclass(frozen=True, slots=True)
class SeriesRead:
    """The result of reading a series.

    Attributes:
        slices: number of usable slices; 0 if the series has no volume.
        problems: of its files and of its points.
    """

    slices: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class ImagesRead:
    """The result of reading all images of a data set.

    Attributes:
        series: number of series that were read.
        failed: number of series with files that could not be read.
        slices: number of usable slices in all series.
        problems: every file that could not be used, every labelled point that is not in its series,
            and notes on what is unusual.
    """

    series: int
    failed: int
    slices: int
    problems: tuple[Problem, ...]

    @property
    def lost(self) -> int:
        """The number of problems that lost images or points."""
        return sum(p.fatal for p in self.problems)

    def as_dict(self) -> dict[str, Any]:
        return {
            "series": self.series,
            "failed": self.failed,
            "slices": self.slices,
            "lost": self.lost,
            "problems": [p.as_dict() for p in self.problems],
        }

    def lines(self) -> Iterator[str]:
        """Totals and every problem, as text."""
        yield (
            f"  series read                      {self.series:,} with {self.slices:,} slices, "
            f"{self.failed:,} could not be read"
        )
        yield (
            f"  problems and notes on images     {len(self.problems):,}, "
            f"{self.lost:,} of them about lost images or points"
        )
        yield from (f"  {'lost' if p.fatal else 'note'}: {p}" for p in self.problems)


def read_images(tables: LsdcTables, *, workers: int = 1) -> ImagesRead:
    """Read every series of the tables that has a folder, with the rules of ``prepare``.

    Args:
        tables: of the data set.
        workers: number of processes; 1 uses this process, 0 means one per CPU core.

    Raises:
        LumbargradeError: if a worker process dies.
    """
    jobs = [job for job in series_jobs(tables) if job.folder.is_dir()]
    found = run_jobs(read_one, jobs, workers, task="series", unit="series")
    good = [one for one in found if one.slices]
    return ImagesRead(
        series=len(good),
        failed=len(found) - len(good),
        slices=sum(one.slices for one in good),
        problems=tuple(p for one in found for p in one.problems),
    )


def read_one(job: SeriesJob) -> SeriesRead:
    """Read one series and place its labelled points."""
    volume, problems = read_entry(job.entry, job.folder)
    if volume is None:
        return SeriesRead(0, problems)
    _, astray = place_points(job.points, volume.slices)
    return SeriesRead(len(volume.slices), (*problems, *astray))
