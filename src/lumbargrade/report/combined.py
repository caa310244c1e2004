"""Output of `combine`: the blended submission, its summary, weights and scores."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lumbargrade.domain.errors import BadTable
from lumbargrade.domain.findings import Probabilities
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Target
from lumbargrade.files.writing import write_text
from lumbargrade.report.submission_file import summary_path, write_rows
from lumbargrade.report.text import text_table, with_null
from lumbargrade.scoring.official import score_report
from lumbargrade.scoring.submissions import Solution, Submission, SubmissionFile, check_complete


@dataclass(frozen=True)
class Scores:
    """Official scores on true grades, lower is better.

    Attributes:
        truth: path of the true grades.
        studies: how many studies were scored.
        files: score of each file, in their order: ``official`` and the official loss of each part.
        combined: the same of the result.
    """

    truth: str
    studies: int
    files: Sequence[Mapping[str, float]]
    combined: Mapping[str, float]


@dataclass(frozen=True)
class CombinedSummary:
    """Summary of a combined submission; also written beside it as JSON.

    Attributes:
        path: the submission.
        files: path and sha256 of each file.
        weights: condition -> a weight per file, in their order, summing to 1.
        studies, rows: how many.
        scores: None where no true grades were given.
    """

    path: str
    files: Sequence[Mapping[str, str]]
    weights: Mapping[str, Sequence[float]]
    studies: int
    rows: int
    scores: Scores | None

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = with_null(asdict(self))
        return found

    def text(self) -> str:
        """The weights as a table, and the scores if there are any."""
        names = _short([Path(f["path"]) for f in self.files])
        rows = [[_words(condition), *weights] for condition, weights in self.weights.items()]
        parts = [text_table(["weights", *names], rows)]
        if self.scores is not None:
            columns = [*self.scores.files, self.scores.combined]
            lines = [[_words(k), *(s[k] for s in columns)] for k in self.scores.combined]
            parts.append(text_table(["loss, lower is better", *names, "combined"], lines))
        return "\n\n".join(parts)


def write_combined(
    path: Path,
    files: Sequence[SubmissionFile],
    weights: Mapping[Condition, Sequence[float]],
    rows: Mapping[str, Mapping[Target, Probabilities]],
    scores: Scores | None = None,
) -> CombinedSummary:
    """Write a combined submission and ``<name>.json``, its summary, each atomically.

    Raises:
        BadTable: if what was written does not read back as a complete submission; an earlier file
            of that name stays.
        OSError: if it cannot be written.
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
    write_text(summary_path(path), json.dumps(summary.as_dict(), indent=1))
    return summary


def score_combined(
    truth: Solution, origin: Path, files: Sequence[SubmissionFile], rows: Submission
) -> Scores:
    """Official score of each file and of the result, on the studies in the files.

    Raises:
        BadTable: if a study of the files has no true grades at `origin`.
    """
    check_complete(rows, [s for s in rows if s in truth], files[0].path, origin)
    known = {study: grades for study, grades in truth.items() if study in rows}
    if not any(known.values()):
        raise BadTable(f"{origin}: no study of the submissions has a grade")

    def score(submission: Submission) -> dict[str, float]:
        report = score_report(known, submission, known, origin)
        parts = {name: part["official"] for name, part in report["parts"].items()}
        return {**parts, "official": report["official"]}

    return Scores(str(origin), len(known), [score(f.rows) for f in files], score(rows))


def _words(name: str) -> str:
    return "official score" if name == "official" else name.replace("_", " ")


def _short(paths: Sequence[Path]) -> list[str]:
    """File names; whole paths if two files have the same name."""
    count = Counter(p.name for p in paths)
    return [p.name if count[p.name] == 1 else str(p) for p in paths]
