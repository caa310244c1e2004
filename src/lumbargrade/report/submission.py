"""The submission: 25 rows per study; rows that no model predicts are filled, counted and named."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.reasons import by_reason, named
from lumbargrade.domain.vocabulary import FINDINGS, Target, target_from_column
from lumbargrade.files.writing import write_text
from lumbargrade.grading.members import Constants
from lumbargrade.grading.predictions_file import write_predictions
from lumbargrade.report.submission_file import (
    findings_path,
    in_order,
    summary_path,
    write_rows,
)

__all__ = ["SubmissionSummary", "complete", "findings_path", "write_submission"]

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class SubmissionSummary:
    """What stands in a submission; also written beside it as JSON.

    Attributes:
        path: the submission.
        studies, rows: how many.
        filled: rows that no model predicted, filled with the constant that minimises the official
            score on the training grades.
        filled_by_condition: the same per condition with its side.
        filled_studies: study -> findings filled although a model predicts them for other studies.
        filled_because: the reason for each of these, where it is known.
        models: every model that took part.
        problems: what was wrong with the input.
    """

    path: str
    studies: int
    rows: int
    filled: int
    filled_by_condition: Mapping[str, int]
    filled_studies: Mapping[str, Sequence[str]]
    filled_because: Mapping[str, Mapping[str, str]]
    models: Sequence[str]
    problems: Sequence[Mapping[str, object]]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """One or a few lines for the log."""
        lines = [f"{self.rows} rows for {self.studies} studies in {self.path}"]
        if self.filled:
            parts = ", ".join(f"{c} {n}" for c, n in self.filled_by_condition.items())
            lines.append(
                f"{self.filled} rows that no model predicts, filled with the constant that "
                f"minimises the official score on the training grades: {parts}"
            )
        for study, findings in self.filled_studies.items():
            known = self.filled_because.get(study, {})
            reasons = by_reason({target_from_column(f): known.get(f, "") for f in findings})
            why = "; ".join(f"{named(ts)}: {r}" if r else named(ts) for r, ts in reasons.items())
            lines.append(f"study {study}: {len(findings)} findings filled ({why})")
        return "\n".join(lines)


def complete(prediction: StudyPrediction, constants: Constants) -> dict[Target, Triple]:
    """Probabilities for all 25 rows of a study; findings that are absent get their constant."""
    found = prediction.findings
    return {t: found[t].probabilities if t in found else constants[t] for t in FINDINGS}


def write_submission(
    path: Path,
    predictions: Sequence[StudyPrediction],
    constants: Constants,
    problems: Sequence[Problem] = (),
) -> SubmissionSummary:
    """Write a submission and two files beside it, each atomically.

    ``<name>.json`` is its summary; ``<name>.findings.csv`` what the models said, with places.

    Args:
        path: the CSV.
        predictions: one per study.
        constants: stand in for what is not predicted (see `grading.members.training_fill`).
        problems: of the data set as a whole, for the summary.

    Raises:
        BadTable: if what was written does not read back as a complete submission (for example
            with two predictions of one study); an earlier file of that name stays.
    """
    studies = sorted(predictions, key=lambda p: in_order(p.study_id))
    write_rows(path, [(p.study_id, complete(p, constants)) for p in studies])
    summary = _summary(path, studies, problems)
    write_predictions(findings_path(path), studies)
    write_text(summary_path(path), json.dumps(summary.as_dict(), indent=1))
    return summary


def _summary(
    path: Path, studies: Sequence[StudyPrediction], problems: Sequence[Problem]
) -> SubmissionSummary:
    filled = [(p.study_id, t) for p in studies for t in FINDINGS if t not in p.findings]
    predicted = {t for p in studies for t in p.findings}
    unusual: dict[str, list[str]] = {}
    for study, target in filled:
        if target in predicted:
            unusual.setdefault(study, []).append(target.column)
    sources = dict.fromkeys(str(s) for p in studies for s in p.sources)
    return SubmissionSummary(
        path=str(path),
        studies=len(studies),
        rows=len(studies) * len(FINDINGS),
        filled=len(filled),
        filled_by_condition=dict(Counter(t.sided_condition for _, t in filled)),
        filled_studies=unusual,
        filled_because={
            p.study_id: {t.column: reason for t, reason in p.absent.items() if t in predicted}
            for p in studies
            if predicted & p.absent.keys()
        },
        models=list(sources),
        problems=[q.as_dict() for q in (*problems, *(q for p in studies for q in p.problems))],
    )
