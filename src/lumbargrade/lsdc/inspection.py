"""Describe a data set in the LSDC layout, and list what is wrong with it.

The description comes from the tables, and from the names of the image files. Images are decoded
only if `inspect_lsdc` is called with ``read``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Grade, SeriesKind, plain_name
from lumbargrade.lsdc.completeness import (
    MissingImages,
    find_missing,
    sample_problems,
    sample_studies,
    unlisted_series,
    unlisted_studies,
)
from lumbargrade.lsdc.exclusions import exclusions
from lumbargrade.lsdc.read_images import ImagesRead, read_images
from lumbargrade.lsdc.rows import select_rows
from lumbargrade.lsdc.tables import (
    LsdcTables,
    assign_folds,
    fold_sizes,
    read_tables,
    with_label_fixes,
)


@dataclass(frozen=True)
class LsdcSummary:
    """Description of a data set; the keys of :meth:`as_dict` name its values."""

    folder: Path
    split: str
    studies: int
    series: dict[SeriesKind, int]
    foraminal_rows_published: int
    foraminal_rows: int
    canal_rows: int
    canal_rows_corrected: int | None
    folds: list[int]
    without_sagittal_kind: tuple[str, ...]
    several_axial: tuple[str, ...]
    several_of_a_kind: int
    empty_grades: int
    prevalence: dict[Condition, dict[Grade, int]]
    missing: MissingImages
    problems: tuple[Problem, ...] = field(default=())
    read: ImagesRead | None = None

    @property
    def ok(self) -> bool:
        """Whether the tables agree with each other, and every image exists and can be read."""
        lost = self.read is not None and self.read.lost > 0
        return not (lost or self.missing.any or any(p.fatal for p in self.problems))

    def as_dict(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "split": self.split,
            "studies": self.studies,
            "series": {k.value: n for k, n in self.series.items()},
            "rows": {
                "foraminal_published": self.foraminal_rows_published,
                "foraminal": self.foraminal_rows,
                "canal": self.canal_rows,
                "canal_corrected": self.canal_rows_corrected,
            },
            "folds": self.folds,
            "studies_without_a_sagittal_kind": list(self.without_sagittal_kind),
            "studies_with_several_axial_series": list(self.several_axial),
            "studies_with_several_series_of_a_kind": self.several_of_a_kind,
            "empty_grades": self.empty_grades,
            "grades": {
                c.value: {g.column: n for g, n in counts.items()}
                for c, counts in self.prevalence.items()
            },
            "images": {
                "folder": str(self.missing.folder),
                "series_present": self.missing.present,
                "missing_studies": list(self.missing.studies),
                "missing_series": [list(s) for s in self.missing.series],
                "missing_instances": [list(i) for i in self.missing.instances],
            },
            "problems": [p.as_dict() for p in self.problems],
            "read": None if self.read is None else self.read.as_dict(),
            "ok": self.ok,
        }

    def text(self) -> str:
        kinds = ", ".join(f"{n:,} {k.value}" for k, n in self.series.items())
        lines = [
            f"LSDC data set {self.folder} ({self.split})",
            f"  studies in the tables            {self.studies:,}",
            f"  series                           {kinds}",
            f"  studies without a sagittal kind  {len(self.without_sagittal_kind):,}",
            f"  studies with several axial       {len(self.several_axial):,}"
            f"   (several series of any kind: {self.several_of_a_kind:,})",
        ]
        if self.split == "train":
            lines += self._label_lines()
        lines += [*self._image_lines(), *self._problem_lines()]
        return "\n".join([*lines, *(self.read.lines() if self.read else ())])

    def _label_lines(self) -> list[str]:
        excluded = self.foraminal_rows_published - self.foraminal_rows
        if self.canal_rows_corrected is None:
            canal = f"{self.canal_rows:,} as labelled   (--label-fixes applies corrections)"
        else:
            canal = f"{self.canal_rows_corrected:,} with the corrected table"
            canal += f", {self.canal_rows:,} as labelled"
        lines = [
            f"  foraminal training rows          {self.foraminal_rows_published:,} as published, "
            f"{self.foraminal_rows:,} after {excluded} further exclusions",
            f"  canal training rows              {canal}",
            f"  fold sizes                       {'/'.join(map(str, self.folds))}",
            f"  empty grades                     {self.empty_grades:,}",
            "",
            f"  {'graded':<28}{'number':>8}{'normal/mild':>14}{'moderate':>10}{'severe':>8}",
        ]
        for condition, counts in self.prevalence.items():
            total = sum(counts.values())
            normal, moderate, severe = (100 * n / max(total, 1) for n in counts.values())
            shares = f"{normal:>13.1f}%{moderate:>9.1f}%{severe:>7.1f}%"
            lines.append(f"  {plain_name(condition):<28}{total:>8,}{shares}")
        return [*lines, ""]

    def _image_lines(self) -> list[str]:
        m = self.missing
        total = sum(self.series.values())
        lines = [f"  series with images               {m.present:,} of {total:,}  ({m.folder})"]
        for what, ids in (
            ("studies without any image", m.studies),
            ("series without images", m.series),
            ("labelled instances without file", m.instances),
        ):
            if ids:
                lines.append(f"  {what:<32} {len(ids):,}: {_some(ids)}")
        return lines

    def _problem_lines(self) -> list[str]:
        lines = [f"  problem: {p}" for p in self.problems[:10]]
        more = len(self.problems) - len(lines)
        return [*lines, f"  ... and {more:,} more problems"] if more else lines


def _some(ids: tuple[Any, ...], limit: int = 4) -> str:
    texts = ["/".join(map(str, i)) if isinstance(i, tuple) else str(i) for i in ids[:limit]]
    return ", ".join(texts) + (", ..." if len(ids) > limit else "")


def inspect_lsdc(
    folder: Path,
    *,
    split: str = "auto",
    label_fixes: Path | None = None,
    read: bool = False,
    workers: int = 1,
) -> LsdcSummary:
    """Read the tables of a data set and compare them with the image folder.

    Folders that the table of series does not list are reported. For the test split, studies that
    only one of sample submission and table lists are reported too.

    Args:
        folder: the data set.
        split: ``train``, ``test``, or ``auto`` (train if it exists, else test).
        label_fixes: table of corrected points.
        read: also decode every image.
        workers: number of processes for ``read``; 0 means one per CPU core.

    Raises:
        UsageError: if the folder is not a data set in the LSDC layout.
        BadTable: if a table or the sample submission cannot be used.
    """
    labelled = read_tables(folder, split=split)
    tables = labelled if label_fixes is None else with_label_fixes(labelled, label_fixes)
    of_a_kind = Counter((s.study_id, s.kind) for s in tables.series)
    axial = SeriesKind.AXIAL_T2
    sagittal = [k for k in SeriesKind if k.sagittal]
    lacking = [s for s in tables.studies if any((s, kind) not in of_a_kind for kind in sagittal)]
    several_axial = [s for s in tables.studies if of_a_kind[s, axial] > 1]
    return LsdcSummary(
        folder=folder,
        split=tables.split,
        studies=len(tables.studies),
        series={k: sum(s.kind is k for s in tables.series) for k in SeriesKind},
        foraminal_rows_published=_count_rows(tables, Condition.FORAMINAL, published=True),
        foraminal_rows=_count_rows(tables, Condition.FORAMINAL),
        canal_rows=_count_rows(labelled, Condition.CANAL),
        canal_rows_corrected=None if label_fixes is None else _count_rows(tables, Condition.CANAL),
        folds=fold_sizes(assign_folds(tables.grades)),
        without_sagittal_kind=tuple(lacking),
        several_axial=tuple(several_axial),
        several_of_a_kind=len({s for (s, _), n in of_a_kind.items() if n > 1}),
        empty_grades=sum(len(FINDINGS) - len(found) for found in tables.grades.values()),
        prevalence=_count_grades(tables),
        missing=find_missing(tables),
        problems=(*tables.problems, *_not_everywhere(tables)),
        read=read_images(tables, workers=workers) if read else None,
    )


def _not_everywhere(tables: LsdcTables) -> list[Problem]:
    """Problems for studies and series that image folder, table or sample submission lack."""
    table = f"{tables.split}_series_descriptions.csv"
    listed: dict[str, set[str]] = {}
    for entry in tables.series:
        listed.setdefault(entry.study_id, set()).add(entry.series_id)
    wanted = sample_studies(tables.folder, tables.split)
    problems = [] if wanted is None else sample_problems(wanted, listed, table)
    problems += unlisted_studies(tables.images, {*listed, *(wanted or ())}, table)
    problems += unlisted_series(tables.images, listed, table)
    return problems


def _count_rows(tables: LsdcTables, condition: Condition, *, published: bool = False) -> int:
    return len(
        select_rows(condition, tables.series, tables.points, include_wrong_left_points=published)
    )


def _count_grades(tables: LsdcTables) -> dict[Condition, dict[Grade, int]]:
    counts = {c: dict.fromkeys(Grade, 0) for c in Condition}
    for found in tables.grades.values():
        for target, grade in found.items():
            counts[target.condition][grade] += 1
    return counts


def excluded_text() -> str:
    """The excluded series and studies, one line each with the reason."""
    lines = []
    for e in exclusions():
        what = f"series {e.series}" if e.series is not None else f"study {e.study}"
        lines.append(f"  excluded from {e.condition.value}: {what}: {e.reason}")
    return "\n".join(lines)
