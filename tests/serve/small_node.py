"""A node whose models are fake, and what calls it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.request import Request, urlopen

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.events import Event

from fake_models import open_fake
from lumbargrade.serve.run import running
from lumbargrade.serve.settings import (
    Destination,
    DicomSettings,
    Settings,
    StudySettings,
    WebSettings,
)

OURS, THEIRS = "LUMBARGRADE", "ARCHIVE"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def small_settings(*send: Destination, port: int = 0, **studies: float) -> Settings:
    """Settings with free ports, or a given one for DICOM, and a short quiet time."""
    return Settings(
        DicomSettings(OURS, port=port or free_port(), callers=(THEIRS,), free_mb=1.0),
        StudySettings(**{"quiet_seconds": 0.5, **studies}),
        WebSettings(port=free_port()),
        send,
    )


def fake_sr(study: str) -> Dataset:
    """A structured report without content."""
    data = Dataset()
    data.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.88.34")
    data.SOPInstanceUID, data.StudyInstanceUID = generate_uid(), study
    data.SeriesInstanceUID, data.Modality = generate_uid(), "SR"
    data.PatientID, data.PatientName = "4711", "Doe^Jane"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return data


@contextmanager
def small_node(folder: Path, settings: Settings, seconds: float = 0.0) -> Iterator[object]:
    """Run a node with data in ``folder/data`` and notes of the fake models in ``folder``."""
    (folder / "data").mkdir(exist_ok=True)
    opener = partial(open_fake, folder, seconds=seconds)
    with running(opener, settings, folder / "data") as queue:
        yield queue


def call(settings: Settings, files: list[Path], *, caller: str = THEIRS) -> list[int]:
    """Send files to a node by C-STORE and return the statuses."""
    entity = AE(caller)
    for kind in {str(dcmread(f, stop_before_pixels=True).SOPClassUID) for f in files}:
        entity.add_requested_context(kind, ExplicitVRLittleEndian)
    link = entity.associate("127.0.0.1", settings.dicom.port, ae_title=settings.dicom.ae_title)
    assert link.is_established
    try:
        return [link.send_c_store(f).Status for f in files]
    finally:
        link.release()


def of_a_patient(folder: Path) -> Path:
    """Give the images of a study a patient."""
    for file in folder.rglob("*.dcm"):
        data = dcmread(file)
        data.PatientID, data.PatientName = "4711", "Doe^Jane"
        data.save_as(file)
    return folder


def wait_until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait for something that must happen; how long it takes is not judged."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def fetch(settings: Settings, path: str, **headers: str) -> str:
    """A page of a node."""
    request = Request(f"http://127.0.0.1:{settings.web.port}{path}", headers=headers)
    with urlopen(request, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


@dataclass
class Archive:
    """A node that takes reports, or behaves badly.

    Attributes:
        port: where it listens.
        stored: SOP instance UIDs that it has stored.
        refuse, hang: set to refuse objects, or not to answer.
        refused: number of refused objects.
    """

    port: int
    stored: list[str] = field(default_factory=list)
    refuse: threading.Event = field(default_factory=threading.Event)
    hang: threading.Event = field(default_factory=threading.Event)
    refused: int = 0

    def take(self, event: Event) -> int:
        if self.hang.is_set():
            event.assoc.abort()
        if self.refuse.is_set():
            self.refused += 1
            return 0xA700
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0


@contextmanager
def archive(port: int = 0) -> Iterator[Archive]:
    """Run an archive until the block ends."""
    found = Archive(port or free_port())
    entity = AE(THEIRS)
    entity.require_called_aet = True
    entity.add_supported_context(fake_sr("1").SOPClassUID)
    server = entity.start_server(
        ("127.0.0.1", found.port), block=False, evt_handlers=[(evt.EVT_C_STORE, found.take)]
    )
    assert server is not None
    try:
        yield found
    finally:
        server.shutdown()
