"""Studies elsewhere: a folder at a URL each, fetched when a worker takes it, then removed."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from lumbargrade.dicom.find import READER, find_studies
from lumbargrade.dicom.requests import NOTHING, Request
from lumbargrade.dicom.slices import read_headers
from lumbargrade.dicom.study import Study, read_found
from lumbargrade.domain.errors import BadDicom, BadInput, Problem
from lumbargrade.files.urls import RemoteFile, Url, fetch, list_files, list_folder

log = logging.getLogger(__name__)

#: Files of a folder that are looked at to find the study that they belong to.
_LOOKS = 3


@dataclass(frozen=True)
class RemoteStudy:
    """The folder of one study at a URL, and what the user decides about reading it."""

    folder: Url
    request: Request = field(default=NOTHING, kw_only=True)

    @property
    def study_id(self) -> str:
        """The name of its folder; the true id is known when it has been read."""
        return self.folder.name

    def files(self) -> tuple[RemoteFile, ...]:
        """List its files.

        Raises:
            BadDicom: if there are none.
        """
        found = list_files(self.folder)
        if not found:
            raise BadDicom(f"{self.folder}: no files")
        return found

    def fingerprint(self, files: tuple[RemoteFile, ...]) -> str:
        """SHA-256 of the URL, the names, sizes and versions of its files, reader and request."""
        digest = hashlib.sha256(f"{READER}{self.request.fingerprint}{self.folder}\n".encode())
        for file in files:
            digest.update(f"{file.name}|{file.size}|{file.version}\n".encode())
        return digest.hexdigest()

    def fetch(self, files: tuple[RemoteFile, ...], folder: Path) -> None:
        """Fetch files into a local folder.

        Raises:
            BadDicom: if they have vanished, or the server does not give them.
        """
        try:
            fetch(self.folder, [file.name for file in files], folder)
        except BadInput as error:
            raise BadDicom(f"{error}; it vanished while it was read") from None

    def read(self, files: tuple[RemoteFile, ...], scratch: Path) -> Study:
        """Fetch and read it.

        Args:
            files: from `files`.
            scratch: a folder for the copy, which is removed when it has been read.

        Raises:
            BadDicom: if it cannot be read, has vanished, or has files of several studies.
        """
        scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="study-", dir=scratch) as temporary:
            # files without UIDs are named by their folders
            folder = Path(temporary, self.folder.parent.name or "studies", self.folder.name)
            self.fetch(files, folder)
            found = find_studies([folder], request=self.request)
            if len(found.studies) > 1:
                ids = ", ".join(s.study_id for s in found.studies[:5])
                raise BadDicom(
                    f"{self.folder}: files of {len(found.studies)} studies ({ids}); give a URL "
                    "whose folders have one study each"
                )
            if not found.studies:
                raise BadDicom("; ".join(p.what for p in found.problems) or "no usable image")
            try:
                study = read_found(found.studies[0])
            except BadDicom as error:
                raise BadDicom(self._named(str(error), folder)) from None
            problems = tuple(self._problem(p, folder) for p in study.problems)
            return replace(study, problems=problems)

    def _problem(self, problem: Problem, folder: Path) -> Problem:
        what, file = (self._named(text, folder) for text in (problem.what, problem.file))
        return replace(problem, what=what, file=file)

    def _named(self, text: str, folder: Path) -> str:
        """The text with the URL in place of the local copy."""
        return text.replace(str(folder.resolve()), str(self.folder))


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
