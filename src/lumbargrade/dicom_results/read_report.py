"""Read a structured report that this package wrote back to its findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydicom.errors import InvalidDicomError

from lumbargrade.dicom.slices import MAKER
from lumbargrade.dicom_results import codes
from lumbargrade.dicom_results.origin import ImageReference
from lumbargrade.domain.errors import BadDicom, one_line
from lumbargrade.domain.findings import Probabilities
from lumbargrade.domain.vocabulary import FINDINGS, Grade, Target
from lumbargrade.grading.review_file import Status

if TYPE_CHECKING:
    from highdicom.sr import ContentItem
    from pydicom.dataset import Dataset
    from pydicom.sr.coding import Code

T = TypeVar("T")

_DAMAGED = (AttributeError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class ReportedFinding:
    """A finding as a report has it.

    Attributes:
        target: what was graded.
        grade: its grade, that of the reader if there is a review; None if it is not graded.
        reason: why the models did not grade it; empty if they did.
        probabilities, calibrated: of normal/mild, moderate and severe; None if there are none.
        by_measurement: the grade by the measurement, if there is one.
        image: the image that shows it; None if it has no place.
        xy: column and row in that image, pixel centres at integers, in single precision.
        tracking_uid: its tracking UID; empty if it has no place.
        status: what a reader decided about it; None if nobody reviewed the result.
        before: the grade before a reader overruled it; None if it was not graded or not overruled.
    """

    target: Target
    grade: Grade | None
    reason: str = ""
    probabilities: Probabilities | None = None
    calibrated: Probabilities | None = None
    by_measurement: Grade | None = None
    image: ImageReference | None = None
    xy: tuple[float, float] | None = None
    tracking_uid: str = ""
    status: Status | None = None
    before: Grade | None = None


@dataclass(frozen=True)
class Report:
    """A structured report of this package.

    Attributes:
        dataset: the whole object.
        fingerprint: fingerprint of the result.
        findings: the findings by target.
        evidence: all images of the study that it refers to.
    """

    dataset: Dataset
    fingerprint: str
    findings: Mapping[Target, ReportedFinding]
    evidence: tuple[ImageReference, ...]

    @property
    def verified(self) -> bool:
        """Whether a reader has verified it."""
        return str(self.dataset.get("VerificationFlag", "")) == "VERIFIED"


def is_own(dataset: Dataset) -> bool:
    """Whether an object was made by this package."""
    made = (dataset.get("Manufacturer"), dataset.get("ManufacturerModelName"))
    return made == (MAKER, MAKER)


def read_report(path: Path) -> Report:
    """Read a structured report.

    Raises:
        BadDicom: if it cannot be read, or is not a report of this package.
    """
    from highdicom.sr import srread

    try:
        dataset = srread(path)
        if not is_own(dataset):
            raise BadDicom(f"{path}: a structured report that lumbargrade did not write")
        return _report(dataset)
    except BadDicom:
        raise
    except OSError as error:
        raise BadDicom(f"{path}: {error.strerror or one_line(error)}") from None
    # what pydicom and highdicom raise for a damaged or foreign object
    except (InvalidDicomError, LookupError, *_DAMAGED) as error:
        raise BadDicom(
            f"{path}: not a structured report of lumbargrade, or damaged ({one_line(error)})"
        ) from None


def _report(dataset: Dataset) -> Report:
    evidence = {i.sop_instance: i for i in _evidence(dataset)}
    findings: dict[Target, ReportedFinding] = {}
    fingerprint = ""
    for part in dataset.content[0].ContentSequence:
        if part.name == codes.MEASUREMENTS:
            for group in part.ContentSequence:
                found = _finding(group, evidence)
                findings[found.target] = found
        elif part.name == codes.EVALUATIONS:
            for item in part.ContentSequence:
                if item.name == codes.FINGERPRINT:
                    fingerprint = item.value
                elif item.name in (codes.NOT_GRADED, codes.SEVERITY):
                    found = _finding(item, evidence)
                    findings[found.target] = found
    if missing := [t.column for t in FINDINGS if t not in findings]:
        raise ValueError(f"no findings {', '.join(missing)}")
    return Report(dataset, fingerprint, findings, tuple(evidence.values()))


def _evidence(dataset: Dataset) -> list[ImageReference]:
    """The images of the study that a report refers to, without frames."""
    return [
        ImageReference(
            str(series.SeriesInstanceUID),
            str(image.ReferencedSOPClassUID),
            str(image.ReferencedSOPInstanceUID),
        )
        for study in dataset.get("CurrentRequestedProcedureEvidenceSequence", ())
        for series in study.ReferencedSeriesSequence
        for image in series.ReferencedSOPSequence
    ]


def _finding(item: ContentItem, evidence: Mapping[str, ImageReference]) -> ReportedFinding:
    """A finding of a measurement group, or one without a place."""
    inside = list(item.ContentSequence)
    target = _target(inside)
    coded = {i.name: i.value for i in inside if i.ValueType == "CODE"}
    status = _optional(coded.get(codes.REVIEW), codes.REVIEW_OF)
    before = coded.get(codes.GRADE_BEFORE)
    if before is not None and before == codes.NOT_GRADED:
        before = None
    review = (status, _optional(before, codes.GRADE_OF))
    if item.name == codes.NOT_GRADED:
        by_reader = _optional(coded.get(codes.SEVERITY), codes.GRADE_OF)
        own = ReportedFinding(target, by_reader, item.value)
        return replace(own, status=review[0], before=review[1])
    numbers = {i.name: i for i in inside if i.ValueType == "NUM"}
    grade = item.value if item.name == codes.SEVERITY else coded[codes.SEVERITY]
    image, xy = None, None
    first = numbers[codes.PROBABILITY[Grade.NORMAL_MILD]]
    if "ContentSequence" in first:
        point = first.ContentSequence[0]
        reference = point.ContentSequence[0].ReferencedSOPSequence[0]
        known = evidence[str(reference.ReferencedSOPInstanceUID)]
        frame = int(reference.get("ReferencedFrameNumber", 0))
        image = ImageReference(known.series_uid, known.sop_class, known.sop_instance, frame)
        x, y = (float(v) - 0.5 for v in point.GraphicData)
        xy = (x, y)
    tracking = [i.value for i in inside if i.ValueType == "UIDREF"]
    return ReportedFinding(
        target,
        _decoded(grade, codes.GRADE_OF),
        "",
        _probabilities(numbers, codes.PROBABILITY),
        _probabilities(numbers, codes.CALIBRATED),
        _optional(coded.get(codes.BY_MEASUREMENT), codes.GRADE_OF),
        image,
        xy,
        str(tracking[0]) if tracking else "",
        *review,
    )


def _target(inside: list[ContentItem]) -> Target:
    """The target that finding sites name."""
    sites = [i for i in inside if i.ValueType == "CODE" and i.name == codes.FINDING_SITE]
    place, level = sites
    side = None
    if "ContentSequence" in place:
        side = _decoded(place.ContentSequence[0].value, codes.LATERALITY)
    condition = _decoded(place.value, codes.SITE_OF)
    return Target(condition, _decoded(level.value, codes.LEVEL_OF), side)


def _decoded(value: Code, table: Mapping[T, Code]) -> T:
    for meaning, code in table.items():
        if value == code:
            return meaning
    raise ValueError(f"unknown code {value.value!r} of {value.scheme_designator!r}")


def _optional(value: Code | None, table: Mapping[T, Code]) -> T | None:
    return None if value is None else _decoded(value, table)


def _probabilities(
    numbers: Mapping[Code, ContentItem], table: Mapping[Grade, Code]
) -> Probabilities | None:
    if table[Grade.NORMAL_MILD] not in numbers:
        return None
    low, middle, high = (float(numbers[table[g]].value) for g in Grade)
    return low, middle, high
