"""Read and write the result of a study as JSON that reads back exactly; its schema is shipped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

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
    Level,
    SeriesKind,
    Side,
    Target,
    grade_from_name,
    target_from_column,
)
from lumbargrade.files.structures import ADDED_LATER, read_plain, structured
from lumbargrade.files.writing import write_text
from lumbargrade.grading.graded import GradedStudy, SeriesLine, finding_or_reason
from lumbargrade.grading.review_file import GRADE_OR_NULL, Review

#: Version of the JSON layout; bumped when older programs could misread a newer file.
FORMAT = 4

NOTICE = "Research software, not a medical device; it must not be used to diagnose or treat."


_OF_TRAINED = (
    "probabilities: from the models, which are trained with weights 1, 2, 4 and therefore predict "
    "severe grades more often than they occur; "
)
_OF_STARTER = "probabilities: not frequencies, see about; "
_MEANING = (
    "calibrated: as frequencies, from a calibration "
    "fitted to studies that the models had not seen, or null if there is none; grade: the most "
    "probable grade, by the calibrated probabilities if there are any, or that of the reader who "
    "overruled it; model_grade: the grade of the models; by_measurement: the grade that thresholds "
    "from the literature give a measurement, or null; not_graded: why the models give no grade; "
    "model_grade, probabilities, calibrated, by_measurement and place are then null"
)

_FRAMES = (
    "x, y: column and row of the instance, pixel centres at integers; z: fractional slice index "
    "of the series in spatial order; patient: DICOM LPS, millimetres; line: the two ends of a "
    "distance, or the corners of an outline (closed), in the same coordinates as patient"
)


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
    """Where a finding is.

    Attributes:
        series_id, instance_number: the image nearest to it; the number is -1 if unknown.
        sop_instance_uid: SOPInstanceUID of this image; empty if unknown.
        x, y: column and row in this image, pixel centres at integers.
        z: fractional slice index in the series.
        patient: DICOM LPS, mm; null if the geometry is unknown.
    """

    series_id: str
    instance_number: int
    sop_instance_uid: str
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
    """A finding, or the reason why the models give none.

    Attributes:
        finding: its name: side, condition and level.
        condition, side, level: its parts; the side is null for the canal.
        grade: the reader's grade if the reader overruled that of the models, otherwise theirs.
        model_grade: the grade of the models.
        probabilities: of the models, for each grade.
        calibrated: the probabilities as frequencies.
        by_measurement: the grade that thresholds from the literature give a measurement.
        not_graded: why the models give no grade, or why the reader rejected it.
        place: where it is; null if no model located it.
        models: the models that contributed.
    """

    finding: str = field(metadata={"schema": {"enum": [t.column for t in FINDINGS]}})
    condition: Condition
    side: Side | None
    level: Level
    grade: str | None = field(metadata=GRADE_OR_NULL)
    model_grade: str | None = field(metadata=GRADE_OR_NULL)
    probabilities: _Shares | None
    calibrated: _Shares | None
    by_measurement: _Opinion | None
    not_graded: str | None
    place: _Place | None
    models: tuple[ModelSource, ...]

    @classmethod
    def of(cls, graded: GradedStudy, target: Target) -> _Entry:
        grade = graded.grade(target)
        column = None if grade is None else grade.column
        name = (target.column, target.condition, target.side, target.level, column)
        finding, reason = finding_or_reason(graded.prediction, target)
        if finding is None:
            return cls(*name, None, None, None, None, reason, None, ())
        at, place = finding.point, None
        if at is not None:
            uid = graded.sop_instance_uid(at.series_id, at.instance_number)
            place = _Place(at.series_id, at.instance_number, uid, *at.voxel, at.patient)
        shares = _Shares.of(finding.probabilities), _Shares.of(finding.calibrated)
        opinion = _Opinion.of(finding.opinion)
        model = finding.model_grade.column
        return cls(*name, model, *shares, opinion, None, place, finding.sources)

    def read(self) -> Finding | str:
        """Return the finding, or the reason why there is none."""
        target = target_from_column(self.finding)
        if self.model_grade is None:
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
        by_reader = None
        if self.grade != self.model_grade:
            if self.grade is None:
                raise ValueError(f"{self.finding} has a model_grade but no grade")
            by_reader = grade_from_name(self.grade)
        return Finding(target, shares, point, self.models, calibrated, opinion, by_reader)


@dataclass(frozen=True)
class StoredFindings:
    """The result of a study: its 25 findings and how they were made.

    Attributes:
        format: version of the layout of this file.
        lumbargrade: version of the program that graded the study.
        time: when it was graded, as ISO 8601 with time zone; empty if unknown.
        notice: what the result must not be used for.
        about: what a reader must know of the models; may be empty.
        study_id: StudyInstanceUID, or the id of the study in a data set.
        frames: what the coordinates are.
        meaning: what the keys of a finding mean.
        numbering: how the levels were named; null if the models do not decide this explicitly.
        findings: all 25 findings.
        measurements: what the models measured.
        models: the models that contributed.
        engines: what ran the models.
        flip: whether predictions were averaged with those of mirrored volumes.
        series: the study's series.
        problems: what was wrong with the images, and which images were left out.
        fingerprint: fingerprint of the images, models and settings, and of the review if any.
        review: the reader's review that was applied, or null.
    """

    format: int = field(metadata={"schema": {"const": FORMAT}})
    lumbargrade: str
    time: str
    notice: str
    about: str
    study_id: str
    frames: str
    meaning: str
    numbering: Numbering | None
    findings: tuple[_Entry, ...] = field(
        metadata={"schema": {"minItems": len(FINDINGS), "maxItems": len(FINDINGS)}}
    )
    measurements: tuple[_Measured, ...]
    models: tuple[ModelSource, ...]
    engines: tuple[EngineUse, ...] = field(default=(), metadata=ADDED_LATER, kw_only=True)
    flip: bool
    series: tuple[SeriesLine, ...]
    problems: tuple[Problem, ...]
    fingerprint: str
    review: Review | None


def write_findings(path: Path, graded: GradedStudy) -> None:
    """Write a findings file atomically.

    Raises:
        ValueError: if a target is neither graded nor absent.
    """
    prediction = graded.prediction
    content = StoredFindings(
        format=FORMAT,
        lumbargrade=graded.version,
        time=graded.time,
        notice=NOTICE,
        about=graded.about,
        study_id=prediction.study_id,
        frames=_FRAMES,
        meaning=(_OF_STARTER if graded.about else _OF_TRAINED) + _MEANING,
        numbering=prediction.numbering,
        findings=tuple(_Entry.of(graded, t) for t in FINDINGS),
        measurements=tuple(map(_Measured.of, prediction.measurements)),
        models=prediction.sources,
        engines=prediction.engines,
        flip=graded.flip,
        series=graded.series,
        problems=prediction.problems,
        fingerprint=graded.fingerprint,
        review=graded.review,
    )
    write_text(path, json.dumps(asdict(content), indent=1, allow_nan=False) + "\n")


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
    graded = GradedStudy(
        prediction,
        content.series,
        content.flip,
        content.fingerprint,
        content.about,
        content.lumbargrade,
        content.time,
        content.review,
    )
    for entry in content.findings:
        grade = graded.grade(target_from_column(entry.finding))
        if entry.grade != (None if grade is None else grade.column):
            raise BadInput(f"{origin}: the grade of {entry.finding} is not that of the review")
    return graded
