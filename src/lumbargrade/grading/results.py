"""Read the results of any command of this package as predictions."""

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

#: Files that may hold the results of a folder; the first one found is read.
FOLDER_FILES = ("findings.csv", "findings.json", "oof.csv", "submission.csv")
#: File beside the findings.csv of `grade`. Its writer is not imported because it imports torch.
_SUMMARY_FILE = "summary.json"
_GRADES = tuple(g.column for g in Grade)
_CALIBRATED = tuple(f"calibrated_{g.column}" for g in Grade)
_COLUMNS = ("study_id", "finding", *_GRADES)


@dataclass(frozen=True)
class Results:
    """Predictions read from a file.

    Attributes:
        path: the file.
        predictions: study -> its findings, without points, and the reasons for absent ones.
        fills_known: whether the file says which findings no model predicted.
        recipes: sorted names of the models' recipes; empty if unknown.
        fills_scored: whether predictions include rows that `submit` filled.
    """

    path: Path
    predictions: Mapping[str, StudyPrediction]
    fills_known: bool
    recipes: tuple[str, ...] = ()
    fills_scored: bool = False


def read_results(path: Path, *, score_filled: bool = False) -> Results:
    """Read a folder or file written by `grade`, `submit` or `validate`.

    A submission does not say which of its rows were filled. The ``.findings.csv`` that `submit`
    writes beside it does: if it exists, filled rows are read as absent findings.

    Args:
        path: the folder or file.
        score_filled: read filled rows of a submission as predictions too.

    Raises:
        BadInput: if no results are found.
        BadTable: if a table is malformed; the text names the row.
        OSError: if a file cannot be read.
    """
    if path.is_dir():
        inside = [path / name for name in FOLDER_FILES if (path / name).is_file()]
        if not inside:
            raise BadInput(
                f"{path}: no results in this folder; give a folder with one of "
                f"{', '.join(FOLDER_FILES)}"
            )
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
    graded, recipes = _read_findings(beside) if beside.is_file() else (None, ())
    found = {}
    for study, rows in read_submission(path).items():
        findings = {}
        for target, (a, b, c) in rows.items():
            total = a + b + c
            findings[target] = Finding(target, (a / total, b / total, c / total))
        found[study] = StudyPrediction(study, findings)
        if graded is not None and not score_filled:
            predicted = graded[study].findings if study in graded else {}
            found[study] = found[study].without(
                {t: "filled by `submit`" for t in findings if t not in predicted}
            )
    return Results(path, found, graded is not None, recipes, score_filled)


def _read_findings(path: Path) -> tuple[dict[str, StudyPrediction], tuple[str, ...]]:
    """Read predictions, and the recipes named in the column ``models`` as ``recipe#fold``."""
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
            {t: f for t, f in targets.items() if isinstance(f, Finding)},
            absent={t: f for t, f in targets.items() if isinstance(f, str)},
        )
        for study, targets in found.items()
    }
    return predictions, tuple(sorted(recipes))


def _recipes_of_summary(folder: Path) -> tuple[str, ...]:
    """Read the recipes from the summary of `grade` beside its findings.csv, if there is one."""
    try:
        models = json.loads((folder / _SUMMARY_FILE).read_text(encoding="utf-8"))["models"]
        return tuple(sorted({model["recipe"] for model in models}))
    except (OSError, ValueError, KeyError, TypeError):
        return ()  # a table of another program, or moved away from its summary


def _finding_or_reason(target: Target, row: Row) -> Finding | str:
    """Return a row's finding, or the reason why it is absent.

    Earlier versions wrote the training prevalence if no model predicted, and marked this in column
    ``filled``.
    """
    if row.cells.get("filled", "no") not in ("yes", "no"):
        raise row.error(f"{row['filled']!r} is neither yes nor no; give one of them", "filled")
    if row.cells.get("filled") == "yes":
        return "no model predicted it"
    graded = any(row[c] for c in _GRADES)
    reason = row.cells.get("not_graded", "").strip()
    if reason and graded:
        raise row.error("both probabilities and a reason in not_graded; clear one")
    if reason:
        return reason
    if not graded:
        raise row.error("neither probabilities nor a reason in not_graded; fill in one")
    calibrated = None
    if any(row.cells.get(c) for c in _CALIBRATED):
        calibrated = row.read(distribution, *_CALIBRATED)
    return Finding(target, row.read(distribution, *_GRADES), calibrated=calibrated)
