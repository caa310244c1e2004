"""Content of the structured report of a result, by the templates TID 1500 and TID 1501.

A finding with a place is a measurement group: tracking identifier and UID, finding, finding sites
(structure with laterality, and level), grade, and its numbers, each of which was inferred from the
point in the image. Viewers that read such reports draw the groups that have a point and fail on
groups that have none, so findings without a place, and the reasons of those that are not graded,
are among the qualitative evaluations instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lumbargrade.dicom.slices import MAKER
from lumbargrade.dicom_results import codes
from lumbargrade.dicom_results.origin import ImageReference, Origin, plain, tracking_uid
from lumbargrade.domain.findings import Finding
from lumbargrade.domain.measurement import Measurement, Quality
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import TABLE_ORDER, Condition, Grade, Target
from lumbargrade.grading.findings_file import NOTICE
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.grading.review_file import Status

if TYPE_CHECKING:
    from highdicom.sr import ContentItem, FindingSite
    from highdicom.sr import Measurement as Number
    from pydicom.dataset import Dataset
    from pydicom.sr.coding import Code

#: Words for the mark of a finding, which must be short.
_SHORT = {
    Condition.CANAL: "canal",
    Condition.FORAMINAL: "foramen",
    Condition.SUBARTICULAR: "subarticular",
}

#: Viewers built on Cornerstone3D make marks of groups whose tracking identifier begins like this.
#: What follows is for readers.
TRACKING = "Cornerstone3DTools@^0.1.0:ArrowAnnotate:"


@dataclass(frozen=True)
class Content:
    """The content of the report of a result."""

    graded: GradedStudy
    origin: Origin

    def root(self) -> Dataset:
        """The whole content."""
        from highdicom.sr import (
            ContainerContentItem,
            ContentSequence,
            DeviceObserverIdentifyingAttributes,
            ObserverContext,
            PersonObserverIdentifyingAttributes,
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
        if self.graded.review is not None:
            name = person_name(self.graded.review.reader)
            person = PersonObserverIdentifyingAttributes(name)
            content.extend(ObserverContext(standard.DCM.Person, person))
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
        if (image := self._image(finding.point)) is None:
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
        group.ContentSequence.extend(self._reviewed(target))
        return group

    def _reviewed(self, target: Target, relationship: str = "CONTAINS") -> list[ContentItem]:
        """What the reader decided about a target; empty if nobody reviewed the result."""
        if self.graded.review is None:
            return []
        line = self.graded.review.by_target[target]
        items = [_code(codes.REVIEW, codes.REVIEW_OF[line.status], relationship)]
        if line.status is Status.OVERRULED:
            before = codes.NOT_GRADED if line.before is None else codes.GRADE_OF[line.before]
            items.append(_code(codes.GRADE_BEFORE, before, relationship))
        if line.status is not Status.UNREVIEWED:
            items.append(_text(codes.REVIEWER, f"{line.reader}, {line.time}", relationship))
        if line.comment:
            items.append(_text(codes.REVIEW_COMMENT, line.comment, relationship))
        return items

    def _parameters(self) -> list[str]:
        return [plain(f"model {source}") for source in self.graded.prediction.sources]

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
                items.append(self._not_graded(target, prediction.absent[target]))
            elif self._image(finding.point) is None:
                items.append(self._placeless(finding))
        items += self._other_measurements()
        if (review := self.graded.review) is not None:
            if review.summary:
                items.append(_text(codes.SUMMARY, review.summary))
            items += [_text(codes.LEVEL_TEXT[level], t) for level, t in review.texts.items()]
        return items

    def _other_measurements(self) -> list[ContentItem]:
        """The measurements that can be relied on and belong to no finding, by level."""
        from highdicom.sr import ContentSequence, NumContentItem

        with_findings = {q for quantities in codes.QUANTITIES_OF.values() for q in quantities}
        places: dict[Code, list[ContentItem]] = {}
        for m in self.graded.prediction.measurements:
            if m.quantity in with_findings or m.quality is not Quality.GOOD:
                continue
            number = NumContentItem(
                codes.QUANTITY[m.quantity],
                float(m.value),
                codes.UNIT[m.quantity.unit],
                relationship_type="HAS PROPERTIES",
            )
            place = codes.LUMBAR_SPINE if m.level is None else codes.LEVEL_OF[m.level]
            places.setdefault(place, []).append(number)
        items = []
        for place, numbers in places.items():
            item = _code(codes.MEASURED_AT, place)
            item.ContentSequence = ContentSequence(numbers)
            items.append(item)
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
        parts += self._reviewed(finding.target, "HAS PROPERTIES")
        item.ContentSequence = ContentSequence(parts)
        return item

    def _not_graded(self, target: Target, reason: str) -> ContentItem:
        """A target that the models did not grade: why, and the grade of the reader if any."""
        from highdicom.sr import ContentSequence

        item = _text(codes.NOT_GRADED, reason)
        parts: list[ContentItem] = list(_sites(target))
        if (grade := self.graded.grade(target)) is not None:
            parts.append(_code(codes.SEVERITY, codes.GRADE_OF[grade], "HAS PROPERTIES"))
        item.ContentSequence = ContentSequence([*parts, *self._reviewed(target, "HAS PROPERTIES")])
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

    source = SourceImageForRegion(image.sop_class, image.sop_instance, image.frames)
    # DICOM counts from the corner of the first pixel, we from its centre
    where = np.array([[point.x + 0.5, point.y + 0.5]])
    at = CoordinatesForMeasurement("POINT", where, source)
    return [
        Number(concept, value, unit, referenced_coordinates=[at])
        for concept, value, unit in numbers
    ]


def _label(finding: Finding) -> str:
    """What viewers write beside the point."""
    target, grade = finding.target, finding.grade
    words = [target.level.label, *([target.side] if target.side else []), _SHORT[target.condition]]
    text = f"{' '.join(words)}: {grade.label.lower()}"
    if finding.by_reader is not None:
        return f"{text} (reader; models: {finding.model_grade.label.lower()})"
    text += f" {finding.shown[grade]:.0%}"
    if finding.opinion is not None and finding.disputed:
        text += f" (measured: {finding.opinion.grade.label.lower()})"
    return text


def person_name(name: str) -> str:
    """A name as DICOM writes it; one that is not in parts counts as a family name."""
    name = plain(name, lines=False).replace("\\", " ").replace("=", " ")
    return name if "^" in name else f"{name}^"


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
