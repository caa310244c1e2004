"""Studies elsewhere: a folder at a URL each, fetched when a worker takes it, then removed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lumbargrade.dicom.copies import CopiedStudy
from lumbargrade.dicom.requests import NOTHING, Request
from lumbargrade.dicom.slices import read_headers
from lumbargrade.domain.errors import BadDicom, BadInput
from lumbargrade.files.urls import RemoteFile, Url, fetch, list_files, list_folder

log = logging.getLogger(__name__)

#: Files of a folder that are looked at to find the study that they belong to.
_LOOKS = 3


@dataclass(frozen=True)
class RemoteStudy(CopiedStudy):
    """The folder of one study at a URL."""

    folder: Url

    @property
    def study_id(self) -> str:
        """The name of its folder; the true id is known when it has been read."""
        return self.folder.name

    def files(self) -> tuple[RemoteFile, ...]:
        found = list_files(self.folder)
        if not found:
            raise BadDicom(f"{self.folder}: no files")
        return found

    def fetch(self, files: tuple[RemoteFile, ...], folder: Path) -> None:
        try:
            fetch(self.folder, [file.name for file in files], folder)
        except BadInput as error:
            raise BadDicom(f"{error}; it vanished while it was read") from None


def find_remote(url: Url, scratch: Path, request: Request = NOTHING) -> list[RemoteStudy]:
    """Return the studies in a folder at a URL.

    If the folders in it belong to different studies, each of them is a study. Otherwise they are
    the series of one study. Only a few files are read to decide this.

    Args:
        url: a study, or a folder of studies.
        scratch: a folder for a few files.
        request: what the user decides about reading the studies.

    Raises:
        BadInput: if there is no such folder.
        UsageError: if the URL cannot be used.
    """
    folders, files = list_folder(url)
    if not folders:
        return [RemoteStudy(url, request=request)]
    if len(folders) == 1:  # a study, or a series of the study
        return [RemoteStudy(folders[0] if list_folder(folders[0])[0] else url, request=request)]
    first, second = (_study_uid(folder, scratch) for folder in folders[:2])
    if first is not None and first == second:
        return [RemoteStudy(url, request=request)]
    if files:
        log.warning("%s: %d files in no folder of a study are not read", url, len(files))
    return [RemoteStudy(folder, request=request) for folder in folders]


def _study_uid(folder: Url, scratch: Path) -> str | None:
    """The study UID of a folder's first images; None if none of them has one."""
    scratch.mkdir(parents=True, exist_ok=True)
    for file in list_files(folder)[:_LOOKS]:
        with TemporaryDirectory(prefix="look-", dir=scratch) as temporary:
            fetch(folder, [file.name], Path(temporary))
            headers, _ = read_headers(Path(temporary, *file.name.split("/")))
        if headers and headers[0].study_uid:
            return headers[0].study_uid
    return None
