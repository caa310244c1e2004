"""Walk through folders, links included."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def walk(
    path: Path, unreadable: list[OSError] | None = None
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield each folder at or below a path once, with the names of its folders and its files.

    Links to folders are followed, because data and runs may lie on other disks; a folder that
    several links or names lead to is visited where it is met first. As with `os.walk`, names that
    the caller removes from the list of folders are not visited.

    Args:
        path: the folder.
        unreadable: gets the errors of folders in it that cannot be listed; None: they are raised.

    Raises:
        OSError: if a folder cannot be listed.
    """

    def failed(error: OSError) -> None:
        if unreadable is None or error.filename == str(path):
            raise error
        unreadable.append(error)

    seen = set()
    for folder, folders, files in os.walk(path, onerror=failed, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield Path(folder), folders, files
