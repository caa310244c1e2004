"""Studies on a DICOMweb server, fetched when a worker takes them and removed afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lumbargrade.batch.remote import RemoteStudy
from lumbargrade.domain.errors import BadDicom, BadInput
from lumbargrade.files.urls import RemoteFile, Url
from lumbargrade.pacs.dicomweb import Server


@dataclass(frozen=True)
class DicomwebStudy(RemoteStudy):
    """A study on a DICOMweb server; its folder is ``URL/studies/UID``.

    Its fingerprint is that of the UIDs of its images: a server must give an image that has changed
    a new UID, as DICOM asks.
    """

    server: Server

    def files(self) -> tuple[RemoteFile, ...]:
        """List its images.

        Raises:
            BadDicom: if there are none, or the server cannot be asked.
        """
        try:
            found = self.server.instances(self.study_id)
        except BadInput as error:
            raise BadDicom(str(error)) from None
        return tuple(RemoteFile(f"{i.series_uid}/{i.uid}", 0, "") for i in found)

    def fetch(self, files: tuple[RemoteFile, ...], folder: Path) -> None:
        series = dict.fromkeys(file.name.partition("/")[0] for file in files)
        try:
            sent = self.server.fetch(self.study_id, list(series), folder)
        except BadInput as error:
            raise BadDicom(str(error)) from None
        # a study with gaps would count as graded, and would not be fetched again
        if lost := [file.name for file in files if file.name.partition("/")[2] not in sent]:
            uid = lost[0].partition("/")[2]
            raise BadDicom(
                f"{self.folder}: the server lists {len(files)} images, but did not send "
                f"{len(lost)} of them, such as {uid}; run the same command again"
            )


def study_on(server: Server, uid: str) -> DicomwebStudy:
    """Return a study of a server by its StudyInstanceUID."""
    return DicomwebStudy(Url(f"{server.url.rstrip('/')}/studies/{uid}"), server)
