"""Studies that are copied to a local folder to be read, and removed afterwards."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from lumbargrade.dicom.find import READER, find_studies
from lumbargrade.dicom.requests import NOTHING, Request
from lumbargrade.dicom.study import Study, read_found
from lumbargrade.domain.errors import BadDicom, Problem
from lumbargrade.files.urls import Place, RemoteFile


@dataclass(frozen=True)
class CopiedStudy(ABC):
    """A study whose files must be copied before they can be read.

    Attributes:
        folder: where it is, for messages; a local copy of it has the same tree.
        request: what the user decides about reading it.
    """

    folder: Place
    request: Request = field(default=NOTHING, kw_only=True)

    @property
    @abstractmethod
    def study_id(self) -> str:
        """Its id, or the name of its folder until it has been read."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Problems of its files that are known before they are copied."""
        return ()

    @abstractmethod
    def files(self) -> tuple[RemoteFile, ...]:
        """List its files.

        Raises:
            BadDicom: if there are none.
        """

    @abstractmethod
    def fetch(self, files: tuple[RemoteFile, ...], folder: Path) -> None:
        """Copy files into a local folder.

        Raises:
            BadDicom: if they have vanished or cannot be copied.
        """

    def fingerprint(self, files: tuple[RemoteFile, ...]) -> str:
        """SHA-256 of the place, the names, sizes and versions of its files, reader and request."""
        digest = hashlib.sha256(f"{READER}{self.request.fingerprint}{self.folder}\n".encode())
        for file in files:
            digest.update(f"{file.name}|{file.size}|{file.version}\n".encode(errors="replace"))
        return digest.hexdigest()

    def read(self, files: tuple[RemoteFile, ...], scratch: Path) -> Study:
        """Copy and read it.

        Args:
            files: from `files`.
            scratch: a folder for the copy, which is removed when it has been read.

        Raises:
            BadDicom: if it cannot be read, has vanished, or has files of several studies.
        """
        with self.copied(files, scratch) as folder:
            found = find_studies([folder], request=self.request)
            if len(found.studies) > 1:
                ids = ", ".join(s.study_id for s in found.studies[:5])
                raise BadDicom(
                    f"{self.folder}: files of {len(found.studies)} studies ({ids}); give a URL "
                    "whose folders have one study each"
                )
            if found.archives or found.niftis:
                first = (*found.archives, *found.niftis)[0]
                name = self.named(str(first), folder)
                raise BadDicom(
                    f"{name}: zip and NIfTI files are read from folders of this machine only"
                )
            if not found.studies:
                raise BadDicom("; ".join(p.what for p in found.problems) or "no usable image")
            try:
                study = read_found(found.studies[0])
            except BadDicom as error:
                raise BadDicom(self.named(str(error), folder)) from None
            problems = [self.named_problem(p, folder) for p in study.problems]
            return replace(study, problems=(*self.problems, *problems))

    @contextmanager
    def copied(self, files: tuple[RemoteFile, ...], scratch: Path) -> Iterator[Path]:
        """Yield a local folder with a copy of it, which is removed afterwards.

        Raises:
            BadDicom: like `fetch`.
        """
        scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="study-", dir=scratch) as temporary:
            # files without UIDs are named by their folders
            folder = Path(temporary, self.folder.parent.name or "studies", self.folder.name)
            folder.mkdir(parents=True)
            self.fetch(files, folder)
            yield folder

    def named_problem(self, problem: Problem, folder: Path) -> Problem:
        """The problem with the names of the study in place of those of its copy."""
        what, file = (self.named(text, folder) for text in (problem.what, problem.file))
        return replace(problem, what=what, file=file)

    def named(self, text: str, folder: Path) -> str:
        """The text with the place of the study in place of the local copy."""
        return text.replace(str(folder.resolve()), str(self.folder))
