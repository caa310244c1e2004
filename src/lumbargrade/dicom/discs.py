"""DICOMDIR: the list of the files on a disc (PS3.10 F)."""

from __future__ import annotations

import warnings
from pathlib import Path, PurePosixPath

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue

from lumbargrade.dicom.opening import DECODE_ERRORS
from lumbargrade.domain.errors import BadDicom, one_line

#: Name of the list, in any case.
DISC_FILE = "dicomdir"

#: A larger list is not read: it would have millions of files.
_LARGEST = 256 << 20


def listed_files(disc: Path) -> list[str]:
    """The paths of the images that a DICOMDIR lists, relative to its folder, with slashes.

    Raises:
        BadDicom: if it is damaged, or a path in it leads out of its folder.
    """
    try:
        if disc.stat().st_size > _LARGEST:
            raise BadDicom(f"{disc}: too large for the list of a disc")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            records = pydicom.dcmread(disc).get("DirectoryRecordSequence")
            if records is None:
                raise BadDicom(f"{disc}: lists no files")
            found = [_path(r.get("ReferencedFileID")) for r in records if _is_image(r)]
    except InvalidDicomError:
        raise BadDicom(f"{disc}: not a DICOM file") from None
    except DECODE_ERRORS as error:
        raise BadDicom(f"{disc}: damaged or unreadable ({one_line(error)})") from None
    for path in found:
        if PurePosixPath(path).is_absolute() or ".." in path.split("/"):
            raise BadDicom(f"{disc}: lists a file outside its folder ({path!r:.100})")
    return list(dict.fromkeys(filter(None, found)))


def _is_image(record: pydicom.Dataset) -> bool:
    return str(record.get("DirectoryRecordType", "")).strip() == "IMAGE"


def _path(value: object) -> str:
    if value is None:
        return ""
    parts = value if isinstance(value, MultiValue | list) else str(value).split("\\")
    return "/".join(str(part).strip() for part in parts)


def plain_path(path: str) -> str:
    """A path as discs compare it: without case, and without the ISO 9660 version of the name."""
    return path.lower().partition(";")[0].rstrip(".")
