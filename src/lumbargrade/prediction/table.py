"""Predictions as a CSV file: one row per study, condition and level, with place and truth."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from lumbargrade.domain.errors import BadTable
from lumbargrade.domain.files import write_text
from lumbargrade.domain.findings import Finding, ModelSource, Place, StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, Grade, Target, target_from_column

COLUMNS = (
    *("study_id", "fold", "finding"),
    *(g.column for g in Grade),
    *("true_grade", "series_id", "instance_number", "x", "y", "z"),
    *("patient_x", "patient_y", "patient_z", "models"),
)


def write_predictions(
    path: Path,
    predictions: Sequence[StudyPrediction],
    folds: Mapping[int, int] | None = None,
    grades: Mapping[int, Mapping[Target, Grade]] | None = None,
) -> int:
    """Write what models predict, studies in ascending order; returns how many rows.

    ``models`` names every model of a row as ``recipe#fold``, so that whoever blends or trains on
    the file can see that none of them was trained on the study.

    Args:
        path: the CSV; written atomically.
        predictions: one per study; what was filled in is left out.
        folds: study -> fold; the column stays empty without.
        grades: study -> target -> true grade; likewise.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for prediction in sorted(predictions, key=lambda p: (len(p.study_id), p.study_id)):
        number = int(prediction.study_id) if prediction.study_id.isdecimal() else -1
        known = (grades or {}).get(number, {})
        fold = (folds or {}).get(number, "")
        for target in FINDINGS:
            finding = prediction.findings.get(target)
            if finding is None or finding.filled:
                continue
            truth = known[target].column if target in known else ""
            probabilities = [f"{p:.6f}" for p in finding.probabilities]
            start = [prediction.study_id, fold, target.column, *probabilities, truth]
            models = ";".join(f"{s.recipe}#{s.fold}" for s in finding.sources)
            writer.writerow([*start, *place_cells(finding.place), models])
            count += 1
    write_text(path, buffer.getvalue())
    return count


def place_cells(place: Place | None) -> list[object]:
    """The eight columns from ``series_id`` to ``patient_z``, empty where nothing is known."""
    if place is None:
        return [""] * 8
    xyz = [f"{v:.2f}" for v in (place.x, place.y, place.z)]
    patient = [f"{v:.2f}" for v in place.patient or ()] or [""] * 3
    return [place.series_id, place.instance_number, *xyz, *patient]


def read_predictions(path: Path) -> dict[str, StudyPrediction]:
    """What :func:`write_predictions` wrote, by study.

    Raises:
        BadTable: for missing columns, unknown findings and values that are no predictions, each
            with its row.
    """
    if not path.is_file():
        raise BadTable(f"{path}: no such file")
    with path.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        if missing := [c for c in COLUMNS if c not in (reader.fieldnames or ())]:
            raise BadTable(f"{path}: no columns {', '.join(missing)}")
        found: dict[str, StudyPrediction] = {}
        for number, row in enumerate(reader, start=2):
            study = row["study_id"]
            old = found.get(study) or StudyPrediction(study, {})
            try:
                finding = _finding(row)
            except (KeyError, ValueError, TypeError) as error:
                raise BadTable(f"{path}, row {number}: not a prediction: {error}") from None
            if finding.target in old.findings:
                raise BadTable(f"{path}, row {number}: {finding.target.column} a second time")
            sources = tuple(dict.fromkeys((*old.sources, *finding.sources)))
            found[study] = StudyPrediction(
                study, {**old.findings, finding.target: finding}, sources
            )
    return found


def _finding(row: Mapping[str, str]) -> Finding:
    mild, moderate, severe = (float(row[g.column]) for g in Grade)
    total = mild + moderate + severe  # six decimals do not always add up to 1
    place = None
    if row["series_id"]:
        patient = None
        if row["patient_x"]:
            px, py, pz = (float(row[f"patient_{axis}"]) for axis in "xyz")
            patient = (px, py, pz)
        x, y, z = (float(row[axis]) for axis in "xyz")
        place = Place(row["series_id"], int(row["instance_number"]), x, y, z, patient)
    probabilities = (mild / total, moderate / total, severe / total)
    target, sources = target_from_column(row["finding"]), _sources(row["models"])
    return Finding(target, probabilities, place, sources=sources)


def _sources(text: str) -> tuple[ModelSource, ...]:
    pairs = [name.rsplit("#", 1) for name in text.split(";") if name]
    return tuple(ModelSource(recipe, int(fold)) for recipe, fold in pairs)
