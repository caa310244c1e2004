"""The out-of-fold file: one row per study, condition and level, with place and truth."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from lumbargrade.domain.files import write_text
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, Grade, Target

COLUMNS = (
    *("study_id", "fold", "finding"),
    *(g.column for g in Grade),
    *("true_grade", "series_id", "instance_number", "x", "y", "z"),
    *("patient_x", "patient_y", "patient_z", "models"),
)


def write_out_of_fold(
    path: Path,
    predictions: Sequence[StudyPrediction],
    folds: Mapping[int, int],
    grades: Mapping[int, Mapping[Target, Grade]],
) -> int:
    """Write predictions with their truth; returns how many rows.

    ``models`` names every model of a row as ``recipe#fold``, so that whoever blends or trains on
    the file can see that none of them was trained on the study.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for prediction in sorted(predictions, key=lambda p: int(p.study_id)):
        study = int(prediction.study_id)
        models = ";".join(f"{s.recipe}#{s.fold}" for s in prediction.sources)
        for target in FINDINGS:
            finding = prediction.findings.get(target)
            if finding is None:
                continue
            grade = grades.get(study, {}).get(target)
            place = finding.place
            where: list[object] = [""] * 8
            if place is not None:
                xyz = [f"{v:.2f}" for v in (place.x, place.y, place.z)]
                patient = [f"{v:.2f}" for v in place.patient or ()] or [""] * 3
                where = [place.series_id, place.instance_number, *xyz, *patient]
            writer.writerow(
                [study, folds[study], target.column]
                + [f"{p:.6f}" for p in finding.probabilities]
                + ["" if grade is None else grade.column]
                + [*where, models]
            )
            count += 1
    write_text(path, buffer.getvalue())
    return count
