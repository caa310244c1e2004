"""Write a result as a DICOM structured report (Comprehensive 3D SR, template TID 1500)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, generate_uid

from lumbargrade.dicom.slices import MAKER
from lumbargrade.dicom_results import codes
from lumbargrade.dicom_results.origin import Origin, references
from lumbargrade.dicom_results.report_content import Content, person_name
from lumbargrade.files.writing import atomic_path
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.grading.review_file import Review, Status

REPORT_FILE = "sr.dcm"

#: Number of the series of our reports, far from those of scanners.
SERIES_NUMBER = 9101
SERIES_DESCRIPTION = "lumbargrade findings"

#: A verified report must name an organisation, which a review does not have.
_NO_ORGANISATION = "not stated"


def write_report(
    path: Path, graded: GradedStudy, origin: Origin, *, previous: Dataset | None = None
) -> None:
    """Write the structured report of a result atomically; each has a new SOPInstanceUID.

    Args:
        path: the file.
        graded: the result; one with a reader's review names the reader, and is verified if the
            reader decided about every finding.
        origin: patient, study and images.
        previous: the report that this one replaces.

    Raises:
        OSError: if it cannot be written.
    """
    report = make_report(graded, origin, previous=previous)
    with atomic_path(path) as temporary:
        report.save_as(temporary, enforce_file_format=True)


def make_report(graded: GradedStudy, origin: Origin, *, previous: Dataset | None = None) -> Dataset:
    """Return the structured report of a result; see `write_report`."""
    content = Content(graded, origin).root()
    report = _document(graded, datetime.now())
    report.update(content)
    report.StudyInstanceUID = origin.study_uid
    report.CurrentRequestedProcedureEvidenceSequence = [_evidence(origin)]
    if previous is not None:
        report.PredecessorDocumentsSequence = [_predecessor(previous)]
    origin.put_patient(report)
    return report


def _document(graded: GradedStudy, now: datetime) -> Dataset:
    """The elements that do not depend on the study.

    highdicom has a class for the whole object, but it copies and searches the content several
    times, which takes longer than all the rest, and loads 100 MB of tables.
    """
    report = Dataset()
    report.SOPClassUID = Comprehensive3DSRStorage
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        setattr(report, keyword, generate_uid(prefix=None))
    report.file_meta = FileMetaDataset()
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID
    report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    report.InstanceCreationDate = report.ContentDate = report.SeriesDate = date
    report.InstanceCreationTime = report.ContentTime = report.SeriesTime = time
    report.Modality = "SR"
    report.SeriesNumber, report.InstanceNumber = SERIES_NUMBER, 1
    report.SeriesDescription = SERIES_DESCRIPTION
    report.Manufacturer = report.ManufacturerModelName = MAKER
    report.SoftwareVersions = graded.version
    report.CodingSchemeIdentificationSequence = [_scheme()]
    report.ReferencedPerformedProcedureStepSequence = []
    report.PerformedProcedureCodeSequence = []
    report.CompletionFlag = "COMPLETE"
    report.PreliminaryFlag, report.VerificationFlag = "PRELIMINARY", "UNVERIFIED"
    if graded.review is not None and is_reviewed(graded):
        report.PreliminaryFlag, report.VerificationFlag = "FINAL", "VERIFIED"
        report.VerifyingObserverSequence = [_observer(graded.review)]
    return report


def _observer(review: Review) -> Dataset:
    observer = Dataset()
    observer.VerifyingObserverName = person_name(review.reader)
    observer.VerifyingOrganization = _NO_ORGANISATION
    when = datetime.fromisoformat(review.time)
    observer.VerificationDateTime = when.strftime("%Y%m%d%H%M%S%z")
    observer.VerifyingObserverIdentificationCodeSequence = []
    return observer


def _evidence(origin: Origin) -> Dataset:
    """All images of the study, by series."""
    series: dict[str, dict[str, str]] = {}
    for image in origin.evidence:
        series.setdefault(image.series_uid, {})[image.sop_instance] = image.sop_class
    item = Dataset()
    item.StudyInstanceUID = origin.study_uid
    item.ReferencedSeriesSequence = [_series(uid, objects) for uid, objects in series.items()]
    return item


def _predecessor(previous: Dataset) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = previous.StudyInstanceUID
    objects = {previous.SOPInstanceUID: previous.SOPClassUID}
    item.ReferencedSeriesSequence = [_series(previous.SeriesInstanceUID, objects)]
    return item


def _series(uid: str, objects: Mapping[str, str]) -> Dataset:
    """A series with references to objects, SOPInstanceUID -> SOPClassUID."""
    item = Dataset()
    item.SeriesInstanceUID = uid
    item.ReferencedSOPSequence = references(objects)
    return item


def is_reviewed(graded: GradedStudy) -> bool:
    """Whether a reader decided about every finding."""
    review = graded.review
    return review is not None and all(f.status is not Status.UNREVIEWED for f in review.findings)


def _scheme() -> Dataset:
    scheme = Dataset()
    scheme.CodingSchemeDesignator = codes.SCHEME
    scheme.CodingSchemeName = codes.SCHEME_NAME
    scheme.CodingSchemeResponsibleOrganization = codes.SCHEME_MAKER
    return scheme
