"""Read and write the result of a study, as JSON that reads back exactly and as CSV."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lumbargrade import __version__
from lumbargrade.domain.errors import BadInput, Problem
from lumbargrade.domain.findings import (
    EngineUse,
    Finding,
    ModelSource,
    Probabilities,
    StudyPrediction,
)
from lumbargrade.domain.measurement import Measurement, Opinion, Quality, Quantity
from lumbargrade.domain.numbering import Numbering
from lumbargrade.domain.point import Point, Xyz
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    Condition,
    Grade,
    Level,
    SeriesKind,
    Side,
    Target,
    grade_from_name,
    target_from_column,
)
from lumbargrade.files.structures import ADDED_LATER, read_plain, structured
from lumbargrade.files.tables import write_table
from lumbargrade.files.writing import write_text
from lumbargrade.lsdc.point_file import PLACE_COLUMNS, point_cells

#: Version of the JSON layout; bumped when older programs could misread a newer file.
FORMAT = 3

NOTICE = "Research software, not a medical device; it must not be used to diagnose or treat."


_OF_TRAINED = (
    "probabilities: from the models, which are trained with weights 1, 2, 4 and therefore predict "
    "severe grades more often than they occur; "
)
_OF_STARTER = "probabilities: not frequencies, see about; "
_MEANING = (
    "calibrated: as frequencies, from a calibration "
    "fitted to studies that the models had not seen, or null if there is none; grade: the most "
    "probable grade, by the calibrated probabilities if there are any; by_measurement: the grade "
    "that thresholds from the literature give a measurement, or null; not_graded: why a finding "
    "has no grade; grade, probabilities, calibrated, by_measurement and place are then null"
)

_FRAMES = (
    "x, y: column and row of the instance, pixel centres at integers; z: fractional slice index "
    "of the series in spatial order; patient: DICOM LPS, millimetres; line: the two ends of a "
    "distance, or the corners of an outline (closed), in the same coordinates as patient"
)

COLUMNS = (
    *("study_id", "finding", "condition", "side", "level", "grade"),
    *(g.column for g in Grade),
    *(f"calibrated_{g.column}" for g in Grade),
    *("not_graded", *PLACE_COLUMNS),
    *("measured_grade", "quantity", "value", "unit", "moderate_from", "severe_from"),
)

MEASUREMENT_COLUMNS = (
    *("study_id", "quantity", "level", "side", "value", "unit", "quality", "remark"),
    *("view", "series_id", "instance_number"),
)


@dataclass(frozen=True)
class SeriesLine:
    """One series of a graded study.

    Attributes:
        series_id: its id.
        kind: one of the three kinds, or None.
        slices, rows, columns: its size.
        pictures: pictures by condition with side; paths are relative to the study's folder.
    """

    series_id: str
    kind: SeriesKind | None
    slices: int
    rows: int
    columns: int
    pictures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GradedStudy:
    """Content of a findings file.

    Attributes:
        prediction: the 25 findings, graded or absent, the models and the problems.
        series: the study's series.
        flip: whether predictions of any model were averaged with those of mirrored volumes.
        fingerprint: fingerprint of the images, models and settings.
        about: what a reader must know of the models; see `Predictor.about`.
        version: version of this package that wrote the file.
    """

    prediction: StudyPrediction
    series: tuple[SeriesLine, ...]
    flip: bool
    fingerprint: str
    about: str = ""
    version: str = __version__


@dataclass(frozen=True)
class _Shares:
    """Probabilities by grade."""

    normal_mild: float
    moderate: float
    severe: float

    @classmethod
    def of(cls, probabilities: Probabilities | None) -> _Shares | None:
        return None if probabilities is None else cls(*map(float, probabilities))

    @property
    def probabilities(self) -> Probabilities:
        return self.normal_mild, self.moderate, self.severe


@dataclass(frozen=True)
class _Place:
    series_id: str
    instance_number: int
    x: float
    y: float
    z: float
    patient: Xyz | None


@dataclass(frozen=True)
class _Opinion:
    """`Opinion` as it is stored."""

    grade: str
    quantity: Quantity
    unit: str
    value: float
    moderate_from: float
    severe_from: float | None
    source: str
    quality: Quality
    reason: str

    @classmethod
    def of(cls, opinion: Opinion | None) -> _Opinion | None:
        if opinion is None:
            return None
        o, unit = opinion, opinion.quantity.unit
        limits = (o.moderate, o.severe, o.source, o.quality, o.reason)
        return cls(o.grade.column, o.quantity, unit, o.value, *limits)

    def read(self) -> Opinion:
        _require_unit(self.quantity, self.unit)
        limits = (self.moderate_from, self.severe_from, self.source, self.quality, self.reason)
        return Opinion(grade_from_name(self.grade), self.quantity, self.value, *limits)


@dataclass(frozen=True)
class _Measured:
    """`Measurement` as it is stored, with its unit."""

    quantity: Quantity
    unit: str
    level: Level | None
    side: Side | None
    value: float
    view: SeriesKind
    series_id: str
    instance_number: int
    quality: Quality
    remark: str
    line: tuple[Xyz, ...]
    closed: bool

    @classmethod
    def of(cls, measurement: Measurement) -> _Measured:
        return cls(unit=measurement.quantity.unit, **asdict(measurement))

    def read(self) -> Measurement:
        _require_unit(self.quantity, self.unit)
        return Measurement(**{k: v for k, v in vars(self).items() if k != "unit"})


def _require_unit(quantity: Quantity, unit: str) -> None:
    if unit != quantity.unit:
        raise ValueError(f"{quantity} in {unit!r}, not in {quantity.unit}")


@dataclass(frozen=True)
class _Entry:
    """A finding, or the reason why it is absent."""

    finding: str
    condition: Condition
    side: Side | None
    level: Level
    grade: str | None
    probabilities: _Shares | None
    calibrated: _Shares | None
    by_measurement: _Opinion | None
    not_graded: str | None
    place: _Place | None
    models: tuple[ModelSource, ...]

    @classmethod
    def of(cls, prediction: StudyPrediction, target: Target) -> _Entry:
        name = (target.column, target.condition, target.side, target.level)
        finding, reason = _finding_or_reason(prediction, target)
        if finding is None:
            return cls(*name, None, None, None, None, reason, None, ())
        at, place = finding.point, None
        if at is not None:
            place = _Place(at.series_id, at.instance_number, *at.voxel, at.patient)
        shares = _Shares.of(finding.probabilities), _Shares.of(finding.calibrated)
        opinion = _Opinion.of(finding.opinion)
        return cls(*name, finding.grade.column, *shares, opinion, None, place, finding.sources)

    def read(self) -> Finding | str:
        """Return the finding, or the reason why there is none."""
        target = target_from_column(self.finding)
        if self.grade is None:
            if self.not_graded is None:
                raise ValueError(f"{self.finding} has neither a grade nor a reason in not_graded")
            if self.probabilities is not None:
                raise ValueError(f"{self.finding} has probabilities but no grade")
            return self.not_graded
        if self.not_graded is not None:
            raise ValueError(f"{self.finding} has both a grade and a reason in not_graded")
        if self.probabilities is None:
            raise ValueError(f"{self.finding} has a grade but no probabilities")
        point = None
        if (at := self.place) is not None:
            voxel = (at.x, at.y, at.z)
            point = Point(target, at.series_id, at.instance_number, voxel, at.patient)
        calibrated = None if self.calibrated is None else self.calibrated.probabilities
        opinion = None if self.by_measurement is None else self.by_measurement.read()
        shares = self.probabilities.probabilities
        return Finding(target, shares, point, self.models, calibrated, opinion)


@dataclass(frozen=True)
class StoredFindings:
    """The content as it is stored."""

    format: int
    lumbargrade: str
    notice: str
    about: str
    study_id: str
    frames: str
    meaning: str
    numbering: Numbering | None
    findings: tuple[_Entry, ...]
    measurements: tuple[_Measured, ...]
    models: tuple[ModelSource, ...]
    engines: tuple[EngineUse, ...] = field(default=(), metadata=ADDED_LATER, kw_only=True)
    flip: bool
    series: tuple[SeriesLine, ...]
    problems: tuple[Problem, ...]
    fingerprint: str


def write_findings(path: Path, graded: GradedStudy) -> None:
    """Write a findings file atomically.

    Raises:
        ValueError: if a target is neither graded nor absent.
    """
    prediction = graded.prediction
    content = StoredFindings(
        format=FORMAT,
        lumbargrade=graded.version,
        notice=NOTICE,
        about=graded.about,
        study_id=prediction.study_id,
        frames=_FRAMES,
        meaning=(_OF_STARTER if graded.about else _OF_TRAINED) + _MEANING,
        numbering=prediction.numbering,
        findings=tuple(_Entry.of(prediction, t) for t in FINDINGS),
        measurements=tuple(map(_Measured.of, prediction.measurements)),
        models=prediction.sources,
        engines=prediction.engines,
        flip=graded.flip,
        series=graded.series,
        problems=prediction.problems,
        fingerprint=graded.fingerprint,
    )
    write_text(path, json.dumps(asdict(content), indent=1, allow_nan=False) + "\n")


def _finding_or_reason(prediction: StudyPrediction, target: Target) -> tuple[Finding | None, str]:
    """Return the finding and an empty reason, or None and the reason."""
    if (finding := prediction.findings.get(target)) is not None:
        return finding, ""
    if target not in prediction.absent:
        raise ValueError(f"{target.column} is neither graded nor absent with a reason")
    return None, prediction.absent[target]


def read_findings(path: Path) -> GradedStudy:
    """Read a file that :func:`write_findings` wrote.

    Raises:
        BadInput: if it is another kind of file, is damaged, or has another format.
    """
    data = read_plain(path, BadInput)
    if data.get("format") != FORMAT:
        raise BadInput(
            f"{path}: findings of format {data.get('format')}, not {FORMAT}; "
            "run `lumbargrade grade` again, or use a findings.csv, which all versions can read"
        )
    origin = f"{path}: not a findings file, or damaged"
    content = structured(data, StoredFindings, origin, "findings", BadInput)
    try:
        found = {target_from_column(e.finding): e.read() for e in content.findings}
        prediction = StudyPrediction(
            content.study_id,
            {t: f for t, f in found.items() if isinstance(f, Finding)},
            content.models,
            content.problems,
            {t: f for t, f in found.items() if isinstance(f, str)},
            measurements=tuple(m.read() for m in content.measurements),
            numbering=content.numbering,
            engines=content.engines,
        )
    except ValueError as error:
        raise BadInput(f"{origin}: {error}") from None
    if missing := [t.column for t in FINDINGS if t not in found]:
        raise BadInput(
            f"{path}: no findings {', '.join(missing)}; `lumbargrade grade` writes it again"
        )
    return GradedStudy(
        prediction,
        content.series,
        content.flip,
        content.fingerprint,
        content.about,
        content.lumbargrade,
    )


def write_findings_csv(path: Path, prediction: StudyPrediction) -> None:
    """Write the table of a study's findings atomically; see `findings_rows`."""
    write_table(path, COLUMNS, findings_rows(prediction))


def findings_rows(prediction: StudyPrediction) -> list[list[object]]:
    """Return 25 rows of the columns `COLUMNS`.

    An absent finding has its reason in ``not_graded`` and no grade, probabilities or point.
    """
    return [_csv_row(prediction, target) for target in FINDINGS]


def _csv_row(prediction: StudyPrediction, target: Target) -> list[object]:
    finding, reason = _finding_or_reason(prediction, target)
    start = (prediction.study_id, target.column, target.condition, target.side, target.level)
    empty = (None,) * len(Grade)
    if finding is None:
        return [*start, None, *empty, *empty, reason, *point_cells(None), *_opinion_cells(None)]
    calibrated = finding.calibrated or empty
    return [
        *(*start, finding.grade.column, *finding.probabilities, *calibrated, reason),
        *point_cells(finding.point),
        *_opinion_cells(finding.opinion),
    ]


def _opinion_cells(opinion: Opinion | None) -> list[object]:
    if opinion is None:
        return [None] * 6
    o = opinion
    return [o.grade.column, o.quantity, o.value, o.quantity.unit, o.moderate, o.severe]


def write_measurements_csv(path: Path, prediction: StudyPrediction) -> None:
    """Write the table of a study's measurements atomically; see `measurement_rows`."""
    write_table(path, MEASUREMENT_COLUMNS, measurement_rows(prediction))


def measurement_rows(prediction: StudyPrediction) -> list[list[object]]:
    """Return a row of the columns `MEASUREMENT_COLUMNS` per measurement."""
    return [[prediction.study_id, *_measurement_cells(m)] for m in prediction.measurements]


def _measurement_cells(m: Measurement) -> list[object]:
    what = (m.quantity, m.level, m.side, m.value, m.quantity.unit, m.quality, m.remark)
    return [*what, m.view, m.series_id, m.instance_number]
