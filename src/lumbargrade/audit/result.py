"""Result of an audit: numbered entries, their counts, and the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumbargrade.audit.records import Check, Suspect, settle
from lumbargrade.domain.errors import Problem
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.files.tables import write_table
from lumbargrade.lsdc.corrections import POINT_COLUMNS, Correction
from lumbargrade.lsdc.tables import Grades
from lumbargrade.report.text import text_table

CORRECTION_COLUMNS = (*POINT_COLUMNS, "fix", "suspect", "check", "score", "reason")
CONTRADICTED_COLUMNS = ("study_id", "finding", "grade", "suspect", "score", "reason")
SUSPECT_COLUMNS = (
    *("suspect", "check", "study_id", "series_id", "condition", "labels", "score"),
    *("corrected", "reason"),
)
COUNT_COLUMNS = ("condition", "check", "suspects", "with a correction")


@dataclass(frozen=True)
class Entry:
    """A numbered suspect, with corrections that do not conflict with those of other entries.

    A reviewer who does not agree deletes the rows with this number from ``corrections.csv``.
    """

    number: int
    suspect: Suspect
    corrections: tuple[Correction, ...]

    @property
    def why(self) -> tuple[str, str]:
        """Score and reason, the last two cells of each table."""
        return f"{self.suspect.score:.2f}", self.suspect.reason


@dataclass(frozen=True)
class Audit:
    """Result of an audit.

    Attributes:
        entries: numbered from 1, in order.
        points: number of labelled points that were checked.
        problems: what could not be checked.
    """

    entries: Sequence[Entry]
    points: int
    problems: Sequence[Problem]

    @classmethod
    def of(cls, suspects: Iterable[Suspect], points: int, problems: Sequence[Problem]) -> Audit:
        """Number the suspects: by condition, in it wrong points, missing points, then grades.

        Args:
            suspects: sorted, the most suspicious first.
        """
        last = {Check.MISSING: 1, Check.GRADE: 2}
        conditions = list(Condition)
        ordered = sorted(
            suspects, key=lambda s: (conditions.index(s.condition), last.get(s.check, 0))
        )
        settled = settle(ordered)
        entries = [Entry(n, s, settled.get(n, ())) for n, s in enumerate(ordered, start=1)]
        return cls(entries, points, problems)

    @property
    def corrections(self) -> int:
        """Number of corrected points: rows of ``corrections.csv``."""
        return sum(len(e.corrections) for e in self.entries)

    def counts(self) -> list[list[object]]:
        """Rows of :data:`COUNT_COLUMNS`, one per condition and check."""
        total = Counter((e.suspect.condition, e.suspect.check) for e in self.entries)
        corrected = Counter(
            (e.suspect.condition, e.suspect.check) for e in self.entries if e.corrections
        )
        return [
            [condition.value, check.words, total[condition, check], corrected[condition, check]]
            for condition in Condition
            for check in Check
            if total[condition, check]
        ]

    def text(self) -> str:
        return (
            f"{self.points:,} points, {len(self.entries):,} suspects, "
            f"{self.corrections:,} proposed corrections\n\n"
            f"{text_table(COUNT_COLUMNS, self.counts())}"
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "points": self.points,
            "suspects": len(self.entries),
            "corrections": self.corrections,
            "counts": [dict(zip(COUNT_COLUMNS, row, strict=True)) for row in self.counts()],
            "problems": len(self.problems),
        }


def write_tables(out: Path, audit: Audit, grades: Grades) -> None:
    """Write ``suspects.csv``, ``corrections.csv`` (for `prepare`), ``contradicted.csv``.

    The recipe key ``data.suspects`` takes ``contradicted.csv``.
    """
    corrections = [
        (
            *(c.study_id, c.series_id, c.instance_number),
            *(c.target.coordinate_label, c.target.level.label, c.x, c.y),
            *(c.fix, e.number, e.suspect.check, *e.why),
        )
        for e in audit.entries
        for c in e.corrections
    ]
    suspects = [
        (
            *(e.number, s.check, s.study_id, s.series_id or "", s.condition, s.names),
            *(f"{s.score:.2f}", len(e.corrections), s.reason),
        )
        for e in audit.entries
        for s in [e.suspect]
    ]
    contradicted = [
        (s.study_id, target.column, grades[s.study_id][target].column, e.number, *e.why)
        for e in audit.entries
        for s in [e.suspect]
        for target in s.targets
        if s.check is Check.GRADE
    ]
    write_table(out / "corrections.csv", CORRECTION_COLUMNS, corrections)
    write_table(out / "suspects.csv", SUSPECT_COLUMNS, suspects)
    write_table(out / "contradicted.csv", CONTRADICTED_COLUMNS, contradicted)
