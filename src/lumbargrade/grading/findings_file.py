"""The 25 findings of a study, graded or absent, as JSON that reads back exactly and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lumbargrade import __version__
from lumbargrade.domain.errors import BadInput, Problem
from lumbargrade.domain.findings import Finding, ModelSource, Probabilities, StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import FINDINGS, Grade, SeriesKind, Target, target_from_column
from lumbargrade.files.writing import write_text
from lumbargrade.grading.predictions_file import point_cells

#: Version of the JSON layout; raised when older programs could misread a newer file.
FORMAT = 2

NOTICE = "Research software, not a medical device; it must not be used to diagnose or treat."


_PROBABILITIES = (
    "probabilities: by the models, which are trained with weights 1, 2, 4 and so count severe "
    "grades higher than they occur; calibrated: as frequencies, by a calibration fitted to studies "
    "that the models had not seen, or null where there is none; grade: the most probable, by the "
    "calibrated ones where there are any; not_graded: why a finding has no grade; the "
    "others are null then"
)

_FRAMES = (
    "x, y: column and row of the instance, pixel centres at integers; z: fractional slice index "
    "of the series in spatial order; patient: DICOM LPS, millimetres"
)

COLUMNS = (
    *("study_id", "finding", "condition", "side", "level", "grade"),
    *(g.column for g in Grade),
    *(f"calibrated_{g.column}" for g in Grade),
    *("not_graded", "series_id", "instance_number", "x", "y", "z"),
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
        prediction: the 25 findings, graded or absent, the models and the problems.
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
    """Write a findings file atomically.

    Raises:
        ValueError: if a target is neither graded nor absent.
    """
    prediction = graded.prediction
    content = {
        "format": FORMAT,
        "lumbargrade": graded.version,
        "notice": NOTICE,
        "study_id": prediction.study_id,
        "frames": _FRAMES,
        "meaning": _PROBABILITIES,
        "findings": [_entry(prediction, t) for t in FINDINGS],
        "models": [asdict(s) for s in prediction.sources],
        "flip": graded.flip,
        "series": [asdict(s) for s in graded.series],
        "problems": [p.as_dict() for p in prediction.problems],
        "fingerprint": graded.fingerprint,
    }
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _entry(prediction: StudyPrediction, target: Target) -> dict[str, Any]:
    """A finding, or the reason why there is none; both have the same keys."""
    finding, reason = _finding_or_reason(prediction, target)
    point = None if finding is None else finding.point
    return {
        "finding": target.column,
        "condition": target.condition,
        "side": target.side,
        "level": target.level,
        "grade": None if finding is None else finding.grade.column,
        "probabilities": None if finding is None else _by_grade(finding.probabilities),
        "calibrated": None if finding is None else _by_grade(finding.calibrated),
        "not_graded": reason or None,
        "place": None if point is None else _place(point),
        "models": [] if finding is None else [asdict(s) for s in finding.sources],
    }


def _place(point: Point) -> dict[str, Any]:
    return {
        "series_id": point.series_id,
        "instance_number": point.instance_number,
        **dict(zip("xyz", point.voxel, strict=True)),
        "patient": point.patient,
    }


def _xyz(values: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = values
    return x, y, z


def _finding_or_reason(prediction: StudyPrediction, target: Target) -> tuple[Finding | None, str]:
    """The finding and an empty reason, or no finding and its reason."""
    if (finding := prediction.findings.get(target)) is not None:
        return finding, ""
    if target not in prediction.absent:
        raise ValueError(f"{target.column} is neither graded nor absent with a reason")
    return None, prediction.absent[target]


def _by_grade(probabilities: Probabilities | None) -> dict[str, float] | None:
    if probabilities is None:
        return None
    return {g.column: p for g, p in zip(Grade, probabilities, strict=True)}


def read_findings(path: Path) -> GradedStudy:
    """What :func:`write_findings` wrote.

    Raises:
        BadInput: if it is not such a file, is damaged, or is of another format.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise BadInput(
                f"{path}: findings of format {content['format']}, not {FORMAT}; "
                "`lumbargrade grade` writes them anew (a findings.csv of any version can be read)"
            )
        entries = {target_from_column(e["finding"]): e for e in content["findings"]}
        if missing := [t.column for t in FINDINGS if t not in entries]:
            raise BadInput(f"{path}: no findings {', '.join(missing)}")
        prediction = StudyPrediction(
            content["study_id"],
            {t: _finding(t, e) for t, e in entries.items() if e["grade"] is not None},
            tuple(ModelSource(**m) for m in content["models"]),
            tuple(Problem(**p) for p in content["problems"]),
            {t: _reason(e) for t, e in entries.items() if e["grade"] is None},
        )
        series = tuple(_series_from_dict(s) for s in content["series"])
        return GradedStudy(
            prediction, series, content["flip"], content["fingerprint"], content["lumbargrade"]
        )
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: not a findings file, or damaged: {error}") from None


def _reason(entry: Mapping[str, Any]) -> str:
    reason = entry["not_graded"]
    if not isinstance(reason, str) or entry["probabilities"] is not None:
        raise ValueError(f"{entry['finding']} has no grade, and no reason why")
    return reason


def _finding(target: Target, data: Mapping[str, Any]) -> Finding:
    calibrated, place = data["calibrated"], data["place"]
    if data["not_graded"] is not None:
        raise ValueError(f"{target.column} has a grade, and a reason why it has none")
    point = None
    if place is not None:
        x, y, z = (float(place[axis]) for axis in "xyz")
        patient = None if place["patient"] is None else _xyz(place["patient"])
        series, instance = place["series_id"], place["instance_number"]
        point = Point(target, series, instance, (x, y, z), patient)
    sources = tuple(ModelSource(**m) for m in data["models"])
    probabilities = _from_grades(data["probabilities"])
    shown = None if calibrated is None else _from_grades(calibrated)
    return Finding(target, probabilities, point, sources, shown)


def _from_grades(data: Mapping[str, Any]) -> Probabilities:
    mild, moderate, severe = (float(data[g.column]) for g in Grade)
    return mild, moderate, severe


def _series_from_dict(data: Mapping[str, Any]) -> SeriesLine:
    kind = data["kind"]
    return SeriesLine(**{**data, "kind": SeriesKind(kind) if kind is not None else None})


def write_findings_csv(path: Path, studies: Iterable[tuple[str, StudyPrediction]]) -> None:
    """Write 25 rows per study atomically.

    A finding that is absent has its reason in ``not_graded`` and no grade, probability or place.

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
            writer.writerow([*([folder] if named else []), *_csv_row(prediction, target)])
    write_text(path, buffer.getvalue())


def _csv_row(prediction: StudyPrediction, target: Target) -> list[object]:
    finding, reason = _finding_or_reason(prediction, target)
    start = (prediction.study_id, target.column, target.condition, target.side or "", target.level)
    return [
        *start,
        "" if finding is None else finding.grade.column,
        *_cells(None if finding is None else finding.probabilities),
        *_cells(None if finding is None else finding.calibrated),
        reason,
        *point_cells(None if finding is None else finding.point),
    ]


def _cells(probabilities: Probabilities | None) -> list[str]:
    return [""] * 3 if probabilities is None else [repr(float(p)) for p in probabilities]
