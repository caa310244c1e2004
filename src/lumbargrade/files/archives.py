"""Unpack zip files: file by file, within limits, and never outside the folder that is given."""

from __future__ import annotations

import errno
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lumbargrade.domain.errors import BadInput, one_line

#: Suffix of the files that are taken for zip files in a folder.
ARCHIVE_SUFFIX = ".zip"

#: The first bytes of a zip file that is not empty.
_MARK = b"PK\x03\x04"
#: Bytes that are copied at once.
_CHUNK = 1 << 20
#: Bits of a member's flags: encrypted, and encrypted with hidden names.
_ENCRYPTED = 0x1 | 0x40
_STORED_HOW = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Limits:
    """What may be unpacked.

    Attributes:
        members: most files.
        file, total: most bytes of one file, and of all together.
        ratio: most bytes per stored byte of a file of more than ``small`` bytes. Images compress to
            a tenth; only files that are made to fill a disk reach several hundred.
        small: see ``ratio``.
        name: longest path of a file in the archive, bytes.
    """

    members: int = 200_000
    file: int = 2 << 30
    total: int = 64 << 30
    ratio: int = 200
    small: int = 8 << 20
    name: int = 1000


LIMITS = Limits()


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: its path as the archive has it.
        path: the same with slashes, relative and without climbing.
        size: bytes when it is unpacked.
        checksum: CRC-32 of its content, as the archive says.
    """

    name: str
    path: str
    size: int
    checksum: int


@dataclass(frozen=True)
class Contents:
    """The files of an archive that can be unpacked, and why others cannot: (name, reason)."""

    members: tuple[Member, ...]
    refused: tuple[tuple[str, str], ...]


def list_archive(archive: Path, limits: Limits = LIMITS) -> Contents:
    """List an archive without unpacking it; folders and empty files are left out.

    Raises:
        BadInput: if it is not a zip file, is damaged, or is over a limit as a whole.
        OSError: if it cannot be read.
    """
    with _opened(archive) as opened:
        infos = [i for i in opened.infolist() if not i.filename.endswith("/")]
        stored = archive.stat().st_size
    if len(infos) > limits.members:
        raise BadInput(f"{archive}: has {len(infos)} files, more than {limits.members}")
    total, packed = sum(i.file_size for i in infos), sum(i.compress_size for i in infos)
    if total > limits.total:
        raise BadInput(
            f"{archive}: would unpack to {_size(total)}, more than {_size(limits.total)}"
        )
    if packed > stored:
        raise BadInput(
            f"{archive}: its files overlap, as in an archive that is made to fill a disk"
        )
    members: dict[str, Member] = {}
    refused: list[tuple[str, str]] = []
    for info in infos:
        path = info.filename.replace("\\", "/")
        if why := _refusal(info, path, limits):
            refused.append((info.filename, why))
        elif path in members:
            refused.append((info.filename, "is twice in the archive; the first is used"))
        elif info.file_size:
            members[path] = Member(info.filename, path, info.file_size, info.CRC)
    return Contents(tuple(members.values()), tuple(refused))


def _refusal(info: zipfile.ZipInfo, path: str, limits: Limits) -> str:
    """Why a file is not unpacked; empty if it may be."""
    parts = PurePosixPath(path)
    if not parts.parts:
        return "has no name"
    if parts.is_absolute() or ":" in parts.parts[0]:
        return "has an absolute path"
    if ".." in parts.parts:
        return "has a path that leads out of the archive"
    if len(path.encode(errors="surrogateescape")) > limits.name or "\0" in path:
        return "has a name that no folder can hold"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link"
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted; unpack the archive with its password"
    if info.compress_type not in _STORED_HOW:
        return f"has an unknown compression ({info.compress_type}); unpack the archive"
    if info.file_size > limits.file:
        return f"would unpack to {_size(info.file_size)}, more than {_size(limits.file)}"
    if info.file_size > limits.small and info.file_size > limits.ratio * info.compress_size:
        return f"would unpack to more than {limits.ratio} times its size"
    if parts.suffix.lower() == ARCHIVE_SUFFIX:
        return "is an archive in an archive; unpack it"
    return ""


def unpack(
    archive: Path, members: Iterable[Member], to: Path
) -> Iterator[tuple[Member, Path | str]]:
    """Unpack files one after the other; yield each with its path, or with why it could not be.

    Args:
        archive: the zip file.
        members: from `list_archive`.
        to: gets the same tree.

    Raises:
        BadInput: if it is not a zip file any more.
        OSError: if it cannot be read, or a file cannot be written.
    """
    root = to.resolve()
    with _opened(archive) as opened:
        # of files with one name, zipfile itself would take the last
        first = {info.filename: info for info in reversed(opened.infolist())}
        for member in members:
            path = root.joinpath(*member.path.split("/"))
            if root not in path.parents:
                raise BadInput(f"{archive}: refusing to write {member.name!r} outside {to}")
            if member.name not in first:
                raise BadInput(f"{archive}: {member.name!r} is not in it any more")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                _copy(opened, first[member.name], member.size, path)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                yield member, "has the name of a folder of the archive"
            except (*_DAMAGED, OSError) as error:
                if not _is_damage(error):
                    raise
                path.unlink(missing_ok=True)
                yield member, f"is damaged in the archive ({one_line(error)})"
            else:
                yield member, path


def _copy(opened: zipfile.ZipFile, member: zipfile.ZipInfo, size: int, path: Path) -> None:
    """Unpack one file; zipfile reads no more bytes than the archive has announced."""
    with opened.open(member) as packed, path.open("xb") as file:
        shutil.copyfileobj(packed, file, _CHUNK)
    if path.stat().st_size != size:
        raise zipfile.BadZipFile("fewer bytes than announced")
    with path.open("rb") as file:
        if file.read(len(_MARK)) == _MARK:
            raise zipfile.BadZipFile("it is an archive; unpack it")


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        opened = zipfile.ZipFile(archive)
    except (*_DAMAGED, OSError) as error:
        if not _is_damage(error):
            raise
        raise BadInput(f"{archive}: not a zip file, or damaged ({one_line(error)})") from None
    with opened:
        yield opened


def _is_damage(error: Exception) -> bool:
    """Whether an archive is damaged, and not a disk full or a file without rights.

    Python seeks to where a damaged archive says, which may be before the beginning of the file.
    """
    return not isinstance(error, OSError) or error.errno == errno.EINVAL


def is_archive(path: Path) -> bool:
    """Whether a file is a zip file by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MARK)) == _MARK
    except OSError:
        return False


def _size(count: int) -> str:
    return f"{count / 2**30:.3g} GiB" if count >= 1 << 30 else f"{count / 2**20:.3g} MiB"
