"""Instances that arrive: which are kept, where, and how they are acknowledged."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from lumbargrade.dicom.slices import MAKER
from lumbargrade.domain.errors import one_line
from lumbargrade.serve.queue import Queue
from lumbargrade.serve.settings import MEGABYTE, DicomSettings
from lumbargrade.serve.states import About, Instance, State

#: Objects without an image of the patient: nothing is graded because of them, our results included.
_NO_IMAGE = re.compile(
    r"1\.2\.840\.10008\.5\.1\.4\.1\.1\."
    # reports, raw data and segmentations, presentation states, documents, waveforms, radiotherapy,
    # spectroscopy, screenshots
    r"(88\..*|66(\..*)?|11\..*|104\..*|9\..*|481\..*|4\.2|7(\..*)?)"
)

_UID = re.compile(r"[0-9][0-9.]{0,63}")

#: The longest text of a header that is kept for the page.
_LONGEST = 200

#: Elements that an instance is registered by.
_READ = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("Manufacturer", "PatientName", "PatientID", "StudyDate", "StudyDescription"),
    "NumberOfStudyRelatedInstances",
)

#: Elements that place pixels in the patient.
_GEOMETRY = (
    *("Rows", "Columns", "NumberOfFrames", "ImagePositionPatient"),
    *("ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"),
)


class Received(StrEnum):
    """What became of an instance."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True)
class Answer:
    """How an instance is acknowledged.

    Attributes:
        status: of C-STORE.
        received: what became of it.
        reason: why it was refused, without anything of the patient.
        study: queue number; 0 if it has none.
    """

    status: int
    received: Received
    reason: str = ""
    study: int = 0


#: Statuses of C-STORE (DICOM PS3.4, table B.2-1).
SUCCESS, OUT_OF_RESOURCES, OTHER_CLASS, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000


@dataclass(frozen=True)
class Folders:
    """The folder of a node: its queue, the images of studies, and their results."""

    data: Path

    @property
    def queue(self) -> Path:
        return self.data / "queue.sqlite"

    @property
    def images(self) -> Path:
        return self.data / "images"

    @property
    def results(self) -> Path:
        return self.data / "results"

    @property
    def trash(self) -> Path:
        """What is being removed; always on the same disk."""
        return self.data / "trash"

    @property
    def scratch(self) -> Path:
        return self.data / "scratch"

    def images_of(self, study: int) -> Path:
        return self.images / f"{study:06d}"

    def results_of(self, study: int) -> Path:
        return self.results / f"{study:06d}"


class Inbox:
    """Takes instances; several threads may use it at the same time.

    Args:
        folders: of the node.
        queue: of the node.
        limits: sizes.
        free: bytes that are free on the disk.
    """

    def __init__(
        self,
        folders: Folders,
        queue: Queue,
        limits: DicomSettings,
        free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self.folders, self.queue, self.limits, self._free = folders, queue, limits, free

    def clean(self) -> None:
        """Remove what an earlier process left: files that were never acknowledged, and trash."""
        for folder in (self.folders.trash, self.folders.scratch):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in (self.folders.images, self.folders.results, self.folders.scratch):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in self.folders.images.iterdir():
            number = int(folder.name) if folder.name.isdigit() else 0
            known = self.queue.instances(number)
            for file in [path for path in folder.rglob("*") if path.is_file()]:
                if file.suffix != ".dcm" or f"{file.parent.name}/{file.stem}" not in known:
                    file.unlink()
        for folder in self.folders.results.iterdir():
            study = self.queue.study(int(folder.name)) if folder.name.isdigit() else None
            if study is not None and study.state is State.REMOVED:
                shutil.rmtree(folder)
                continue
            for result in folder.iterdir():  # of a review that was not registered
                number = int(result.name) if result.name.isdigit() else 0
                if study is None or not 0 < number <= study.result:
                    shutil.rmtree(result)

    def receive(self, encoded: bytes, sop_class: str, sop_instance: str) -> Answer:
        """Store an instance, or say why not.

        Args:
            encoded: a DICOM file.
            sop_class, sop_instance: as the request names them.
        """
        if _NO_IMAGE.fullmatch(sop_class) or self.queue.is_own(sop_instance):
            return Answer(SUCCESS, Received.IGNORED)
        if (refused := self._refused(len(encoded))) is not None:
            return refused
        try:
            header = dcmread(BytesIO(encoded), stop_before_pixels=True, specific_tags=list(_READ))
            uids = [str(header.get(key) or "") for key in _READ[:4]]
            about = _about(header)
        except Exception as error:  # noqa: BLE001  a malformed file can make pydicom raise anything
            return Answer(CANNOT_UNDERSTAND, Received.REFUSED, type(error).__name__)
        if uids[:2] != [sop_class, sop_instance]:
            what = "the data set has other UIDs than the request"
            return Answer(OTHER_CLASS, Received.REFUSED, what)
        if not all(map(_UID.fullmatch, uids)):
            return Answer(CANNOT_UNDERSTAND, Received.REFUSED, "a UID is absent or malformed")
        if str(header.get("Manufacturer") or "").strip().lower() == MAKER:
            return Answer(SUCCESS, Received.IGNORED)
        try:
            return self._store(encoded, uids[2], f"{uids[3]}/{uids[1]}", about)
        except (OSError, sqlite3.Error) as error:  # a full disk shows in either
            reason = error.strerror if isinstance(error, OSError) else str(error)
            what = f"cannot be written: {reason or type(error).__name__}"
            return Answer(OUT_OF_RESOURCES, Received.REFUSED, what)

    def _refused(self, size: int) -> Answer | None:
        if size > self.limits.max_object_mb * MEGABYTE:
            what = f"larger than max_object_mb = {self.limits.max_object_mb}"
            return Answer(OUT_OF_RESOURCES, Received.REFUSED, what)
        if self._free(self.folders.data) - size < self.limits.free_mb * MEGABYTE:
            what = f"less than free_mb = {self.limits.free_mb} would be free on the disk"
            return Answer(OUT_OF_RESOURCES, Received.REFUSED, what)
        return None

    def _store(self, encoded: bytes, study_uid: str, uid: str, about: About) -> Answer:
        with self.queue.lock:
            study = self.queue.number_of(study_uid, about)
            known = self.queue.instance(study, uid)
            instance = Instance(uid, hashlib.sha256(encoded).hexdigest(), len(encoded))
            file = self.folders.images_of(study) / f"{uid}.dcm"
            if known is not None and file.exists():
                if known.digest == instance.digest or _same_image(file, encoded):
                    return Answer(SUCCESS, Received.DUPLICATE, study=study)
            elif self.queue.size(study) + len(encoded) > self.limits.max_study_mb * MEGABYTE:
                what = f"the study is larger than max_study_mb = {self.limits.max_study_mb}"
                return Answer(OUT_OF_RESOURCES, Received.REFUSED, what, study)
            file.parent.mkdir(parents=True, exist_ok=True)
            _write(file, encoded)
            self.queue.add(study, instance, about)
        return Answer(SUCCESS, Received.STORED, study=study)


def _write(file: Path, encoded: bytes) -> None:
    """Write a file so that it is on the disk, whole, when this returns."""
    temporary = file.with_suffix(".part")
    try:
        with temporary.open("wb") as stream:
            stream.write(encoded)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
        if os.name == "posix":
            for folder in (file.parent, file.parent.parent):  # their names are in folders
                _sync_folder(folder)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _about(header: Dataset) -> About:
    """What is shown of a study.

    Raises:
        ValueError: if a value cannot be decoded.
    """
    keys = ("PatientName", "PatientID", "StudyDate", "StudyDescription")
    patient, patient_id, date, description = (
        " ".join(str(header.get(key) or "").split())[:_LONGEST] for key in keys
    )
    try:
        expected = int(header.get("NumberOfStudyRelatedInstances") or 0)
    except (TypeError, ValueError):
        expected = 0
    return About(patient, patient_id, date, description, max(0, expected))


def _same_image(file: Path, encoded: bytes) -> bool:
    """Whether a stored file and one that has arrived again have the same pixels in the same place.

    Files in different transfer syntaxes count as different, unless both are uncompressed.
    """
    try:
        old, new = dcmread(file), dcmread(BytesIO(encoded))
        if any(old.get(key) != new.get(key) for key in _GEOMETRY):
            return False
        syntaxes = {old.file_meta.TransferSyntaxUID, new.file_meta.TransferSyntaxUID}
        if len(syntaxes) > 1 and any(s.is_compressed or not s.is_little_endian for s in syntaxes):
            return False
        return bool(old.PixelData == new.PixelData)
    except Exception:  # noqa: BLE001  whatever is wrong with one of them, they are not the same
        return False


def dicom_files(folder: Path) -> dict[str, str]:
    """Names and SOP instance UIDs of the DICOM files of a result.

    Raises:
        OSError: if one cannot be read.
    """
    return {file.name: _sop_instance_of(file) for file in sorted(folder.glob("*.dcm"))}


def _sop_instance_of(path: Path) -> str:
    """SOP instance UID of a DICOM file of ours.

    Raises:
        OSError: if it cannot be read.
    """
    try:
        return str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
    except (InvalidDicomError, AttributeError) as error:
        raise OSError(f"{path}: {one_line(error)}") from None
