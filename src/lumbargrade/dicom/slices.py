"""One DICOM file: its header checked before any pixel is decoded, then its pixels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from lumbargrade.domain.errors import BadDicom
from lumbargrade.domain.geometry import SlicePlane

#: No MR slice is larger; a header that claims more is wrong, and decoding it could exhaust memory.
LARGEST_SIDE = 4096

#: Bulk values longer than this stay in the file until they are asked for.
_DEFER = 4096

#: What pydicom and its decoders raise for files that are damaged or of an unknown syntax.
_DECODE_ERRORS = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class SliceHeader:
    """What a file says of itself, checked.

    Attributes:
        path: the file.
        series_uid, study_uid, sop_uid, frame_of_reference: DICOM UIDs, empty where absent.
        instance_number: InstanceNumber.
        plane: its place in the patient.
        shape: (rows, columns).
        dataset: the parsed header (pixel data deferred).
    """

    path: Path
    series_uid: str
    study_uid: str
    sop_uid: str
    frame_of_reference: str
    instance_number: int
    plane: SlicePlane
    shape: tuple[int, int]
    dataset: Dataset


def read_header(path: Path) -> SliceHeader:
    """Read and check a file's header without its pixels.

    Raises:
        BadDicom: naming the file and what is wrong with it.
    """
    if path.stat().st_size == 0:
        raise BadDicom(f"{path}: empty file")
    try:
        with warnings.catch_warnings():
            # Values that break the standard's formatting rules are usual in real files.
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, defer_size=_DEFER)
            return _checked(path, dataset)
    except InvalidDicomError:
        raise BadDicom(f"{path}: not a DICOM file") from None
    except _DECODE_ERRORS as error:
        raise BadDicom(f"{path}: damaged or unreadable header ({error})") from None


def _checked(path: Path, dataset: Dataset) -> SliceHeader:
    if "PixelData" not in dataset:
        raise BadDicom(f"{path}: has no pixel data")
    if dataset.get("SamplesPerPixel", 1) != 1:
        raise BadDicom(f"{path}: is a colour image")
    if int(dataset.get("NumberOfFrames", 1) or 1) != 1:
        raise BadDicom(f"{path}: is a multi-frame image; export it as single frames")
    rows, columns = int(dataset.get("Rows", 0) or 0), int(dataset.get("Columns", 0) or 0)
    if not (0 < rows <= LARGEST_SIDE and 0 < columns <= LARGEST_SIDE):
        raise BadDicom(f"{path}: claims {rows} x {columns} pixels")
    spacing = _numbers(dataset, "PixelSpacing", 2)
    orientation = _numbers(dataset, "ImageOrientationPatient", 6)
    position = _numbers(dataset, "ImagePositionPatient", 3)
    for name, value in (
        ("PixelSpacing", spacing),
        ("ImageOrientationPatient", orientation),
        ("ImagePositionPatient", position),
    ):
        if value is None:
            raise BadDicom(f"{path}: has no usable {name}")
    assert spacing is not None and orientation is not None and position is not None
    if min(spacing) <= 0:
        raise BadDicom(f"{path}: PixelSpacing {spacing} is not positive")
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(n - 1) for n in lengths) > 0.01 or abs(row @ column) > 0.01:
        raise BadDicom(f"{path}: ImageOrientationPatient {orientation} is not two unit axes")
    row, column = row / lengths[0], column / lengths[1]
    number = dataset.get("InstanceNumber")
    return SliceHeader(
        path=path,
        series_uid=str(dataset.get("SeriesInstanceUID", "")),
        study_uid=str(dataset.get("StudyInstanceUID", "")),
        sop_uid=str(dataset.get("SOPInstanceUID", "")),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID", "")),
        instance_number=int(number) if number is not None else 0,
        plane=SlicePlane(
            (position[0], position[1], position[2]),
            (float(row[0]), float(row[1]), float(row[2])),
            (float(column[0]), float(column[1]), float(column[2])),
            (spacing[0], spacing[1]),
        ),
        shape=(rows, columns),
        dataset=dataset,
    )


def _numbers(dataset: Dataset, keyword: str, count: int) -> list[float] | None:
    value = dataset.get(keyword)
    if value is None or not hasattr(value, "__len__") or len(value) != count:
        return None
    numbers = [float(v) for v in value]
    return numbers if np.isfinite(numbers).all() else None


def read_pixels(header: SliceHeader) -> NDArray[np.generic]:
    """Decode the pixels of a slice, (rows, columns), stored values.

    MONOCHROME1 is turned so that larger is brighter; rescale slope and intercept are applied where
    they are not 1 and 0.

    Raises:
        BadDicom: if the pixels are truncated, damaged or in an unknown transfer syntax.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = np.asarray(header.dataset.pixel_array)
    except _DECODE_ERRORS as error:
        first = str(error).strip().split("\n")[0]
        raise BadDicom(f"{header.path}: cannot decode its pixels ({first})") from None
    if pixels.shape != header.shape:
        raise BadDicom(f"{header.path}: pixels {pixels.shape} but header {header.shape}")
    slope = float(header.dataset.get("RescaleSlope", 1) or 1)
    intercept = float(header.dataset.get("RescaleIntercept", 0) or 0)
    if (slope, intercept) != (1.0, 0.0):
        pixels = pixels * slope + intercept
    if header.dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        pixels = pixels.max() - pixels
    return pixels
