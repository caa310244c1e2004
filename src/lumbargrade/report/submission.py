"""Submission files: 25 rows per study, with a summary beside them; of `submit` and `combine`."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import EngineUse, Probabilities, StudyPrediction
from lumbargrade.domain.ids import id_order
from lumbargrade.domain.reasons import by_reason, named
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    Condition,
    Target,
    plain_name,
    target_from_column,
)
from lumbargrade.files.tables import table_text
from lumbargrade.files.writing import atomic_path
from lumbargrade.grading.predictions_file import write_predictions
from lumbargrade.report.text import text_table, with_null, write_json
from lumbargrade.scoring.fill import Constants, training_fill
from lumbargrade.scoring.official import CombinedScores
from lumbargrade.scoring.submissions import (
    SUBMISSION_COLUMNS,
    SubmissionFile,
    check_complete,
    read_submission,
)

log = logging.getLogger(__name__)

#: Most lines of a summary's text about studies that are filled.
_LINES = 20


def summary_path(submission: Path) -> Path:
    """The JSON file beside a submission with its summary."""
    return submission.with_name(submission.name + ".json")


def findings_path(submission: Path) -> Path:
    """The CSV file beside a submission with its findings and places."""
    return submission.with_name(submission.name + ".findings.csv")


def write_rows(path: Path, rows: Sequence[tuple[str, Mapping[Target, Probabilities]]]) -> None:
    """Write a submission; its numbers read back exactly.

    Args:
        path: the CSV; written atomically.
        rows: study id and the probabilities of its 25 findings, studies in any order.

    Raises:
        BadTable: if the written rows are no complete submission (for example, a study occurs
            twice); an earlier file of that name is kept.
        OSError: if the file cannot be written.
    """
    lines = (
        [f"{study}_{t.column}", *found[t]]
        for study, found in sorted(rows, key=lambda row: id_order(row[0]))
        for t in FINDINGS
        if t in found
    )
    with atomic_path(path) as temporary:
        temporary.write_text(table_text(SUBMISSION_COLUMNS, lines), "utf-8", newline="\n")
        check_complete(read_submission(temporary), [study for study, _ in rows], path)


@dataclass(frozen=True)
class SubmissionSummary:
    """Summary of a submission of `submit`; also written beside it as JSON.

    Attributes:
        path: the submission.
        studies, rows: how many.
        filled: number of rows that no model predicted; they hold the constant that minimises the
            official score on the training grades.
        filled_by_condition: the same number per condition and side.
        filled_studies: study -> filled findings that a model predicts for other studies.
        filled_because: study -> finding -> reason, where it is known.
        models: every model that took part.
        engines: what ran each model, with the measured deviation from torch if it was exported.
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
    engines: Sequence[EngineUse]
    problems: Sequence[Mapping[str, object]]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """A few lines for the log."""
        lines = [f"{self.rows} rows for {self.studies} studies in {self.path}"]
        if self.filled:
            parts = ", ".join(f"{c} {n}" for c, n in self.filled_by_condition.items())
            lines.append(
                f"{self.filled} rows that no model predicts, filled with the constant that "
                f"minimises the official score on the training grades: {parts}"
            )
        for study, findings in islice(self.filled_studies.items(), _LINES):
            known = self.filled_because.get(study, {})
            reasons = by_reason({target_from_column(f): known.get(f, "") for f in findings})
            why = "; ".join(f"{named(ts)}: {r}" if r else named(ts) for r, ts in reasons.items())
            lines.append(f"study {study}: {len(findings)} findings filled ({why})")
        if (more := len(self.filled_studies) - _LINES) > 0:
            lines.append(f"... and {more} more studies; {self.path}.json lists all")
        return "\n".join(lines)


def complete(prediction: StudyPrediction, constants: Constants) -> dict[Target, Probabilities]:
    """Probabilities for all 25 rows of a study; an absent finding gets its constant."""
    found = prediction.findings
    return {t: found[t].probabilities if t in found else constants[t] for t in FINDINGS}


def write_submission(
    path: Path,
    predictions: Sequence[StudyPrediction],
    constants: Constants,
    problems: Sequence[Problem] = (),
) -> SubmissionSummary:
    """Write a submission and two files beside it, each atomically.

    ``<name>.json`` holds its summary, ``<name>.findings.csv`` the models' findings with places.

    Args:
        path: the CSV.
        predictions: one per study.
        constants: probabilities for absent findings (see `scoring.fill.training_fill`).
        problems: problems of the data set as a whole, for the summary.

    Raises:
        BadTable: if two predictions are of one study; an earlier file of that name is kept.
    """
    studies = sorted(predictions, key=lambda p: id_order(p.study_id))
    write_rows(path, [(p.study_id, complete(p, constants)) for p in studies])
    summary = _summary(path, studies, problems)
    write_predictions(findings_path(path), studies)
    write_json(summary_path(path), summary.as_dict())
    return summary


#: Seconds between two updates of a draft.
_UPDATE = 300.0


class SubmissionDraft:
    """A complete submission from the start: rows of studies that are not predicted yet are filled.

    If a file of that name exists, nothing is written: it is kept until `write_submission`.
    """

    def __init__(self, path: Path, studies: Sequence[str]) -> None:
        """Write the first draft, in which all rows are filled.

        Args:
            path: the CSV.
            studies: ids of all studies.

        Raises:
            OSError: if it cannot be written.
        """
        self._path = path
        self._studies = tuple(studies)
        self._written = time.monotonic()
        self._used = bool(studies) and not path.exists()
        if self._used:
            self._write([], training_fill([]))
            log.info("%s: complete, with all rows filled until studies are predicted", path)

    def update(self, predictions: Sequence[StudyPrediction], constants: Constants) -> None:
        """Write what is predicted so far, if the last draft is a few minutes old."""
        if not self._used or time.monotonic() - self._written < _UPDATE:
            return
        self._written = time.monotonic()
        try:
            self._write(predictions, constants)
        except OSError as error:
            log.warning("%s: not updated (%s); the earlier draft is kept", self._path, error)

    def _write(self, predictions: Sequence[StudyPrediction], constants: Constants) -> None:
        known = {p.study_id: p for p in predictions}
        all_of_them = [known.get(s) or StudyPrediction(s, {}) for s in self._studies]
        write_rows(self._path, [(p.study_id, complete(p, constants)) for p in all_of_them])


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
        engines=list(dict.fromkeys(use for p in studies for use in p.engines)),
        problems=[q.as_dict() for q in (*problems, *(q for p in studies for q in p.problems))],
    )


@dataclass(frozen=True)
class CombinedSummary:
    """Summary of a submission of `combine`; also written beside it as JSON.

    Attributes:
        path: the submission.
        files: path and sha256 of each blended file.
        weights: condition -> one weight per file, summing to 1.
        studies, rows: how many.
        scores: None if no reference grades were given.
    """

    path: str
    files: Sequence[Mapping[str, str]]
    weights: Mapping[str, Sequence[float]]
    studies: int
    rows: int
    scores: CombinedScores | None

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = with_null(asdict(self))
        return found

    def text(self) -> str:
        """Tables of the weights and, if reference grades were given, of the scores."""
        names = _short([Path(f["path"]) for f in self.files])
        rows = [[plain_name(condition), *weights] for condition, weights in self.weights.items()]
        parts = [text_table(["weights", *names], rows)]
        if self.scores is not None:
            columns = [*self.scores.files, self.scores.combined]
            lines = [[_part_name(k), *(s[k] for s in columns)] for k in self.scores.combined]
            parts.append(text_table(["loss, lower is better", *names, "combined"], lines))
        return "\n\n".join(parts)


def write_combined(
    path: Path,
    files: Sequence[SubmissionFile],
    weights: Mapping[Condition, Sequence[float]],
    rows: Mapping[str, Mapping[Target, Probabilities]],
    scores: CombinedScores | None = None,
) -> CombinedSummary:
    """Write a blended submission and its summary, ``<name>.json``, each atomically.

    Raises:
        BadTable: if the rows are no complete submission; an earlier file of that name is kept.
        OSError: if a file cannot be written.
    """
    write_rows(path, list(rows.items()))
    summary = CombinedSummary(
        path=str(path),
        files=[{"path": str(f.path), "sha256": f.sha256} for f in files],
        weights={c.value: list(weights[c]) for c in Condition},
        studies=len(rows),
        rows=len(rows) * len(FINDINGS),
        scores=scores,
    )
    write_json(summary_path(path), summary.as_dict())
    return summary


def _part_name(name: str) -> str:
    return "official score" if name == "official" else plain_name(name)


def _short(paths: Sequence[Path]) -> list[str]:
    """File names; a full path if two files have the same name."""
    count = Counter(p.name for p in paths)
    return [p.name if count[p.name] == 1 else str(p) for p in paths]
