"""Write a result as a DICOM structured report (Comprehensive 3D SR, template TID 1500).

A finding with a place is a measurement group (TID 1501): tracking identifier and UID, finding,
finding sites (structure with laterality, and level), grade, and its numbers, each of which was
inferred from the point in the image. Viewers that read such reports draw the groups that have a
point and fail on groups that have none, so findings without a place, and the reasons of those that
are not graded, are among the qualitative evaluations instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lumbargrade.dicom_results import codes
from lumbargrade.dicom_results.origin import MAKER, ImageReference, Origin, plain, tracking_uid
from lumbargrade.domain.findings import Finding
from lumbargrade.domain.measurement import Measurement, Quality
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import TABLE_ORDER, Grade, Target, plain_name
from lumbargrade.files.writing import atomic_path
from lumbargrade.grading.findings_file import NOTICE, GradedStudy

if TYPE_CHECKING:
    from highdicom.sr import Comprehensive3DSR, ContentItem, FindingSite
    from highdicom.sr import Measurement as Number
    from pydicom.dataset import Dataset
    from pydicom.sr.coding import Code

REPORT_FILE = "sr.dcm"

#: Number of the series of our objects, far from those of scanners.
SERIES_NUMBER = 9101
SERIES_DESCRIPTION = "lumbargrade findings"

#: Viewers built on Cornerstone3D make marks of groups whose tracking identifier begins like this.
#: What follows is for readers.
TRACKING = "Cornerstone3DTools@^0.1.0:ArrowAnnotate:"


def write_report(path: Path, graded: GradedStudy, origin: Origin) -> None:
    """Write the structured report of a result atomically; each has a new SOPInstanceUID.

    Raises:
        OSError: if it cannot be written.
    """
    report = make_report(graded, origin)
    with atomic_path(path) as temporary:
        report.save_as(temporary, enforce_file_format=True)


def make_report(
    graded: GradedStudy, origin: Origin, *, time: datetime | None = None
) -> Comprehensive3DSR:
    """Return the structured report of a result."""
    import highdicom as hd
    from highdicom.sr import Comprehensive3DSR

    content = _Content(graded, origin)
    uid = hd.UID()
    report = Comprehensive3DSR(
        evidence=origin.evidence_items(),
        content=content.root(str(uid)),
        series_instance_uid=hd.UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer=MAKER,
        is_complete=True,
        specific_character_set="ISO_IR 192",
        series_description=SERIES_DESCRIPTION,
        manufacturer_model_name=MAKER,
        software_versions=graded.version,
        coding_schemes=[_scheme()],
    )
    origin.put_patient(report)
    return report


def _scheme() -> Dataset:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    return CodingSchemeIdentificationItem(
        designator=codes.SCHEME,
        name=codes.SCHEME_NAME,
        responsible_organization=codes.SCHEME_MAKER,
    )


@dataclass(frozen=True)
class _Content:
    """The content of the report of a result."""

    graded: GradedStudy
    origin: Origin

    def root(self, device_uid: str) -> Dataset:
        """The whole content.

        Args:
            device_uid: UID of the observing device.
        """
        from highdicom.sr import (
            ContainerContentItem,
            ContentSequence,
            DeviceObserverIdentifyingAttributes,
            ObserverContext,
        )
        from highdicom.sr.templates import DEFAULT_LANGUAGE, LanguageOfContentItemAndDescendants
        from pydicom.sr.codedict import codes as standard

        root = ContainerContentItem(codes.TITLE, template_id="1500")
        content = ContentSequence(LanguageOfContentItemAndDescendants(DEFAULT_LANGUAGE))
        device = DeviceObserverIdentifyingAttributes(
            uid=tracking_uid("", f"{MAKER} {self.graded.version}"),
            name=MAKER,
            manufacturer_name=MAKER,
            model_name=MAKER,
            serial_number=self.graded.version,
        )
        content.extend(ObserverContext(standard.DCM.Device, device))
        content.append(_code(codes.PROCEDURE_REPORTED, codes.PROCEDURE, "HAS CONCEPT MOD"))
        groups = [item for item in map(self._group, TABLE_ORDER) if item is not None]
        if groups:
            content.append(self._library())
            content.append(_container(codes.MEASUREMENTS, groups))
        content.append(_container(codes.EVALUATIONS, self._evaluations()))
        root.ContentSequence = content
        return root

    def _image(self, point: Point | None) -> ImageReference | None:
        """The image that shows a point; None if it is not known."""
        if point is None:
            return None
        return self.origin.images.get((point.series_id, point.instance_number))

    def _library(self) -> ContentItem:
        """The images that show a point, by series."""
        from highdicom.sr import ImageContentItem

        series: dict[str, list[ImageReference]] = {}
        found = self.graded.prediction.findings
        shown = [self._image(found[t].point) for t in TABLE_ORDER if t in found]
        for image in dict.fromkeys(i for i in shown if i is not None):
            series.setdefault(image.series_uid, []).append(image)
        groups = []
        for images in series.values():
            items: list[ContentItem] = [_code(codes.MODALITY, codes.MR, "HAS ACQ CONTEXT")]
            items += [
                ImageContentItem(
                    name=codes.SOURCE,
                    referenced_sop_class_uid=i.sop_class,
                    referenced_sop_instance_uid=i.sop_instance,
                    referenced_frame_numbers=i.frames,
                    relationship_type="CONTAINS",
                )
                for i in images
            ]
            groups.append(_container(codes.IMAGE_GROUP, items))
        return _container(codes.IMAGE_LIBRARY, groups)

    def _group(self, target: Target) -> ContentItem | None:
        """The measurement group of a finding with a place; None for any other target."""
        from highdicom.sr import (
            AlgorithmIdentification,
            MeasurementsAndQualitativeEvaluations,
            QualitativeEvaluation,
            TrackingIdentifier,
        )

        finding = self.graded.prediction.findings.get(target)
        if finding is None or finding.point is None:
            return None
        image = self._image(finding.point)
        if image is None:
            return None
        grades = [QualitativeEvaluation(codes.SEVERITY, codes.GRADE_OF[finding.grade])]
        if finding.opinion is not None:
            by_measurement = codes.GRADE_OF[finding.opinion.grade]
            grades.append(QualitativeEvaluation(codes.BY_MEASUREMENT, by_measurement))
        template = MeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(
                uid=tracking_uid(self.origin.study_uid, target.column),
                identifier=f"{TRACKING}{target.column}",
            ),
            finding_type=codes.STENOSIS,
            finding_sites=_sites(target),
            algorithm_id=AlgorithmIdentification(
                name=MAKER, version=self.graded.version, parameters=self._parameters()
            ),
            measurements=_measurements(self._numbers(finding), finding.point, image),
            qualitative_evaluations=grades,
        )
        group = cast("ContentItem", template[0])
        group.ContentSequence.append(_text(codes.COMMENT, _label(finding)))
        if finding.opinion is not None and finding.opinion.reason:
            reason = _text(codes.REASON_OF_MEASUREMENT, finding.opinion.reason)
            group.ContentSequence.append(reason)
        return group

    def _parameters(self) -> list[str]:
        return [f"model {source}" for source in self.graded.prediction.sources]

    def _numbers(self, finding: Finding) -> list[tuple[Code, float, Code]]:
        """Concept, value and unit of the probabilities and measurements of a finding."""
        one = codes.UNIT["ratio"]
        numbers = [(codes.PROBABILITY[g], finding.probabilities[g], one) for g in Grade]
        if finding.calibrated is not None:
            numbers += [(codes.CALIBRATED[g], finding.calibrated[g], one) for g in Grade]
        numbers += [
            (codes.QUANTITY[m.quantity], m.value, codes.UNIT[m.quantity.unit])
            for m in self._measured(finding.target)
        ]
        return [(concept, float(value), unit) for concept, value, unit in numbers]

    def _measured(self, target: Target) -> list[Measurement]:
        """The measurements that can be relied on and belong to a finding."""
        return [
            m
            for m in self.graded.prediction.measurements
            if m.quantity in codes.QUANTITIES_OF[target.condition]
            and (m.level, m.side) == (target.level, target.side)
            and m.quality is Quality.GOOD
        ]

    def _evaluations(self) -> list[ContentItem]:
        """Notes, the findings without a place, and the reasons of those that are not graded."""
        prediction = self.graded.prediction
        items = [_text(codes.NOTICE, NOTICE)]
        if self.graded.about:
            items.append(_text(codes.COMMENT, self.graded.about))
        if prediction.numbering is not None:
            items.append(_text(codes.NUMBERING, prediction.numbering.reason))
        items.append(_text(codes.FINGERPRINT, self.graded.fingerprint))
        for target in TABLE_ORDER:
            finding = prediction.findings.get(target)
            if finding is None:
                items.append(_not_graded(target, prediction.absent[target]))
            elif self._image(finding.point) is None:
                items.append(self._placeless(finding))
        return items

    def _placeless(self, finding: Finding) -> ContentItem:
        """A finding that is not in any image: its grade, with its sites and numbers."""
        from highdicom.sr import ContentSequence, NumContentItem

        item = _code(codes.SEVERITY, codes.GRADE_OF[finding.grade])
        parts: list[ContentItem] = list(_sites(finding.target))
        for concept, value, unit in self._numbers(finding):
            parts.append(NumContentItem(concept, value, unit, relationship_type="HAS PROPERTIES"))
        if finding.opinion is not None:
            grade = codes.GRADE_OF[finding.opinion.grade]
            parts.append(_code(codes.BY_MEASUREMENT, grade, "HAS PROPERTIES"))
        item.ContentSequence = ContentSequence(parts)
        return item


def _sites(target: Target) -> Sequence[FindingSite]:
    """Structure with laterality, and level."""
    from highdicom.sr import FindingSite

    side = None if target.side is None else codes.LATERALITY[target.side]
    return [
        FindingSite(codes.SITE_OF[target.condition], laterality=side),
        FindingSite(codes.LEVEL_OF[target.level]),
    ]


def _measurements(
    numbers: Iterable[tuple[Code, float, Code]], point: Point, image: ImageReference
) -> list[Number]:
    """Numbers that were inferred from a point in an image.

    Viewers read the point from the numbers, and expect nothing else below them.
    """
    import numpy as np
    from highdicom.sr import CoordinatesForMeasurement, SourceImageForRegion
    from highdicom.sr import Measurement as Number

    found = []
    for concept, value, unit in numbers:
        source = SourceImageForRegion(image.sop_class, image.sop_instance, image.frames)
        # DICOM counts from the corner of the first pixel, we from its centre
        where = np.array([[point.x + 0.5, point.y + 0.5]])
        at = CoordinatesForMeasurement("POINT", where, source)
        found.append(Number(concept, value, unit, referenced_coordinates=[at]))
    return found


def _not_graded(target: Target, reason: str) -> ContentItem:
    from highdicom.sr import ContentSequence

    item = _text(codes.NOT_GRADED, reason)
    item.ContentSequence = ContentSequence(_sites(target))
    return item


def _label(finding: Finding) -> str:
    """What viewers write beside the point."""
    target, grade = finding.target, finding.grade
    what = plain_name(target.sided_condition)
    text = f"{target.level.label} {what}: {grade.label.lower()} ({finding.shown[grade]:.0%})"
    if finding.opinion is not None and finding.disputed:
        text += f"; by measurement {finding.opinion.grade.label.lower()}"
    return text


def _container(concept: Code, items: Sequence[ContentItem]) -> ContentItem:
    from highdicom.sr import ContainerContentItem, ContentSequence

    container = ContainerContentItem(concept, relationship_type="CONTAINS")
    container.ContentSequence = ContentSequence(items)
    return container


def _code(concept: Code, value: Code, relationship: str = "CONTAINS") -> ContentItem:
    from highdicom.sr import CodeContentItem

    return CodeContentItem(concept, value, relationship_type=relationship)


def _text(concept: Code, text: str, relationship: str = "CONTAINS") -> ContentItem:
    from highdicom.sr import TextContentItem

    # a text must not be empty
    return TextContentItem(concept, plain(text) or "-", relationship_type=relationship)
