"""The findings of a graded study as JSON, which reads back exactly, and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lumbargrade import __version__
from lumbargrade.domain.errors import BadInput, Problem
from lumbargrade.domain.files import write_text
from lumbargrade.domain.findings import Finding, ModelSource, Place, Probabilities, StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, Grade, SeriesKind, Target, target_from_column
from lumbargrade.prediction.table import place_cells

#: Version of the JSON layout; raised when older programs could misread a newer file.
FORMAT = 1

NOTICE = "Research software, not a medical device; it must not be used to diagnose or treat."


_PROBABILITIES = (
    "probabilities: by the models, which are trained with weights 1, 2, 4 and so count severe "
    "grades higher than they occur; calibrated: as frequencies, by a calibration fitted to studies "
    "that the models had not seen, or null where there is none; grade: the most probable, by the "
    "calibrated ones where there are any"
)

_FRAMES = (
    "x, y: column and row of the instance, pixel centres at integers; z: fractional slice index "
    "of the series in spatial order; patient: DICOM LPS, millimetres"
)

COLUMNS = (
    *("study_id", "finding", "condition", "side", "level", "grade"),
    *(g.column for g in Grade),
    *(f"calibrated_{g.column}" for g in Grade),
    *("filled", "series_id", "instance_number", "x", "y", "z"),
    *("patient_x", "patient_y", "patient_z"),
)


@dataclass(frozen=True)
class SeriesLine:
    """One series of a graded study.

    Attributes:
        series_id: its id.
        kind: which of the three kinds, or None.
        slices, rows, columns: its size.
        pictures: what is seen in it, by condition with its side; relative to the study's folder.
    """

    series_id: str
    kind: SeriesKind | None
    slices: int
    rows: int
    columns: int
    pictures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GradedStudy:
    """What stands in a findings file.

    Attributes:
        prediction: all 25 findings, the models and the problems.
        series: the study's series.
        flip: whether predictions of any model were averaged with those of mirrored volumes.
        fingerprint: of the images, models and settings it was made from.
        version: version of this package that made it.
    """

    prediction: StudyPrediction
    series: tuple[SeriesLine, ...]
    flip: bool
    fingerprint: str
    version: str = __version__


def write_findings(path: Path, graded: GradedStudy) -> None:
    """Write a findings file atomically."""
    prediction = graded.prediction
    content = {
        "format": FORMAT,
        "lumbargrade": graded.version,
        "notice": NOTICE,
        "study_id": prediction.study_id,
        "frames": _FRAMES,
        "meaning": _PROBABILITIES,
        "findings": [_finding_as_dict(prediction.findings[t]) for t in FINDINGS],
        "models": [asdict(s) for s in prediction.sources],
        "flip": graded.flip,
        "series": [asdict(s) for s in graded.series],
        "problems": [p.as_dict() for p in prediction.problems],
        "fingerprint": graded.fingerprint,
    }
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _finding_as_dict(finding: Finding) -> dict[str, Any]:
    target = finding.target
    return {
        "finding": target.column,
        "condition": target.condition,
        "side": target.side,
        "level": target.level,
        "grade": finding.grade.column,
        "probabilities": _by_grade(finding.probabilities),
        "calibrated": None if finding.calibrated is None else _by_grade(finding.calibrated),
        "filled": finding.filled,
        "place": None if finding.place is None else asdict(finding.place),
        "models": [asdict(s) for s in finding.sources],
    }


def _by_grade(probabilities: Probabilities) -> dict[str, float]:
    return {g.column: p for g, p in zip(Grade, probabilities, strict=True)}


def read_findings(path: Path) -> GradedStudy:
    """What :func:`write_findings` wrote.

    Raises:
        BadInput: if it is not such a file, is damaged, or is of another format.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise BadInput(f"{path}: findings of format {content['format']}, not {FORMAT}")
        findings = dict(map(_finding_from_dict, content["findings"]))
        prediction = StudyPrediction(
            content["study_id"],
            findings,
            tuple(ModelSource(**m) for m in content["models"]),
            tuple(Problem(**p) for p in content["problems"]),
        )
        series = tuple(_series_from_dict(s) for s in content["series"])
        if missing := [t.column for t in FINDINGS if t not in findings]:
            raise BadInput(f"{path}: no findings {', '.join(missing)}")
        return GradedStudy(
            prediction, series, content["flip"], content["fingerprint"], content["lumbargrade"]
        )
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: not a findings file, or damaged: {error}") from None


def _finding_from_dict(data: Mapping[str, Any]) -> tuple[Target, Finding]:
    target = target_from_column(data["finding"])
    calibrated = data.get("calibrated")  # files of earlier versions have none
    place = data["place"]
    if place is not None:
        patient = place["patient"]
        place = Place(**{**place, "patient": tuple(patient) if patient is not None else None})
    sources = tuple(ModelSource(**m) for m in data["models"])
    filled = bool(data["filled"])
    probabilities = _from_grades(data["probabilities"])
    shown = None if calibrated is None else _from_grades(calibrated)
    return target, Finding(target, probabilities, place, filled, sources, shown)


def _from_grades(data: Mapping[str, Any]) -> Probabilities:
    mild, moderate, severe = (float(data[g.column]) for g in Grade)
    return mild, moderate, severe


def _series_from_dict(data: Mapping[str, Any]) -> SeriesLine:
    kind = data["kind"]
    return SeriesLine(**{**data, "kind": SeriesKind(kind) if kind is not None else None})


def write_findings_csv(path: Path, studies: Iterable[tuple[str, StudyPrediction]]) -> None:
    """Write 25 rows per study atomically; ``filled`` rows were predicted by no model.

    Args:
        path: the CSV.
        studies: folder and findings of each study; a first column names the folders, unless all
            of them are empty.
    """
    listed = list(studies)
    named = any(folder for folder, _ in listed)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*(["folder"] if named else []), *COLUMNS])
    for folder, prediction in listed:
        for target in FINDINGS:
            row = _csv_row(prediction.study_id, prediction.findings[target])
            writer.writerow([*([folder] if named else []), *row])
    write_text(path, buffer.getvalue())


def _csv_row(study_id: str, finding: Finding) -> list[object]:
    target = finding.target
    return [
        *(study_id, target.column, target.condition, target.side or "", target.level),
        finding.grade.column,
        *(repr(float(p)) for p in finding.probabilities),
        *([""] * 3 if finding.calibrated is None else [repr(float(p)) for p in finding.calibrated]),
        "yes" if finding.filled else "no",
        *place_cells(finding.place),
    ]
