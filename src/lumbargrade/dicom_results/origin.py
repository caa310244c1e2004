"""Patient, study and images that a DICOM object refers to, from the images or an earlier report."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom import config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

from lumbargrade.dicom.header import Header, if_usable
from lumbargrade.dicom.study import Study
from lumbargrade.domain.errors import BadDicom
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.graded import GradedStudy, SeriesLine

#: Elements that an object must have, with an empty value if the images have none.
_REQUIRED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
#: Further elements, copied if the images have them.
_OPTIONAL = (
    *("IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "StudyDescription"),
    *("PatientIdentityRemoved", "DeidentificationMethod"),
)
#: Representations of free text; other values are left out if they are not as the standard asks.
_TEXT = frozenset({"LO", "SH"})

_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*")
_LONGEST_UID = _LONGEST_NAME = 64
#: Characters that no text of an object may have; line ends and tabulators are allowed in long text.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

_NAMESPACE = uuid.UUID("6f0d3f0e-4c07-5f43-9d1e-6f9d1b1a6c11")


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image, or a frame of a multi-frame image.

    Attributes:
        series_uid: SeriesInstanceUID.
        sop_class, sop_instance: class and UID of the object.
        frame: number of the frame, from 1; 0 for a single-frame image.
    """

    series_uid: str
    sop_class: str
    sop_instance: str
    frame: int = 0

    @property
    def frames(self) -> list[int] | None:
        """The frame as highdicom takes it."""
        return [self.frame] if self.frame else None


@dataclass(frozen=True)
class Origin:
    """What the objects of a study take from its images.

    Attributes:
        study_uid: StudyInstanceUID.
        patient: elements of patient and study, as in the images.
        images: (series id, instance number) -> the image; series ids are those of the volumes.
        others: further images that belong to the evidence.
    """

    study_uid: str
    patient: Dataset
    images: Mapping[tuple[str, int], ImageReference]
    others: tuple[ImageReference, ...] = ()

    @property
    def evidence(self) -> list[ImageReference]:
        """All images, each once."""
        return list(dict.fromkeys((*self.images.values(), *self.others)))

    def put_patient(self, dataset: Dataset) -> None:
        """Add the elements of patient and study to an object."""
        dataset.SpecificCharacterSet = "ISO_IR 192"
        for element in self.patient:
            dataset[element.tag] = element


def origin_of(study: Study) -> Origin:
    """Return what the objects of a study refer to.

    Raises:
        BadDicom: if the images cannot be referred to, because UIDs are missing, malformed or used
            for several images.
    """
    volumes = (*study.volumes, *study.other)
    if not study.heads:
        raise BadDicom("the images are not DICOM files")
    images: dict[tuple[str, int], ImageReference] = {}
    for volume in volumes:
        if (head := study.heads.get(volume.series_id)) is not None:
            images |= _images(volume, head)
    _require_unique(images.values())
    first = next(study.heads[v.series_id] for v in volumes if v.series_id in study.heads)
    header = Header(Path(), first)
    study_uid = _uid(if_usable(header.text, "StudyInstanceUID", ""), "StudyInstanceUID")
    return Origin(study_uid, _patient(header), images)


def _images(volume: Volume, head: Dataset) -> dict[tuple[str, int], ImageReference]:
    """The image of each slice of a series."""
    header = Header(Path(), head)
    series = _uid(if_usable(header.text, "SeriesInstanceUID", ""), "SeriesInstanceUID")
    kind = if_usable(header.text, "SOPClassUID", "") or str(
        getattr(head, "file_meta", Dataset()).get("MediaStorageSOPClassUID", "")
    )
    sop_class = _uid(kind, "SOPClassUID")
    for one in volume.slices:
        _uid(one.sop_instance_uid, "SOPInstanceUID")
    objects = {one.sop_instance_uid: (series, sop_class) for one in volume.slices}
    return _numbered(SeriesLine.of(volume), objects)


def _numbered(
    line: SeriesLine, objects: Mapping[str, tuple[str, str]]
) -> dict[tuple[str, int], ImageReference]:
    """The image of each slice of a series.

    Slices that are in one object are frames, which are numbered by their place in it.

    Args:
        line: the series.
        objects: SOPInstanceUID -> SeriesInstanceUID, SOPClassUID; others are left out.
    """
    counts = Counter(image.sop_instance_uid for image in line.images)
    return {
        (line.series_id, image.instance_number): ImageReference(
            *objects[image.sop_instance_uid],
            image.sop_instance_uid,
            image.instance_number if counts[image.sop_instance_uid] > 1 else 0,
        )
        for image in line.images
        if image.sop_instance_uid in objects
    }


def origin_of_report(dataset: Dataset, graded: GradedStudy) -> Origin:
    """Return what a report of ours and the findings of the same result refer to.

    So a report can be made again without the images.

    Raises:
        BadDicom: if the report is of another study or names none of the images of the findings.
    """
    objects = {
        str(image.ReferencedSOPInstanceUID): (
            str(series.SeriesInstanceUID),
            str(image.ReferencedSOPClassUID),
        )
        for study in dataset.get("CurrentRequestedProcedureEvidenceSequence", ())
        for series in study.ReferencedSeriesSequence
        for image in series.ReferencedSOPSequence
    }
    images: dict[tuple[str, int], ImageReference] = {}
    for line in graded.series:
        images |= _numbered(line, objects)
    if not images:
        raise BadDicom("the report and the findings have no image in common")
    named = {i.sop_instance for i in images.values()}
    others = tuple(
        ImageReference(*where, instance)
        for instance, where in objects.items()
        if instance not in named
    )
    return Origin(str(dataset.StudyInstanceUID), patient_of(dataset), images, others)


def _require_unique(images: Iterable[ImageReference]) -> None:
    """Require that a SOPInstanceUID names one image."""
    series = {(i.sop_instance, i.series_uid) for i in images}
    counts = Counter(instance for instance, _ in series)
    if several := [instance for instance, count in counts.items() if count > 1]:
        raise BadDicom(
            f"{len(several)} SOPInstanceUIDs, such as {several[0]}, are used in several series, so "
            "a reference would be ambiguous"
        )


def _uid(text: str, keyword: str) -> str:
    """Check a UID.

    Raises:
        BadDicom: if it is empty or malformed.
    """
    if not text:
        raise BadDicom(f"the images have no {keyword}")
    if len(text) > _LONGEST_UID or not _UID.fullmatch(text):
        raise BadDicom(f"{keyword} of the images is not a UID: {plain(text)[:80]!r}")
    return text


def patient_of(dataset: Dataset) -> Dataset:
    """The elements of patient and study of one of our objects."""
    return _patient(Header(Path(), dataset))


def _patient(header: Header) -> Dataset:
    """Copy the elements of patient and study.

    Texts are copied without control characters, whatever their length, because archives find the
    patient by them; only names are cut. Other values that the standard forbids count as absent.
    """
    copied = Dataset()
    for keyword in (*_REQUIRED, *_OPTIONAL):
        representation = dictionary_VR(keyword)
        value = plain(if_usable(header.text, keyword, ""), lines=False)
        if representation == "PN":
            value = "=".join(
                part[:_LONGEST_NAME] for part in value.replace("\\", " ").split("=")[:3]
            )
        if representation not in _TEXT and not _allowed(representation, value):
            value = ""
        if value or keyword in _REQUIRED:
            copied[keyword] = DataElement(
                keyword, representation, value, validation_mode=config.IGNORE
            )
    return copied


def _allowed(representation: str, value: str) -> bool:
    try:
        validate_value(representation, value, config.RAISE)
    except ValueError:
        return False
    return True


def plain(text: str, *, lines: bool = True) -> str:
    """The text without control characters, and without spaces at the end, which DICOM ignores.

    Args:
        text: any text.
        lines: keep line ends and tabulators.
    """
    text = _CONTROL.sub("", text)
    return (text if lines else re.sub(r"[\r\n\t]+", " ", text)).rstrip()


def tracking_uid(study_uid: str, what: str) -> str:
    """Return the UID of something in a study, the same whenever it is reported again."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, f'{study_uid}/{what}').int}"


def references(objects: Mapping[str, str]) -> list[Dataset]:
    """References to objects, SOPInstanceUID -> SOPClassUID, as items of a sequence."""
    items = []
    for instance, sop_class in objects.items():
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = instance
        items.append(item)
    return items
