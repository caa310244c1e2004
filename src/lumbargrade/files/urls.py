"""Folders and files at URLs: S3, Google Cloud Storage and all else that fsspec knows.

Object stores have no folders that can be locked, mapped into memory or written in place. So files
are fetched before they are used, and results are uploaded file by file, the one that marks them as
complete last.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lumbargrade.domain.errors import BadInput, UsageError
from lumbargrade.files.extras import needs_extra

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

#: Environment variables that give access, by the scheme of the URL.
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "gcs": "GOOGLE_APPLICATION_CREDENTIALS",
}
#: Names of exceptions, or of their base classes, that say that access was not given.
_NO_ACCESS = frozenset(
    (
        *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"),
        *("ProfileNotFound", "TokenRetrievalError", "DefaultCredentialsError", "RefreshError"),
        "PermissionError",
    )
)
#: The same for servers that do not answer.
_UNREACHABLE = frozenset(
    ("ConnectionError", "ConnectionClosedError", "ClientConnectionError", "TimeoutError", "Timeout")
)


@dataclass(frozen=True)
class Url:
    """The URL of a folder or a file, without a slash at the end."""

    text: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: object) -> Url:
        return Url(f"{self.text}/{name}")

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.text.rpartition("/")[2]

    @property
    def parent(self) -> Url:
        """The folder that it is in."""
        return Url(self.text.rpartition("/")[0])

    @property
    def scheme(self) -> str:
        """What comes before ``://``."""
        return self.text.partition("://")[0]


#: A folder or file on this machine, or at a URL.
Place = Path | Url


def place(text: str) -> Place:
    """Return the place that a user means; ``file://`` is a path of this machine.

    Raises:
        UsageError: if a URL has no path or bucket.
    """
    if not _URL.match(text):
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if not text.partition("://")[2].strip("/"):
        raise UsageError(f"{text}: give a bucket and a folder, such as s3://bucket/folder")
    return Url(text.rstrip("/"))


@dataclass(frozen=True)
class RemoteFile:
    """A file at a URL.

    Attributes:
        name: its path relative to the folder that was listed, with slashes.
        size: in bytes.
        version: changes with the content: the ETag, a checksum, or the time of its last change.
    """

    name: str
    size: int
    version: str


@contextmanager
def _explained(url: Url) -> Iterator[None]:
    """Replace errors of fsspec and its packages by ones that say what to install or set.

    Raises:
        BadInput: if a file or bucket does not exist.
        UsageError: if the URL cannot be used at all.
    """
    try:
        with needs_extra(f"{url}"):
            yield
    except (UsageError, BadInput):
        raise
    except FileNotFoundError as error:
        raise BadInput(f"{url}: not found ({_words(error)}); check the URL") from error
    except Exception as error:
        # known by their names, because the packages that have them may not be installed
        names = {kind.__name__ for kind in type(error).__mro__}
        local = isinstance(error, OSError) and error.filename  # the copy on this machine
        if names & _NO_ACCESS and not local:
            how = _CREDENTIALS.get(url.scheme, "what its fsspec package needs")
            raise UsageError(f"{url}: no access ({_words(error)}); set {how}") from error
        if names & _UNREACHABLE:
            raise UsageError(
                f"{url}: the server cannot be reached ({_words(error)}); check the network, and "
                "AWS_ENDPOINT_URL if the store is not Amazon's"
            ) from error
        raise


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _open(url: Url) -> tuple[Any, str]:
    """The file system of a URL and the path in it.

    Raises:
        UsageError: if its scheme is unknown, or its package is not installed.
    """
    import fsspec

    for package in ("botocore", "aiobotocore"):  # they log where they found credentials
        logging.getLogger(package).setLevel(logging.WARNING)
    try:
        system, path = fsspec.url_to_fs(url.text, use_listings_cache=False)
    except ValueError as error:
        raise UsageError(
            f"{url}: {_words(error)}; give s3://, gs://, file:// or a scheme that fsspec knows"
        ) from error
    except ImportError as error:
        raise UsageError(
            f"{url}: {_words(error)} (s3fs and gcsfs: `pip install 'lumbargrade[cloud]'`)"
        ) from error
    return system, str(path).rstrip("/")


def list_files(url: Url) -> tuple[RemoteFile, ...]:
    """List all files at and below a URL, sorted by name; empty if there are none.

    Raises:
        BadInput: if the bucket does not exist.
        UsageError: if the URL cannot be used.
    """
    with _explained(url):
        system, root = _open(url)
        found = system.find(root, detail=True)
    return tuple(
        RemoteFile(path.removeprefix(root).lstrip("/"), int(info["size"]), _version(info))
        for path, info in sorted(found.items())
    )


def _version(info: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "md5Hash", "crc32c", "content_md5"):
        if info.get(key):
            return str(info[key]).strip('"')
    times = (info.get(key) for key in ("LastModified", "updated", "mtime", "created"))
    return str(next((time for time in times if time), ""))


def list_folder(url: Url) -> tuple[list[Url], list[str]]:
    """List the folders and the names of the files directly in a folder, both sorted.

    Raises:
        BadInput: if there is no such folder.
        UsageError: if the URL cannot be used.
    """
    with _explained(url):
        system, root = _open(url)
        found = system.ls(root, detail=True)
    kinds = {str(e["name"]).rstrip("/").removeprefix(root).lstrip("/"): e["type"] for e in found}
    folders = sorted(name for name, kind in kinds.items() if name and kind == "directory")
    files = sorted(name for name, kind in kinds.items() if name and kind != "directory")
    return [url / name for name in folders], files


def fetch(url: Url, names: Sequence[str], to: Path) -> None:
    """Fetch files of a folder into a local folder, several at a time.

    Args:
        url: the folder.
        names: of its files, relative to it.
        to: the local folder; gets the same tree.

    Raises:
        BadInput: if a file does not exist any more.
        UsageError: if the URL cannot be used.
    """
    local = [to.joinpath(*name.split("/")) for name in names]
    for path in local:
        if to.resolve() not in path.resolve().parents:
            raise BadInput(f"{url}: refusing to write {path}, which is outside {to}")
        path.parent.mkdir(parents=True, exist_ok=True)
    with _explained(url):
        system, root = _open(url)
        system.get([f"{root}/{name}" for name in names], [str(path) for path in local])


def fetch_file(url: Url, to: Path) -> None:
    """Fetch one file; raises like `fetch`."""
    with _explained(url):
        system, path = _open(url)
        system.get_file(path, str(to))


def upload(folder: Path, url: Url, *, names: Sequence[str] | None = None, last: str = "") -> None:
    """Upload files of a local folder, several at a time.

    Each file is replaced as a whole. An upload that was interrupted is done again by the same call.

    Args:
        folder: the local folder.
        url: where its tree goes.
        names: of the files, relative to the folder and with slashes; None for all.
        last: name of the file that shows that all others are there; it is uploaded last.

    Raises:
        BadInput: if the bucket does not exist.
        UsageError: if the URL cannot be used.
    """
    if names is None:
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    with _explained(url):
        system, root = _open(url)
        for part in ([n for n in names if n != last], [n for n in names if n == last]):
            if part:
                system.put([str(folder / n) for n in part], [f"{root}/{n}" for n in part])


def remove(url: Url) -> None:
    """Remove a file; raises like `fetch`."""
    with _explained(url):
        system, path = _open(url)
        system.rm_file(path)


def require_writable_url(url: Url) -> None:
    """Check that files can be written below a URL, before the work whose results go there.

    Raises:
        BadInput: if the bucket does not exist.
        UsageError: if the URL cannot be used.
    """
    name = ".lumbargrade-can-write"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).touch()
        upload(Path(folder), url)
    remove(url / name)
