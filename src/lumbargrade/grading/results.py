"""Reads back what this package leaves behind, whichever command wrote it, as predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.domain.errors import BadInput, BadTable
from lumbargrade.domain.findings import Finding, ModelSource, StudyPrediction
from lumbargrade.domain.vocabulary import Grade, Target, target_from_column
from lumbargrade.files.tables import Row, filled, listed, read_table, table_header
from lumbargrade.grading.findings_file import read_findings
from lumbargrade.grading.predictions_file import distribution
from lumbargrade.scoring.submissions import SUBMISSION_COLUMNS, read_submission

#: Files that hold a folder's results, the first that is there.
FOLDER_FILES = ("findings.csv", "findings.json", "oof.csv", "submission.csv")
#: Beside the findings.csv of `grade`; its writer is not imported here, it would bring torch along.
_SUMMARY_FILE = "summary.json"
_GRADES = tuple(g.column for g in Grade)
_CALIBRATED = tuple(f"calibrated_{g.column}" for g in Grade)
_COLUMNS = ("study_id", "finding", *_GRADES)


@dataclass(frozen=True)
class Results:
    """Predictions read from a file.

    Attributes:
        path: the file.
        predictions: study -> its findings, without places, and why others are absent.
        fills_known: whether the file says which findings no model predicted.
        recipes: names of the recipes whose models predicted, sorted; empty where not known.
        fills_scored: whether rows that `submit` filled stand among the predictions.
    """

    path: Path
    predictions: Mapping[str, StudyPrediction]
    fills_known: bool
    recipes: tuple[str, ...] = ()
    fills_scored: bool = False


def read_results(path: Path, *, score_filled: bool = False) -> Results:
    """Read a folder or file written by `grade`, `submit` or `validate`.

    A submission does not say which of its rows were filled; the ``.findings.csv`` that `submit`
    writes beside it does, where it is there. A filled row is read as an absent finding.

    Args:
        path: the folder or file.
        score_filled: read filled rows of a submission as predictions.

    Raises:
        BadInput: if nothing there holds results.
        BadTable: for a table that cannot be meant, with the row.
        OSError: if a file cannot be read.
    """
    if path.is_dir():
        inside = [path / name for name in FOLDER_FILES if (path / name).is_file()]
        if not inside:
            raise BadInput(f"{path}: no results in this folder ({', '.join(FOLDER_FILES)})")
        path = inside[0]
    if path.suffix == ".json":
        prediction = read_findings(path).prediction
        recipes = tuple(sorted({source.recipe for source in prediction.sources}))
        return Results(path, {prediction.study_id: prediction}, True, recipes)
    header = set(table_header(path))
    if set(SUBMISSION_COLUMNS) <= header:
        return _read_submission(path, score_filled)
    if set(_COLUMNS) <= header:
        found, recipes = _read_findings(path)
        return Results(path, found, True, recipes or _recipes_of_summary(path.parent))
    raise BadTable(
        f"{path}: neither a submission ({', '.join(SUBMISSION_COLUMNS)}) nor findings "
        f"({', '.join(_COLUMNS)})"
    )


def _read_submission(path: Path, score_filled: bool) -> Results:
    beside = path.with_name(path.name + ".findings.csv")
    said, recipes = _read_findings(beside) if beside.is_file() else (None, ())
    found = {}
    for study, rows in read_submission(path).items():
        findings = {}
        for target, (a, b, c) in rows.items():
            total = a + b + c
            findings[target] = Finding(target, (a / total, b / total, c / total))
        found[study] = StudyPrediction(study, findings)
        if said is not None and not score_filled:
            predicted = said[study].findings if study in said else {}
            found[study] = found[study].without(
                {t: "filled by `submit`" for t in findings if t not in predicted}
            )
    return Results(path, found, said is not None, recipes, score_filled)


def _read_findings(path: Path) -> tuple[dict[str, StudyPrediction], tuple[str, ...]]:
    """Predictions, and the recipes that a column ``models`` names as ``recipe#fold``."""
    recipes: set[str] = set()
    found: dict[str, dict[Target, Finding | str]] = {}
    seen: dict[tuple[str, Target], int] = {}
    for row in read_table(path, _COLUMNS):
        study = row.read(filled, "study_id")
        target = row.read(target_from_column, "finding")
        row.require_first(seen, (study, target), f"{target.column} of study {study}")
        found.setdefault(study, {})[target] = _finding_or_reason(target, row)
        recipes |= {m.recipe for m in row.read_known(listed(ModelSource.parse), "models") or ()}
    predictions = {
        study: StudyPrediction(
            study,
            {t: f for t, f in mine.items() if isinstance(f, Finding)},
            absent={t: f for t, f in mine.items() if isinstance(f, str)},
        )
        for study, mine in found.items()
    }
    return predictions, tuple(sorted(recipes))


def _recipes_of_summary(folder: Path) -> tuple[str, ...]:
    """Recipes that the summary of `grade` beside its findings.csv names; none without one."""
    try:
        models = json.loads((folder / _SUMMARY_FILE).read_text(encoding="utf-8"))["models"]
        return tuple(sorted({model["recipe"] for model in models}))
    except (OSError, ValueError, KeyError, TypeError):
        return ()  # another program's table, or moved away from its summary


def _finding_or_reason(target: Target, row: Row) -> Finding | str:
    """A row's finding, or the reason why it is absent.

    Earlier versions put training prevalence where no model predicted, and said so in ``filled``.
    """
    if row.cells.get("filled", "no") not in ("yes", "no"):
        raise row.error(f"{row['filled']!r} is neither yes nor no", "filled")
    if row.cells.get("filled") == "yes":
        return "no model predicted it"
    graded = any(row[c] for c in _GRADES)
    reason = row.cells.get("not_graded", "").strip()
    if reason and graded:
        raise row.error("it has probabilities, and not_graded says why it has none")
    if reason:
        return reason
    if not graded:
        raise row.error("no probabilities, and not_graded does not say why")
    calibrated = None
    if any(row.cells.get(c) for c in _CALIBRATED):
        calibrated = row.read(distribution, *_CALIBRATED)
    return Finding(target, row.read(distribution, *_GRADES), calibrated=calibrated)
