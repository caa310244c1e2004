"""Files of a result without what is new each time they are made, to compare them."""

from __future__ import annotations

import re
from pathlib import Path

import pydicom

_TIME = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d\+00:00| UTC)")

#: Elements of a DICOM object that are new each time.
_NEW = (
    *("SOPInstanceUID", "SeriesInstanceUID", "InstanceCreationDate", "InstanceCreationTime"),
    *("ContentDate", "ContentTime", "SeriesDate", "SeriesTime"),
)


def timeless(path: Path) -> bytes:
    """The content of a file with every time replaced by a word, and without new UIDs."""
    if path.suffix == ".dcm":
        data = pydicom.dcmread(path)
        for keyword in _NEW:
            if keyword in data:
                del data[keyword]
        return str(pydicom.Dataset(data)).encode()
    return _TIME.sub(b"TIME", path.read_bytes())
