"""Write files atomically: a reader sees the old file or the new one, never a part of it."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

from filelock import FileLock, Timeout

from lumbargrade.domain.errors import UsageError


class _Place(TypedDict):
    prefix: str
    suffix: str
    dir: Path


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces ``path`` if the block succeeds.

    The temporary file has the suffix of ``path``, because some writers choose the format by it. Its
    name starts with a dot. It is removed if the block fails; a killed process may leave it behind,
    but it is never read.

    Raises:
        OSError: if the folder cannot be created or written to, or the disk is full; names the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(**_beside(path))
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        # a full disk is found by a write, which knows no name; an error without a number has a text
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside ``path`` that replaces the folder ``path`` if the block succeeds.

    Otherwise ``path`` stays as it was. A killed process may leave a folder whose name starts with a
    dot.

    Raises:
        OSError: if the folder cannot be created or replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{path.name}.", dir=path.parent, ignore_cleanup_errors=True
    ) as temporary:
        new, old = Path(temporary, "new"), Path(temporary, "old")
        new.mkdir()
        yield new
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise


def require_writable(path: Path | str) -> None:
    """Check that a file can be written, before the work whose result it will contain.

    Raises:
        OSError: if its folder cannot be created or written to, its name is too long, or the path is
            a folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with tempfile.NamedTemporaryFile(**_beside(path)):
        pass


def require_place_for(path: Path, out: Path) -> None:
    """Check that a file or folder can be written where the option --out says.

    Raises:
        UsageError: if it cannot; names ``out``.
    """
    try:
        require_writable(path)
    except OSError as error:
        why = f"--out {out}: cannot be written ({error.strerror or error})"
        raise UsageError(f"{why}; check rights and free space, or give another folder") from None


@contextmanager
def locked_folder(folder: Path, busy: str, patience: float = 0.0) -> Iterator[None]:
    """Lock a folder against other processes; the lock ends when the process ends.

    Args:
        folder: the folder of the lock file.
        busy: message if another process has the lock.
        patience: seconds to wait for the lock, because a killed process needs some time to end.

    Raises:
        UsageError: if another process has the lock.
        OSError: if the lock file cannot be written.
    """
    # the lock belongs to the process, not to one of its threads
    lock = FileLock(folder / ".lock", thread_local=False)
    try:
        lock.acquire(timeout=patience, poll_interval=0.1)
    except Timeout:
        raise UsageError(busy) from None
    try:
        yield
    finally:
        lock.release()


def _beside(path: Path) -> _Place:
    """Return arguments of `tempfile` for a temporary file beside ``path``."""
    return {"prefix": f".{path.stem}.", "suffix": path.suffix, "dir": path.parent}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path | str, text: str) -> None:
    """Write text atomically in UTF-8; lines end with a line feed on every system.

    Bytes of file names that are not UTF-8 are written as backslash escapes.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def sha256_of(path: Path | str) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal.

    Raises:
        OSError: if it cannot be read.
    """
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
