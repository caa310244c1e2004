"""One DICOM file: its header checked before any pixel is decoded, then its pixels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
)

from lumbargrade.dicom.acquisition import Acquisition, acquisition_of
from lumbargrade.dicom.decode_errors import DECODE_ERRORS, one_line
from lumbargrade.dicom.decoding import decoded
from lumbargrade.dicom.files import NotDicom
from lumbargrade.domain.errors import BadDicom
from lumbargrade.domain.geometry import SlicePlane

#: Stored or rescaled values, (rows, columns), of any number type.
Pixels = NDArray[Any]

#: No MR slice is larger; a header that claims more is wrong, and decoding it could exhaust memory.
LARGEST_SIDE = 4096

#: Bulk values longer than this stay in the file until they are asked for.
_DEFER = 4096


@dataclass(frozen=True, slots=True, eq=False)
class SliceHeader:
    """What a file says of itself, checked.

    Attributes:
        path: the file.
        series_uid, study_uid, sop_uid, frame_of_reference: DICOM UIDs, empty where absent.
        instance_number: InstanceNumber, 0 where absent.
        plane: its place in the patient.
        shape: (rows, columns).
        about: how it was acquired.
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
    about: Acquisition
    dataset: FileDataset


def read_header(path: Path) -> SliceHeader:
    """Read and check a file's header without its pixels.

    Raises:
        BadDicom: naming the file and what is wrong with it (NotDicom: it is no DICOM file).
    """
    try:
        if path.stat().st_size == 0:
            raise BadDicom(f"{path}: empty file")
        with warnings.catch_warnings():
            # Values that break the standard's formatting rules are usual in real files; those that
            # matter here are checked below.
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, defer_size=_DEFER)
            return _checked(path, dataset)
    except InvalidDicomError:
        raise NotDicom(f"{path}: not a DICOM file") from None
    except DECODE_ERRORS as error:
        raise BadDicom(f"{path}: damaged or unreadable header ({one_line(error)})") from None


def _checked(path: Path, dataset: FileDataset) -> SliceHeader:
    rows, columns = _checked_image(path, dataset)
    position = _numbers(path, dataset, "ImagePositionPatient", 3)
    uid = {
        k: str(dataset.get(k) or "")
        for k in ("SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
    }
    number = dataset.get("InstanceNumber")
    row, column = _axes(path, dataset)
    spacing = _numbers(path, dataset, "PixelSpacing", 2)
    if min(spacing) <= 0:
        raise BadDicom(f"{path}: PixelSpacing {spacing} is not positive")
    return SliceHeader(
        path=path,
        series_uid=uid["SeriesInstanceUID"],
        study_uid=uid["StudyInstanceUID"],
        sop_uid=uid["SOPInstanceUID"],
        frame_of_reference=uid["FrameOfReferenceUID"],
        instance_number=int(number) if number is not None else 0,
        plane=SlicePlane(
            (position[0], position[1], position[2]), row, column, (spacing[0], spacing[1])
        ),
        shape=(rows, columns),
        about=acquisition_of(dataset),
        dataset=dataset,
    )


def _checked_image(path: Path, dataset: Dataset) -> tuple[int, int]:
    """(rows, columns) of an image that is one grey plane of a sensible size."""
    if "PixelData" not in dataset:
        raise BadDicom(f"{path}: has no pixel data")
    colours = str(dataset.get("PhotometricInterpretation") or "MONOCHROME2")
    if dataset.get("SamplesPerPixel", 1) != 1 or not colours.startswith("MONOCHROME"):
        raise BadDicom(f"{path}: is a colour image ({colours})")
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise BadDicom(f"{path}: is a multi-frame image; export it as single frames")
    if "MOSAIC" in (dataset.get("ImageType") or ()):
        # its ImagePositionPatient is that of the sheet, which is nowhere in the patient
        raise BadDicom(f"{path}: is a mosaic of many slices; export it as single slices")
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if not (0 < rows <= LARGEST_SIDE and 0 < columns <= LARGEST_SIDE):
        limit = f"1 to {LARGEST_SIDE} are possible"
        raise BadDicom(f"{path}: claims {rows} x {columns} pixels; {limit}")
    return rows, columns


def _numbers(path: Path, dataset: Dataset, keyword: str, count: int) -> list[float]:
    value = dataset.get(keyword)
    if value is None or isinstance(value, str) or not isinstance(value, Sequence):
        raise BadDicom(f"{path}: has no {keyword}")
    numbers = [float(v) for v in value]
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise BadDicom(f"{path}: {keyword} {numbers} is not {count} finite numbers")
    return numbers


Axis = tuple[float, float, float]


def _axes(path: Path, dataset: Dataset) -> tuple[Axis, Axis]:
    """Row and column axes, made exactly unit and exactly perpendicular."""
    orientation = _numbers(path, dataset, "ImageOrientationPatient", 6)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(n - 1) for n in lengths) > 0.01 or abs(row @ column) > 0.01:
        raise BadDicom(f"{path}: ImageOrientationPatient {orientation} is not two unit axes")
    row, column = row / lengths[0], column / lengths[1]
    return (float(row[0]), float(row[1]), float(row[2])), (
        float(column[0]),
        float(column[1]),
        float(column[2]),
    )


def read_pixels(header: SliceHeader) -> tuple[Pixels, tuple[str, ...]]:
    """Decode a slice: its values, (rows, columns), and what the decoder warned of.

    Larger is brighter: MONOCHROME1 values are negated. Rescale slope and intercept are applied
    where they are not 1 and 0. The header's deferred pixel data is not kept.

    Raises:
        BadDicom: if the pixels are truncated, damaged or in an unknown transfer syntax.
    """
    path, dataset = header.path, header.dataset
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if dataset.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
                # deferred values cannot be found again inside a deflated file
                dataset = pydicom.dcmread(path)
            pixels = decoded(path, dataset)
    except DECODE_ERRORS as error:
        raise BadDicom(f"{path}: cannot decode its pixels ({one_line(error)})") from None
    finally:
        _forget_pixels(header.dataset)
    if pixels.shape != header.shape:
        raise BadDicom(f"{path}: pixels {pixels.shape} but header {header.shape}")
    slope, intercept = _rescale(path, dataset)
    if (slope, intercept) != (1.0, 0.0):
        pixels = pixels * slope + intercept
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        pixels = np.negative(pixels, dtype=np.float64)
    return pixels, tuple(one_line(w.message) for w in caught if isinstance(w.message, Warning))


def _rescale(path: Path, dataset: Dataset) -> tuple[float, float]:
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    values = (1.0 if slope is None else float(slope), float(intercept or 0))
    if not np.isfinite(values).all() or values[0] == 0:
        raise BadDicom(f"{path}: RescaleSlope {slope}, RescaleIntercept {intercept} are unusable")
    return values


def _forget_pixels(dataset: FileDataset) -> None:
    """Free the bytes that pydicom keeps beside the array it made of them."""
    dataset.pop("PixelData", None)
