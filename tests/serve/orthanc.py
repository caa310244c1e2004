"""A real Orthanc with its DICOMweb plugin, on free ports of this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from small_node import OURS, THEIRS, free_port

#: Where Debian's package has the plugin.
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc.

    Attributes:
        http: port of its REST interface and DICOMweb.
        dicom: port of its DICOM node, whose AE title is `THEIRS`.
        node: port at which it looks for the node under test, whose AE title is `OURS`.
    """

    http: int
    dicom: int
    node: int

    @property
    def dicomweb(self) -> str:
        return f"http://127.0.0.1:{self.http}/dicom-web"

    def ask(self, path: str, data: object = None, method: str | None = None) -> Any:
        """Call the REST interface."""
        body = data if isinstance(data, bytes) or data is None else json.dumps(data).encode()
        request = Request(f"http://127.0.0.1:{self.http}{path}", body, method=method)
        with urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def upload(self, folder: Path) -> str:
        """Store a study and return Orthanc's id of it."""
        stored = [self.ask("/instances", f.read_bytes()) for f in sorted(folder.rglob("*.dcm"))]
        found: set[str] = {answer["ParentStudy"] for answer in stored}
        (study,) = found
        return study

    def send(self, *studies: str) -> None:
        """Send studies to the node under test, and wait until all are sent."""
        self.ask("/modalities/node/store", {"Resources": list(studies), "Synchronous": True})

    def studies(self, study_uid: str) -> list[dict[str, Any]]:
        """Studies with a UID, found by DICOMweb."""
        found: list[dict[str, Any]] = self.ask(f"/dicom-web/studies?StudyInstanceUID={study_uid}")
        return found

    def reports(self, study_uid: str) -> list[dict[str, Any]]:
        """Structured reports of a study, found by DICOMweb."""
        found: list[dict[str, Any]] = self.ask(
            f"/dicom-web/studies/{study_uid}/instances?Modality=SR"
        )
        return found or []


@contextmanager
def running_orthanc(folder: Path, node: int, *, dicom: int = 0) -> Iterator[Orthanc]:
    """Run an Orthanc until the block ends; skips where it is not installed.

    Args:
        folder: for its storage and log.
        node: port of the node under test.
        dicom: port of its DICOM node; 0: any.
    """
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None or not _PLUGIN.exists():
        pytest.skip("Orthanc is not installed (Debian: orthanc, orthanc-dicomweb)")
    orthanc = Orthanc(free_port(), dicom or free_port(), node)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(_PLUGIN)],
        "HttpPort": orthanc.http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": THEIRS,
        "DicomPort": orthanc.dicom,
        "DicomAlwaysAllowStore": True,
        "DicomModalities": {"node": [OURS, "127.0.0.1", node]},
        "DicomWeb": {"Enable": True},
        "ConcurrentJobs": 4,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [program, str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            end = time.monotonic() + 60
            while not _answers(orthanc):
                assert process.poll() is None, (folder / "log.txt").read_text()
                assert time.monotonic() < end, "Orthanc does not start"
                time.sleep(0.1)
            yield orthanc
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(orthanc: Orthanc) -> bool:
    try:
        orthanc.ask("/system")
    except (URLError, HTTPError, OSError):
        return False
    return True
