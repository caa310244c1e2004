"""Local copies of models and stores at URLs: fetched once, and again where they have changed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from filelock import FileLock

from lumbargrade.domain.errors import BadInput
from lumbargrade.files.urls import Place, RemoteFile, Url, fetch, list_files
from lumbargrade.files.writing import write_text

log = logging.getLogger(__name__)

_INDEX = ".lumbargrade-mirror.json"


def cache_folder() -> Path:
    """Return the folder of local copies: LUMBARGRADE_CACHE, or that of the user."""
    if given := os.environ.get("LUMBARGRADE_CACHE"):
        return Path(given).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lumbargrade"


def local_copy(place: Place) -> Path:
    """Return a place of this machine unchanged, or a local copy of a folder or file at a URL.

    The copy is kept for later runs. Only files whose ETag (or size and time, if the server has no
    ETag) has changed are fetched again; files that the URL no longer has are removed. Other
    processes that want the same copy wait.

    Raises:
        BadInput: if there is nothing at the URL.
        UsageError: if the URL cannot be used.
    """
    if isinstance(place, Path):
        return place
    digest = hashlib.sha256(str(place).encode()).hexdigest()[:16]
    folder = cache_folder() / "copies" / digest / (place.name or "root")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / ".lock"):
        found = list_files(place)
        if not found:
            raise BadInput(f"{place}: nothing is there; check the URL")
        if [file.name for file in found] == [""]:  # the URL of one file
            _refresh(place.parent, [RemoteFile(place.name, *_rest(found[0]))], folder.parent)
            return folder
        _refresh(place, found, folder)
    return folder


def _rest(file: RemoteFile) -> tuple[int, str]:
    return file.size, file.version


def _refresh(url: Url, files: list[RemoteFile] | tuple[RemoteFile, ...], folder: Path) -> None:
    index = folder / _INDEX
    known = _read(index)
    current: dict[str, Any] = {file.name: [file.size, file.version] for file in files}
    missing = [
        name
        for name, (size, version) in current.items()
        if known.get(name) != [size, version] or _size(folder / name) != size
    ]
    for name in known.keys() - current.keys():
        (folder / name).unlink(missing_ok=True)
    if missing:
        size = sum(current[name][0] for name in missing) / 1e6
        log.info("%s: fetching %d files, %.1f MB, into %s", url, len(missing), size, folder)
        # what is fetched now is unknown until all of it is there
        kept = {name: known[name] for name in known.keys() & current.keys() - set(missing)}
        write_text(index, json.dumps(kept))
        fetch(url, missing, folder)
    write_text(index, json.dumps(current))


def _read(index: Path) -> dict[str, Any]:
    try:
        found = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
