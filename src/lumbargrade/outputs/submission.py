"""The submission: 25 rows per study, with what was filled in counted and named."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lumbargrade.domain.files import write_text
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, Target
from lumbargrade.outputs.submission_rows import (
    findings_path,
    in_order,
    summary_path,
    write_rows,
)
from lumbargrade.prediction.members import Constants, complete
from lumbargrade.prediction.table import write_predictions

__all__ = ["SubmissionSummary", "complete", "findings_path", "write_submission"]


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
            lines.append(
                f"{self.filled} rows that no model predicts, filled with the constant that "
                f"minimises the official score on the training grades: {parts}"
            )
        for study, findings in self.filled_studies.items():
            lines.append(f"study {study}: {len(findings)} findings without a usable series")
        return "\n".join(lines)


def write_submission(
    path: Path,
    predictions: Sequence[StudyPrediction],
    constants: Constants,
) -> SubmissionSummary:
    """Write a submission and two files beside it, each atomically.

    ``<name>.json`` is its summary; ``<name>.findings.csv`` what the models said, with places.

    Args:
        path: the CSV.
        predictions: one per study.
        constants: stand in for what is not predicted (see `prediction.members.training_fill`).

    Raises:
        BadTable: if what was written does not read back as a complete submission (for example
            with two predictions of one study); an earlier file of that name stays.
    """
    studies = sorted(predictions, key=lambda p: in_order(p.study_id))
    whole = [(p.study_id, complete(p, constants)) for p in studies]
    rows = [(study, {t: f.probabilities for t, f in found.items()}) for study, found in whole]
    write_rows(path, rows)
    filled = [(study, t) for study, found in whole for t, f in found.items() if f.filled]
    summary = _summary(path, studies, filled)
    write_predictions(findings_path(path), studies)
    write_text(summary_path(path), json.dumps(summary.as_dict(), indent=1))
    return summary


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
