"""Overview of a grading run: tables, pages and a summary of all studies, in little memory.

A run over many thousand studies keeps a short line per study (`StudyLine`). The rows of the tables
of all studies wait in files without a name, and are written in the order of the studies at the end.
"""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lumbargrade import __version__
from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Grade
from lumbargrade.files.tables import rows_text
from lumbargrade.files.urls import Place
from lumbargrade.files.writing import atomic_path
from lumbargrade.grading.findings_file import NOTICE
from lumbargrade.grading.findings_tables import (
    COLUMNS,
    MEASUREMENT_COLUMNS,
    findings_rows,
    measurement_rows,
)
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.report.overview_page import CONDITIONS, StudyLine, Worst, write_pages
from lumbargrade.report.page import PAGE_FILE
from lumbargrade.report.study import MEASUREMENTS_FILE, TABLE_FILE, grade_counts
from lumbargrade.report.text import counted, write_json

SUMMARY_FILE = "summary.json"


@dataclass(frozen=True)
class StudyEntry:
    """All that the overview needs of one graded study: a few ten kilobytes, without pixels.

    Attributes:
        line: what is kept in memory and shown on the page.
        findings, measurements: its rows of the tables of all studies, as CSV.
    """

    line: StudyLine
    findings: str
    measurements: str

    @classmethod
    def of(cls, folder: str, graded: GradedStudy, *, reused: bool = False) -> StudyEntry:
        """The entry of a study.

        Args:
            folder: name of the folder with its results.
            graded: the results.
            reused: whether an earlier run had written them.
        """
        p = graded.prediction
        line = StudyLine(
            folder=folder,
            study_id=p.study_id,
            counts=grade_counts(p),
            worst=tuple(_worst(p, name) for name in CONDITIONS),
            numbering=_numbered(p),
            numbering_certain=None if p.numbering is None else p.numbering.certain,
            problems=len(p.problems),
            images_lost=any(problem.fatal for problem in p.problems),
            sources=p.sources,
            about=graded.about,
            picture=_picture(graded),
            reused=reused,
        )
        findings = rows_text([folder, *row] for row in findings_rows(graded))
        return cls(line, findings, rows_text([folder, *row] for row in measurement_rows(p)))


@dataclass(frozen=True)
class GradingSummary:
    """Summary of a grading run.

    Attributes:
        out: the folder of the results, or its URL.
        graded: the graded studies.
        failed: studies and paths that could not be graded.
        problems: problems of files that belong to no study.
    """

    out: Place
    graded: tuple[StudyLine, ...]
    failed: tuple[Problem, ...]
    problems: tuple[Problem, ...]

    @property
    def complete(self) -> bool:
        """Whether every study was graded and no image was left out."""
        lost = any(line.images_lost for line in self.graded)
        return not (lost or any(p.fatal for p in (*self.failed, *self.problems)))

    def as_dict(self) -> dict[str, Any]:
        models = dict.fromkeys(s for line in self.graded for s in line.sources)
        return {
            "lumbargrade": __version__,
            "notice": NOTICE,
            "out": str(self.out),
            "models": [{"recipe": s.recipe, "fold": s.fold} for s in models],
            "studies": [line.as_dict() for line in self.graded],
            "failed": [p.as_dict() for p in self.failed],
            "problems": [p.as_dict() for p in self.problems],
        }

    def text(self) -> str:
        """A few lines for the log."""
        page = f"; open {self.out / PAGE_FILE}" if self.graded else ""
        lines = [f"{counted(len(self.graded), 'study', 'studies')} graded{page}"]
        if reused := sum(line.reused for line in self.graded):
            lines.append(f"graded by an earlier run: {reused} (--restart grades them again)")
        if self.failed:
            lines.append(f"{len(self.failed)} could not be graded:")
            lines += [f"  {p}" for p in self.failed]
        return "\n".join(lines)


class Overview:
    """Collects the entries of a run and writes its overview; safe to use from several threads.

    Args:
        out: a folder for the overview, which must exist.
        place: the folder or URL of the results, if it is another one.
    """

    def __init__(self, out: Path, place: Place | None = None) -> None:
        self.out, self.place = out, place or out
        self._lines: dict[str, StudyLine] = {}
        self._findings, self._measurements = _Pieces(out), _Pieces(out)
        self._lock = threading.Lock()

    def add(self, entry: StudyEntry) -> None:
        """Add a study; an earlier entry of the same folder is replaced."""
        folder = entry.line.folder
        with self._lock:
            self._lines[folder] = entry.line
            self._findings.put(folder, entry.findings)
            self._measurements.put(folder, entry.measurements)

    def finish(
        self, folders: Sequence[str], failed: Sequence[Problem], problems: Sequence[Problem]
    ) -> GradingSummary:
        """Write the pages, the tables and the summary, each atomically, if any study was graded.

        If none was, the summary says why, unless there are the pages of an earlier run.

        Args:
            folders: names of all folders in the order of the overview.
            failed: studies and paths that could not be graded.
            problems: problems of files that belong to no study.
        """
        graded = tuple(self._lines[folder] for folder in folders if folder in self._lines)
        summary = GradingSummary(self.place, graded, tuple(failed), tuple(problems))
        if graded:
            order = [line.folder for line in graded]
            self._findings.write(self.out / TABLE_FILE, ["folder", *COLUMNS], order)
            if self._measurements.filled:
                header = ["folder", *MEASUREMENT_COLUMNS]
                self._measurements.write(self.out / MEASUREMENTS_FILE, header, order)
            write_pages(self.out, graded, summary.failed, summary.problems)
            write_json(self.out / SUMMARY_FILE, summary.as_dict())
        elif failed and self._alone():
            with suppress(OSError):  # a full disk may be why nothing was graded
                write_json(self.out / SUMMARY_FILE, summary.as_dict())
        self._findings.close()
        self._measurements.close()
        return summary

    def _alone(self) -> bool:
        """Whether no earlier run can have left tables; at a URL, nobody looks."""
        return self.place == self.out and not (self.out / TABLE_FILE).exists()


class _Pieces:
    """Pieces of a table by the folder of their study, kept in a file that has no name."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  closed below
        self.close = weakref.finalize(self, self._file.close)
        self._places: dict[str, tuple[int, int]] = {}

    @property
    def filled(self) -> bool:
        return any(length for _, length in self._places.values())

    def put(self, name: str, text: str) -> None:
        content = text.encode(errors="backslashreplace")
        self._places[name] = (self._file.seek(0, 2), len(content))
        self._file.write(content)

    def write(self, path: Path, header: Sequence[str], names: Sequence[str]) -> None:
        """Write a table of the pieces with these names, in this order."""
        with atomic_path(path) as temporary, temporary.open("wb") as table:
            table.write(rows_text([header]).encode())
            for name in names:
                start, length = self._places[name]
                self._file.seek(start)
                table.write(self._file.read(length))


def _numbered(prediction: StudyPrediction) -> str:
    numbering = prediction.numbering
    if numbering is None:
        return ""
    if numbering.shift:
        return f"shifted by {numbering.shift:+d}"
    return f"{numbering.confidence:.0%}" + ("" if numbering.certain else ", uncertain")


def _picture(graded: GradedStudy) -> str:
    """The picture of the canal, or of another condition; empty if there is none."""
    pictures = [picture for line in graded.series for picture in line.pictures.items()]
    canal = [path for name, path in pictures if name == Condition.CANAL]
    return next(iter((*canal, *(path for _, path in pictures))), "")


def _worst(prediction: StudyPrediction, sided_condition: str) -> Worst:
    mine = [t for t in FINDINGS if t.sided_condition == sided_condition]
    found = [prediction.findings[t] for t in mine if t in prediction.findings]
    if not found:
        return Worst(None, "not graded")
    worst = max(f.grade for f in found)
    text = worst.label
    if worst is not Grade.NORMAL_MILD:
        levels = [f.target.level.label for f in found if f.grade is worst]
        text += " (all levels)" if len(levels) == len(mine) else f" ({', '.join(levels)})"
    if absent := [t.level.label for t in mine if t not in prediction.findings]:
        text += f"; not graded: {', '.join(absent)}"
    return Worst(worst, text)
