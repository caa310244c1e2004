"""What came of grading many studies: a page that leads to each, a table of all, a summary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumbargrade import __version__
from lumbargrade.domain.errors import Problem
from lumbargrade.domain.files import write_text
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, Grade
from lumbargrade.outputs.findings import NOTICE, GradedStudy, write_findings_csv
from lumbargrade.outputs.page import Link, Section, Table, Text, write_page
from lumbargrade.outputs.problems import problem_table
from lumbargrade.outputs.study_report import (
    ORDER,
    PAGE_FILE,
    TABLE_FILE,
    grade_counts,
    plain_name,
)

SUMMARY_FILE = "summary.json"


@dataclass(frozen=True)
class GradingSummary:
    """What came of grading a collection.

    Attributes:
        out: the folder of the results.
        graded: folder below ``out`` -> its study.
        reused: folders whose results were there already.
        failed: studies and paths that could not be graded.
        problems: files that belong to no study.
    """

    out: Path
    graded: dict[str, GradedStudy]
    reused: tuple[str, ...]
    failed: tuple[Problem, ...]
    problems: tuple[Problem, ...]

    @property
    def all_problems(self) -> list[Problem]:
        of_studies = [q for g in self.graded.values() for q in g.prediction.problems]
        return [*self.failed, *self.problems, *of_studies]

    def as_dict(self) -> dict[str, Any]:
        models = dict.fromkeys(s for g in self.graded.values() for s in g.prediction.sources)
        return {
            "lumbargrade": __version__,
            "notice": NOTICE,
            "out": str(self.out),
            "models": [{"recipe": s.recipe, "fold": s.fold} for s in models],
            "studies": [self._entry(folder, g) for folder, g in self.graded.items()],
            "failed": [p.as_dict() for p in self.failed],
            "problems": [p.as_dict() for p in self.problems],
        }

    def _entry(self, folder: str, graded: GradedStudy) -> dict[str, Any]:
        prediction = graded.prediction
        return {
            "study_id": prediction.study_id,
            "folder": folder,
            "reused": folder in self.reused,
            **grade_counts(prediction),
            "problems": len(prediction.problems),
            "images_lost": any(p.fatal for p in prediction.problems),
        }

    def text(self) -> str:
        """A few lines for the log."""
        studies = "1 study" if len(self.graded) == 1 else f"{len(self.graded)} studies"
        page = f"; open {self.out / PAGE_FILE}" if self.graded else ""
        lines = [f"{studies} graded{page}"]
        if self.reused:
            lines.append(f"{len(self.reused)} of them were there already (--restart grades anew)")
        if self.failed:
            lines.append(f"{len(self.failed)} could not be graded:")
            lines += [f"  {p}" for p in self.failed]
        return "\n".join(lines)


def write_summary(summary: GradingSummary) -> None:
    """Write the page, the table and the summary of all studies, each atomically."""
    out = summary.out
    predictions = [(folder, g.prediction) for folder, g in summary.graded.items()]
    write_findings_csv(out / TABLE_FILE, predictions)
    note = (
        "The worst grade of each condition, with its levels. Not graded: the study's page says why."
    )
    sections = [Section("Studies", [Text(note), _overview(predictions)])]
    if summary.failed:
        sections.append(Section("Studies not graded", [_failed_table(summary.failed)]))
    if summary.problems:
        sections.append(Section("Files of no study", [problem_table(summary.problems)]))
    write_page(out / PAGE_FILE, "Graded studies", sections, NOTICE)
    write_text(out / SUMMARY_FILE, json.dumps(summary.as_dict(), indent=1) + "\n")


def _overview(predictions: Sequence[tuple[str, StudyPrediction]]) -> Table:
    names = list(dict.fromkeys(t.sided_condition for t in ORDER))
    rows: list[list[object]] = []
    for folder, prediction in predictions:
        link = Link(prediction.study_id or folder, f"{folder}/{PAGE_FILE}")
        not_graded = grade_counts(prediction)["not_graded"] or None
        remarks = len(prediction.problems) or None
        rows.append([link, *(_worst(prediction, name) for name in names), not_graded, remarks])
    return Table(["study", *map(plain_name, names), "not graded", "remarks"], rows)


def _worst(prediction: StudyPrediction, sided_condition: str) -> str:
    mine = [t for t in FINDINGS if t.sided_condition == sided_condition]
    found = [prediction.findings[t] for t in mine if t in prediction.findings]
    if not found:
        return "not graded"
    worst = max(f.grade for f in found)
    text = worst.label
    if worst is not Grade.NORMAL_MILD:
        text += f" ({', '.join(f.target.level.label for f in found if f.grade is worst)})"
    if absent := [t.level.label for t in mine if t not in prediction.findings]:
        text += f"; not graded: {', '.join(absent)}"
    return text


def _failed_table(failed: Sequence[Problem]) -> Table:
    return Table(("study", "what", "what to do"), [[p.study, p.what, p.advice] for p in failed])
