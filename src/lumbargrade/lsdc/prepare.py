"""Convert a data set in the LSDC layout to a volume store: parallel, resumable, safe to kill.

Every series is written by one worker, its JSON file last (:mod:`.series_file`). The store is marked
incomplete before the first write and complete after the last. Whenever the program is killed, the
next run does only what is missing, and an incomplete store cannot be trained on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lumbargrade.domain.errors import NothingDone, Problem, UsageError
from lumbargrade.domain.vocabulary import KIND_OF, Condition, SeriesKind
from lumbargrade.files.pool import run_jobs
from lumbargrade.files.writing import locked_folder, write_text
from lumbargrade.lsdc.mean_shape import frame_shapes, mean_shape
from lumbargrade.lsdc.prepare_series import (
    SeriesJob,
    SeriesOutcome,
    prepare_series,
    series_jobs,
)
from lumbargrade.lsdc.store import (
    INDEX,
    STORE_VERSION,
    VolumeStore,
    read_index,
    store_fingerprint,
    table_digest,
)
from lumbargrade.lsdc.store_tables import (
    render_grades,
    render_points,
    render_problems,
    render_series,
)
from lumbargrade.lsdc.tables import LsdcTables, SeriesEntry, assign_folds, read_tables

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrepareSummary:
    """The result of a run of ``prepare``.

    Attributes:
        store: the store.
        studies: studies with at least one usable series.
        series: usable series.
        written: series that were read in this run; the store had the others already.
        failed: series of the tables that gave no volume.
        rows: training rows by condition.
        problems: everything that could not be used, also in ``problems.csv``.
        fingerprint: of the store.
    """

    store: Path
    studies: int
    series: int
    written: int
    failed: int
    rows: dict[Condition, int]
    problems: tuple[Problem, ...]
    fingerprint: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "store": str(self.store),
            "studies": self.studies,
            "series": self.series,
            "written": self.written,
            "failed": self.failed,
            "rows": {c.value: n for c, n in self.rows.items()},
            "problems": len(self.problems),
            "fingerprint": self.fingerprint,
        }

    def text(self) -> str:
        rows = ", ".join(f"{n:,} {c.value}" for c, n in self.rows.items())
        return (
            f"{self.store}: {self.series:,} series of {self.studies:,} studies "
            f"({self.written:,} series read now), {self.failed:,} without a volume\n"
            f"training rows: {rows}\n"
            f"problems: {len(self.problems):,}"
            + (f", listed in {self.store / 'problems.csv'}" if self.problems else "")
        )


def prepare(
    data: Path,
    out: Path,
    *,
    label_fixes: Path | None = None,
    workers: int = 1,
    kinds: Sequence[SeriesKind] = tuple(SeriesKind),
    split: str = "auto",
) -> PrepareSummary:
    """Write or update the store of a data set.

    Args:
        workers: processes; 1 works in this process, 0 takes one per CPU core.
        kinds: series of other kinds are left out of the store.

    Raises:
        UsageError: if ``data`` is not an LSDC data set or ``out`` cannot be a store.
        BadTable, BadStore: if a table cannot be used, or the store has another version.
        NothingDone: if no series could be read.
        OSError: if the store cannot be written.
    """
    tables = read_tables(data, split=split, label_fixes=label_fixes)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file, not a folder")
    index = read_index(out)
    if index is None and out.is_dir() and any(out.glob("[!.]*")):
        raise UsageError(f"--out {out} holds other files and is not a store; give a new folder")
    jobs, absent = _jobs(tables, kinds)
    if not jobs:
        raise NothingDone(f"{tables.images} holds no study of the tables")
    out.mkdir(parents=True, exist_ok=True)
    with locked_folder(out, f"another `lumbargrade prepare` is writing {out}"):
        _write_index(out, {"version": STORE_VERSION, "complete": False})
        _remove_leftovers(out)
        work = partial(prepare_series, out)
        outcomes = run_jobs(
            work, jobs, workers, kept="finished series are kept;", task="series", unit="series"
        )
        return _consolidate(out, tables, outcomes, absent)


def _jobs(
    tables: LsdcTables, kinds: Sequence[SeriesKind]
) -> tuple[list[SeriesJob], list[SeriesEntry]]:
    """Return the jobs, and the series of studies that have no image folder."""
    there = {p.name for p in tables.images.iterdir()} if tables.images.is_dir() else set()
    wanted = [job for job in series_jobs(tables) if job.entry.kind in kinds]
    jobs = [job for job in wanted if job.entry.study_id in there]
    return jobs, [job.entry for job in wanted if job.entry.study_id not in there]


def _consolidate(
    out: Path,
    tables: LsdcTables,
    outcomes: Sequence[SeriesOutcome],
    absent: Sequence[SeriesEntry],
) -> PrepareSummary:
    """Write the tables, mark the store complete, and summarise the run."""
    usable = {o.entry: o.record for o in outcomes if o.record.shape is not None}
    problems = [*tables.problems, *(p for o in outcomes for p in o.problems)]
    problems += [
        Problem("no image folder for the study", study=study, file=str(tables.images))
        for study in dict.fromkeys(e.study_id for e in absent)
    ]
    for problem in problems[:20]:
        log.warning("%s", problem)
    if len(problems) > 20:
        log.warning("... and %d more problems, in %s", len(problems) - 20, out / "problems.csv")
    folds = assign_folds(tables.grades)
    texts = {
        "series.csv": render_series(usable),
        "points.csv": render_points(p for o in outcomes for p in o.points),
        "grades.csv": render_grades(tables.grades, folds),
        "problems.csv": render_problems(problems),
    }
    for name, text in texts.items():
        write_text(out / name, text)
    if not usable:
        raise NothingDone(f"{tables.images}: no series could be read; see {out / 'problems.csv'}")
    digests = {name: table_digest(text) for name, text in texts.items()}
    index = {
        "version": STORE_VERSION,
        "complete": True,
        "split": tables.split,
        "tables": digests,
        "fingerprint": store_fingerprint(digests),
        "mean_shapes": {},
    }
    store = VolumeStore.from_tables(out, texts, index)
    _write_index(out, {**index, "mean_shapes": _mean_shapes(store)})
    return PrepareSummary(
        store=out,
        studies=len({e.study_id for e in usable}),
        series=len(usable),
        written=sum(o.written for o in outcomes),
        failed=len(outcomes) - len(usable) + len(absent),
        rows={c: len(store.rows(c)) for c in KIND_OF},
        problems=tuple(problems),
        fingerprint=store.fingerprint,
    )


def _mean_shapes(store: VolumeStore) -> dict[str, list[list[float]]]:
    """Return condition -> (P, 2) in the 512 frame, for conditions with a complete row."""
    means = {}
    for condition in KIND_OF:
        shapes = frame_shapes(store.rows(condition), store.volume)
        if len(shapes):
            means[condition.value] = mean_shape(shapes).tolist()
    return means


def _write_index(out: Path, index: dict[str, Any]) -> None:
    write_text(out / INDEX, json.dumps(index, indent=1) + "\n")


def _remove_leftovers(out: Path) -> None:
    """Delete the temporary files of a run that was killed."""
    for pattern in (".*.npy", ".*.json", ".*.csv"):
        for file in [*out.glob(pattern), *out.glob(f"volumes/*/{pattern}")]:
            file.unlink(missing_ok=True)
