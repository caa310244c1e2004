"""The submission: 25 rows per study, with what was filled in counted and named."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lumbargrade.domain.files import atomic_path, write_text
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, Target
from lumbargrade.prediction.members import complete
from lumbargrade.prediction.table import write_predictions
from lumbargrade.scoring.official import SUBMISSION_COLUMNS, check_complete, read_submission

__all__ = ["SubmissionSummary", "complete", "findings_path", "write_submission"]


@dataclass(frozen=True)
class SubmissionSummary:
    """What stands in a submission; also written beside it as JSON.

    Attributes:
        path: the submission.
        studies, rows: how many.
        filled: rows that no model predicted, which got training prevalence.
        filled_by_condition: the same per condition with its side.
        filled_studies: study -> findings filled although a model predicts them for other studies.
        models: every model that took part.
        problems: what was wrong with the input.
    """

    path: str
    studies: int
    rows: int
    filled: int
    filled_by_condition: Mapping[str, int]
    filled_studies: Mapping[str, Sequence[str]]
    models: Sequence[str]
    problems: Sequence[Mapping[str, object]]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """One or a few lines for the log."""
        lines = [f"{self.rows} rows for {self.studies} studies in {self.path}"]
        if self.filled:
            parts = ", ".join(f"{c} {n}" for c, n in self.filled_by_condition.items())
            lines.append(f"{self.filled} rows no model predicts got training prevalence: {parts}")
        for study, findings in self.filled_studies.items():
            lines.append(f"study {study}: {len(findings)} findings without a usable series")
        return "\n".join(lines)


def write_submission(
    path: Path,
    predictions: Sequence[StudyPrediction],
    prevalence: Mapping[Target, tuple[float, float, float]],
) -> SubmissionSummary:
    """Write a submission and two files beside it, each atomically.

    ``<name>.json`` is its summary; ``<name>.findings.csv`` what the models said, with places.

    Args:
        path: the CSV.
        predictions: one per study.
        prevalence: stands in for what is not predicted.

    Raises:
        BadTable: if what was written does not read back as a complete submission (for example
            with two predictions of one study); an earlier file of that name stays.
    """
    studies = sorted(predictions, key=lambda p: (len(p.study_id), p.study_id))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(SUBMISSION_COLUMNS)
    filled: list[tuple[str, Target]] = []
    for prediction in studies:
        for target, finding in complete(prediction, prevalence).items():
            writer.writerow([f"{prediction.study_id}_{target.column}", *finding.probabilities])
            if finding.filled:
                filled.append((prediction.study_id, target))
    with atomic_path(path) as temporary:
        temporary.write_text(buffer.getvalue(), encoding="utf-8")
        check_complete(read_submission(temporary), [p.study_id for p in studies], path)
    summary = _summary(path, studies, filled)
    write_predictions(findings_path(path), studies)
    write_text(path.with_name(path.name + ".json"), json.dumps(summary.as_dict(), indent=1))
    return summary


def findings_path(submission: Path) -> Path:
    """Where the findings of a submission stand, with their places (see `prediction.table`)."""
    return submission.with_name(submission.name + ".findings.csv")


def _summary(
    path: Path, studies: Sequence[StudyPrediction], filled: Sequence[tuple[str, Target]]
) -> SubmissionSummary:
    predicted = {t for p in studies for t in p.findings}
    unusual: dict[str, list[str]] = {}
    for study, target in filled:
        if target in predicted:
            unusual.setdefault(study, []).append(target.column)
    sources = dict.fromkeys(f"{s.recipe}#{s.fold}" for p in studies for s in p.sources)
    return SubmissionSummary(
        path=str(path),
        studies=len(studies),
        rows=len(studies) * len(FINDINGS),
        filled=len(filled),
        filled_by_condition=dict(Counter(t.sided_condition for _, t in filled)),
        filled_studies=unusual,
        models=list(sources),
        problems=[q.as_dict() for p in studies for q in p.problems],
    )
