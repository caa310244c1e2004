"""Which instances are kept, which are ignored, and which are refused."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ImplicitVRLittleEndian, RLELossless
from small_node import fake_sr

from lsdc_layout import AXIAL, write_slice
from lumbargrade.serve import inbox as inbox_module
from lumbargrade.serve.inbox import Answer, Folders, Inbox, Received
from lumbargrade.serve.keeper import Keeper
from lumbargrade.serve.queue import Queue
from lumbargrade.serve.settings import DicomSettings, StudySettings
from lumbargrade.serve.states import State


class Box:
    """An inbox whose disk has as much space as a test says."""

    def __init__(self, folder: Path, limits: DicomSettings) -> None:
        folder.mkdir(exist_ok=True)
        self.folders = Folders(folder)
        self.queue = Queue(self.folders.queue)
        self.free = 10_000_000_000
        self.inbox = Inbox(self.folders, self.queue, limits, lambda _: self.free)
        self.inbox.clean()

    def take(self, data: Dataset) -> Answer:
        stream = BytesIO()
        data.save_as(stream, enforce_file_format=True)
        return self.inbox.receive(stream.getvalue(), data.SOPClassUID, data.SOPInstanceUID)

    @property
    def files(self) -> list[str]:
        return sorted(p.name for p in self.folders.images.rglob("*") if p.is_file())

    @property
    def revision(self) -> int:
        study = self.queue.study(1)
        assert study is not None
        return study.revision


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path, DicomSettings())


def image(folder: Path, number: int = 1) -> Dataset:
    file = folder / "study" / "series" / f"{number}.dcm"
    write_slice(file, number, [0.0, 0.0, 4.0 * number], AXIAL)
    return dcmread(file)


def test_an_image_is_stored_whole(box: Box, tmp_path: Path) -> None:
    data = image(tmp_path / "in")
    data.PatientName, data.NumberOfStudyRelatedInstances = "Doe^Jane", 7
    answer = box.take(data)
    assert (answer.status, answer.received, answer.study) == (0, Received.STORED, 1)
    name = f"{data.SeriesInstanceUID}/{data.SOPInstanceUID}.dcm"
    stored = dcmread(box.folders.images_of(1) / name)
    assert np.array_equal(stored.pixel_array, data.pixel_array)
    study = box.queue.study(1)
    assert study is not None
    assert (study.patient, study.expected) == ("Doe^Jane", 7)


def renamed(data: Dataset) -> None:
    data.PatientName = "Roe^Richard"


def implicit(data: Dataset) -> None:
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


def brighter(data: Dataset) -> None:
    data.PixelData = (data.pixel_array + 1).tobytes()


def moved(data: Dataset) -> None:
    data.ImagePositionPatient = [9.0, 0.0, 0.0]


def compressed(data: Dataset) -> None:
    data.compress(RLELossless, generate_instance_uid=False)


@pytest.mark.parametrize(
    ("change", "received"),
    [
        (lambda data: None, Received.DUPLICATE),
        (renamed, Received.DUPLICATE),
        (implicit, Received.DUPLICATE),
        (brighter, Received.STORED),
        (moved, Received.STORED),
        (compressed, Received.STORED),
    ],
)
def test_the_same_image_again(
    box: Box, tmp_path: Path, change: Callable[[Dataset], None], received: Received
) -> None:
    data = image(tmp_path / "in")
    box.take(data)
    change(data)
    answer = box.take(data)
    assert (answer.status, answer.received) == (0, received)
    assert len(box.files) == 1
    assert box.revision == (2 if received is Received.STORED else 1)


def test_series_may_share_the_uids_of_their_images(box: Box, tmp_path: Path) -> None:
    data = image(tmp_path / "in")
    assert box.take(data).received is Received.STORED
    data.SeriesInstanceUID = "1.2.3.4"
    assert box.take(data).received is Received.STORED
    assert len(box.files) == 2


def test_an_image_whose_file_is_gone_is_stored_again(box: Box, tmp_path: Path) -> None:
    data = image(tmp_path / "in")
    box.take(data)
    for file in box.folders.images_of(1).rglob("*.dcm"):
        file.unlink()
    assert box.take(data).received is Received.STORED


@pytest.mark.parametrize(
    "kind",
    [
        "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR
        "1.2.840.10008.5.1.4.1.1.66.4",  # segmentation
        "1.2.840.10008.5.1.4.1.1.11.1",  # presentation state
        "1.2.840.10008.5.1.4.1.1.88.59",  # key object selection
        "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
        "1.2.840.10008.5.1.4.1.1.104.1",  # encapsulated PDF
    ],
)
def test_what_is_no_image_of_the_patient_makes_no_study(box: Box, kind: str) -> None:
    data = fake_sr("1.2.3")
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = kind
    answer = box.take(data)
    assert (answer.status, answer.received) == (0, Received.IGNORED)
    assert box.queue.studies() == []
    assert box.files == []


def test_images_made_by_us_are_ignored(box: Box, tmp_path: Path) -> None:
    data = image(tmp_path / "in")
    data.Manufacturer = "lumbargrade"
    assert box.take(data).received is Received.IGNORED
    assert box.queue.studies() == []


def test_what_was_sent_by_us_is_ignored(box: Box, tmp_path: Path) -> None:
    box.take(image(tmp_path / "in", 1))
    box.queue.complete(0, 0)
    claim = box.queue.claim()
    assert claim is not None
    ours = image(tmp_path / "in", 2)
    box.queue.graded(claim, {"summary.dcm": str(ours.SOPInstanceUID)}, {"archive": 1.0})
    assert box.take(ours).received is Received.IGNORED
    assert box.revision == 1


def test_limits(tmp_path: Path) -> None:
    size = len((lambda s: (image(tmp_path / "in").save_as(s), s.getvalue())[1])(BytesIO()))
    limits = DicomSettings(max_object_mb=0.02, max_study_mb=2.5 * size / 1e6, free_mb=1.0)
    box = Box(tmp_path / "node", limits)
    assert [box.take(image(tmp_path / "in", n)).status for n in (1, 2, 3)] == [0, 0, 0xA700]
    assert box.take(image(tmp_path / "in", 2)).status == 0  # a duplicate needs no space
    box.free = 1_000_000 + size // 2
    answer = box.take(image(tmp_path / "other", 1))
    assert (answer.status, answer.received) == (0xA700, Received.REFUSED)
    assert "free_mb = 1.0" in answer.reason
    box.free = 10_000_000
    large = image(tmp_path / "in", 4)
    large.Rows, large.Columns, large.PixelData = 200, 100, b"\0" * 40_000
    assert "max_object_mb" in box.take(large).reason
    assert len(box.files) == 2


def test_a_full_disk_loses_nothing(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(inbox_module.os, "fsync", full)
    answer = box.take(image(tmp_path / "in"))
    assert (answer.status, answer.reason) == (0xA700, "cannot be written: No space left on device")
    assert box.files == []
    monkeypatch.undo()
    assert box.take(image(tmp_path / "in")).status == 0


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_malformed_instances_are_refused(box: Box, tmp_path: Path) -> None:
    data = image(tmp_path / "in")
    kind, uid = str(data.SOPClassUID), str(data.SOPInstanceUID)
    assert box.inbox.receive(b"no DICOM", kind, uid).status == 0xC000
    stream = BytesIO()
    data.save_as(stream)
    assert box.inbox.receive(stream.getvalue(), kind, "1.2.3").status == 0xA900
    data.StudyInstanceUID = "../../etc"
    assert box.take(data).status == 0xC000
    assert box.files == []


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_hostile_texts_are_cut(box: Box, tmp_path: Path) -> None:
    data = image(tmp_path / "in")
    data.PatientName = "<script>alert(1)</script>\x1b[31m\r\n" + "x" * 10_000
    data.PatientID = "4711"
    assert box.take(data).status == 0
    study = box.queue.study(1)
    assert study is not None
    assert len(study.patient) == 200
    assert "\n" not in study.patient


def test_a_new_start_removes_what_was_not_acknowledged(box: Box, tmp_path: Path) -> None:
    box.take(image(tmp_path / "in"))
    (series,) = box.folders.images_of(1).iterdir()
    (series / "1.2.3.dcm").write_bytes(b"renamed, but not registered")
    (series / "1.2.4.part").write_bytes(b"half a file")
    (box.folders.images / "000009").mkdir()
    (box.folders.images / "000009" / "1.2.dcm").write_bytes(b"of no study")
    box.inbox.clean()
    assert len(box.files) == 1


def test_removal_keeps_an_image_that_arrives_meanwhile(box: Box, tmp_path: Path) -> None:
    keeper = Keeper(StudySettings(), box.folders, box.queue)
    box.take(image(tmp_path / "in", 1))
    box.queue.complete(0, 0)
    claim = box.queue.claim()
    assert claim is not None
    result = box.folders.results / claim.folder
    result.mkdir(parents=True)
    (result / "report.html").write_text("x")
    box.queue.graded(claim, {}, {})
    keeper.remove(1)
    assert (box.files, result.exists()) == ([], False)
    assert list(box.folders.trash.iterdir()) == []
    study = box.queue.study(1)
    assert study is not None
    assert study.state is State.REMOVED
    assert box.take(image(tmp_path / "in", 1)).received is Received.STORED
    assert len(box.files) == 1


def test_a_new_start_ends_a_removal(box: Box, tmp_path: Path) -> None:
    box.take(image(tmp_path / "in", 1))
    box.queue.complete(0, 0)
    claim = box.queue.claim()
    assert claim is not None
    (box.folders.results / claim.folder).mkdir(parents=True)
    box.queue.graded(claim, {}, {})
    box.queue.forget_images(1)  # killed here
    box.inbox.clean()
    assert box.files == []
    assert list(box.folders.results.iterdir()) == []
