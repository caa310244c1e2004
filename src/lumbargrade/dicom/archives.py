"""Studies in zip files, which are unpacked one at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from lumbargrade.dicom.copies import CopiedStudy
from lumbargrade.dicom.discs import DISC_FILE, listed_files, plain_path
from lumbargrade.dicom.find import looked
from lumbargrade.dicom.opening import is_beside
from lumbargrade.dicom.requests import NOTHING, Request
from lumbargrade.dicom.scan import read_file
from lumbargrade.domain.errors import BadDicom, BadInput, Problem
from lumbargrade.files.archives import LIMITS, Limits, Member, list_archive, unpack
from lumbargrade.files.urls import RemoteFile

_ADVICE = "check its rights, and the space where TMPDIR says that it is unpacked"


def _not_unpacked(error: OSError) -> str:
    return f"cannot be read or unpacked ({error.strerror or error})"


@dataclass(frozen=True)
class ArchivedStudy(CopiedStudy):
    """A study in one or several zip files.

    Attributes:
        uid: its id.
        parts: zip file -> its files of the study.
        lost: problems of the zip files that concern the study.
    """

    folder: Path
    uid: str
    parts: tuple[tuple[Path, tuple[Member, ...]], ...]
    lost: tuple[Problem, ...] = ()

    @property
    def study_id(self) -> str:
        return self.uid

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.lost

    def files(self) -> tuple[RemoteFile, ...]:
        """List its files; their versions are the checksums in the zip file."""
        return tuple(
            RemoteFile(self._inside(archive, member.path), member.size, f"{member.checksum:08x}")
            for archive, members in self.parts
            for member in members
        )

    def fetch(self, files: tuple[RemoteFile, ...], folder: Path) -> None:
        for archive, members in self.parts:
            to = folder if archive == self.folder else folder / archive.relative_to(self.folder)
            try:
                for member, result in unpack(archive, members, to):
                    if isinstance(result, str):
                        raise BadDicom(f"{archive}: {member.path} {result}")
            except BadInput as error:
                raise BadDicom(f"{error}; it was changed while it was read") from None
            except OSError as error:
                raise BadDicom(f"{archive}: {_not_unpacked(error)}; {_ADVICE}") from None

    def _inside(self, archive: Path, name: str) -> str:
        return name if archive == self.folder else f"{archive.relative_to(self.folder)}/{name}"


def find_archived(
    archives: Iterable[Path], scratch: Path, request: Request = NOTHING, limits: Limits = LIMITS
) -> tuple[list[ArchivedStudy], list[Problem]]:
    """Find the studies in zip files by the headers of all their files.

    Files are unpacked one at a time, and removed when their header has been read. A study may be
    spread over several zip files.

    Args:
        archives: zip files.
        scratch: a folder for one file.
        request: what the user decides about reading the studies.
        limits: what may be unpacked.

    Returns:
        The studies, and problems of files that cannot be used and of whole zip files.
    """
    finder = _Finder(scratch, request, limits)
    for archive in dict.fromkeys(path.resolve() for path in archives):
        try:
            finder.search(archive)
        except BadInput as error:
            what = str(error).removeprefix(f"{archive}: ")
            advice = "unpack it yourself, or pack it again"
            finder.problems.append(Problem(what, study=str(archive), advice=advice))
        except OSError as error:
            problem = Problem(_not_unpacked(error), study=str(archive), advice=_ADVICE)
            finder.problems.append(problem)
    return finder.found()


@dataclass
class _Finder:
    scratch: Path
    request: Request
    limits: Limits
    problems: list[Problem] = field(default_factory=list)
    #: key of a study -> zip file -> its files
    parts: dict[str, dict[Path, list[Member]]] = field(default_factory=dict)
    #: key of a study -> its id
    ids: dict[str, str] = field(default_factory=dict)
    #: zip file -> problems of its files
    lost: dict[Path, list[Problem]] = field(default_factory=dict)

    def search(self, archive: Path) -> None:
        """Read the headers of all files of a zip file."""
        contents = list_archive(archive, self.limits)
        lost = [
            Problem(why, file=f"{archive}/{name}", advice="the other files are read")
            for name, why in contents.refused
            if not _beside(name)
        ]
        images = [m for m in contents.members if not _beside(m.path)]
        discs = [m for m in contents.members if m.path.split("/")[-1].lower() == DISC_FILE]
        there = {plain_path(m.path) for m in contents.members}
        usable = 0
        self.scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="look-", dir=self.scratch) as temporary:
            folder = Path(temporary, archive.parent.name or "studies", archive.name)
            for member, result in unpack(archive, [*images, *discs], folder):
                if isinstance(result, str):
                    lost.append(Problem(result, file=f"{archive}/{member.path}"))
                    continue
                if member in discs:
                    lost += _missing(archive, member, result, there)
                else:
                    bad = self._look(archive, member, result, folder)
                    usable += not bad
                    lost += bad
                result.unlink()
        if not usable:
            whys = "; ".join(dict.fromkeys(p.what for p in lost)) or "no files"
            raise BadInput(f"{archive}: no usable DICOM image: {whys[:400]}")
        self.lost[archive] = lost

    def _look(self, archive: Path, member: Member, file: Path, folder: Path) -> list[Problem]:
        """Note the study of a file; return why it cannot be used."""
        look = looked(read_file(file, values=self.request.headers))
        if isinstance(look, list):
            local = str(folder.resolve())
            return [
                Problem(
                    p.what.replace(local, str(archive)),
                    file=p.file.replace(local, str(archive)),
                    fatal=p.fatal,
                )
                for p in look
            ]
        key, study_id = look
        key = key.replace(str(folder.resolve()), str(archive))
        self.ids.setdefault(key, study_id)
        self.parts.setdefault(key, {}).setdefault(archive, []).append(member)
        return []

    def found(self) -> tuple[list[ArchivedStudy], list[Problem]]:
        """The studies; problems of a zip file with one study belong to this study."""
        problems = list(self.problems)
        owner: dict[Path, list[str]] = {}
        for key, parts in self.parts.items():
            for archive in parts:
                owner.setdefault(archive, []).append(key)
        own: dict[str, list[Problem]] = {}
        for archive, lost in self.lost.items():
            keys = owner[archive]
            (own.setdefault(keys[0], []) if len(keys) == 1 else problems).extend(lost)
        studies = []
        for key, parts in self.parts.items():
            archives = list(parts)
            common = archives[0] if len(archives) == 1 else Path(os.path.commonpath(archives))
            ordered = tuple((a, tuple(sorted(parts[a], key=lambda m: m.path))) for a in archives)
            mine = (common, self.ids[key], ordered, tuple(own.get(key, ())))
            studies.append(ArchivedStudy(*mine, request=self.request))
        return studies, problems


def _beside(name: str) -> bool:
    """Whether a file is none of the images: hidden, of a file system, or a DICOMDIR."""
    parts = name.replace("\\", "/").split("/")
    return any(is_beside(part) for part in parts if part not in (".", ".."))


def _missing(archive: Path, member: Member, disc: Path, there: set[str]) -> list[Problem]:
    """Problems of the files that a DICOMDIR in a zip file lists in vain."""
    folder = member.path.rpartition("/")[0]
    name = f"{archive}/{member.path}"
    try:
        listed = [f"{folder}/{path}" if folder else path for path in listed_files(disc)]
    except BadDicom as error:
        what = str(error).removeprefix(f"{disc}: ")
        return [Problem(f"{what}; all files beside it are read", file=name, fatal=False)]
    return [
        Problem(f"is listed in {name} but is not there", file=f"{archive}/{path}")
        for path in listed
        if plain_path(path) not in there
    ]
