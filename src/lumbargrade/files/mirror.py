"""Local copies of models and stores at URLs: fetched once, and again where they have changed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock

from lumbargrade.domain.errors import BadInput
from lumbargrade.files.urls import Place, RemoteFile, Url, fetch, list_files, remove, upload
from lumbargrade.files.writing import write_text

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return the folder of local copies: LUMBARGRADE_CACHE, or that of the user."""
    if given := os.environ.get("LUMBARGRADE_CACHE"):
        return Path(given).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lumbargrade"


def local_copy(place: Place, *, new: bool = False) -> Path:
    """Return a place of this machine unchanged, or a local copy of a folder or file at a URL.

    The copy is kept for later runs. Only files whose ETag (or size and time, if the server has no
    ETag) has changed are fetched again; files that the URL no longer has are removed. Other
    processes that want the same copy wait.

    Args:
        place: the folder or file.
        new: whether there may be nothing at the URL yet.

    Raises:
        BadInput: if there is nothing at the URL.
        UsageError: if the URL cannot be used.
    """
    if isinstance(place, Path):
        return place
    folder = _folder_of(place)
    with _locked(folder):
        found = list_files(place)
        if not (found or new):
            raise BadInput(f"{place}: nothing is there; check the URL")
        if [file.name for file in found] == [""]:  # the URL of one file
            (file,) = found
            _refresh(place.parent, [replace(file, name=place.name)], folder.parent)
        else:
            _refresh(place, found, folder)
    return folder


def publish_copy(url: Url, *, last: str) -> None:
    """Upload what has changed in the local copy of a folder since it was fetched.

    While files are exchanged, the URL has no file ``last``, so that nobody takes a mixture for the
    whole. If interrupted, the same call resumes.

    Args:
        url: the folder, of which `local_copy` has made a copy.
        last: name of the file that shows that all others are there.

    Raises:
        BadInput: if the bucket does not exist.
        UsageError: if the URL cannot be used.
    """
    folder = _folder_of(url)
    with _locked(folder):
        remote = {file.name: file for file in list_files(url)}
        known = _read(folder)
        paths = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        ours = {n: p for n, p in paths.items() if not any(q[0] == "." for q in n.split("/"))}
        changed = [
            name
            for name, path in ours.items()
            if name not in remote or not _unchanged(remote[name], path, known)
        ]
        gone = remote.keys() - ours.keys()
        if not (changed or gone):
            return
        log.info("%s: uploading %d files", url, len(changed))
        if last in remote:
            remove(url / last)
        for name in sorted(gone - {last}):
            remove(url / name)
        upload(folder, url, names=sorted({*changed, last}), last=last)
        _write_index(folder, list_files(url))


def _folder_of(url: Url) -> Path:
    digest = hashlib.sha256(str(url).encode()).hexdigest()[:16]
    return cache_folder() / "copies" / digest / (url.name or "root")


def _locked(folder: Path) -> BaseFileLock:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.parent / ".lock")


def _refresh(url: Url, files: Sequence[RemoteFile], folder: Path) -> None:
    """Fetch the files that have changed, and remove those that do not exist any more."""
    known = _read(folder)
    current = {file.name: file for file in files}
    missing = [f for f in files if not _unchanged(f, folder / f.name, known)]
    for name in known.keys() - current.keys():
        (folder / name).unlink(missing_ok=True)
    if missing:
        size = sum(file.size for file in missing) / 1e6
        log.info("%s: fetching %d files, %.1f MB, into %s", url, len(missing), size, folder)
        fetch(url, [file.name for file in missing], folder)
    _write_index(folder, files)


def _unchanged(file: RemoteFile, path: Path, known: dict[str, Any]) -> bool:
    """Whether a file and its copy are those that the index knows."""
    state = _state(file, path)
    return state is not None and known.get(file.name) == state


def _state(file: RemoteFile, path: Path) -> list[Any] | None:
    """What the index knows of a file and its copy; None if there is no such copy."""
    if not path.is_file() or path.stat().st_size != file.size:
        return None
    return [file.size, file.version, path.stat().st_mtime_ns]


def _write_index(folder: Path, files: Sequence[RemoteFile]) -> None:
    states = {file.name: _state(file, folder / file.name) for file in files}
    write_text(_index_of(folder), json.dumps(states))


def _index_of(folder: Path) -> Path:
    """What is known of the files of a copy; it lies beside the copy, which others may clean up."""
    return folder.with_name(f".{folder.name}.json")


def _read(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads(_index_of(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
