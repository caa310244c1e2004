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
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
)

from lumbargrade.dicom.acquisition import Acquisition, acquisition_of
from lumbargrade.dicom.decode_errors import DECODE_ERRORS, one_line
from lumbargrade.dicom.decoding import decoded
from lumbargrade.dicom.files import NotDicom
from lumbargrade.dicom.header import Header, if_usable
from lumbargrade.domain.errors import BadDicom
from lumbargrade.domain.geometry import SlicePlane

#: Stored or rescaled values, (rows, columns), of any number type.
Pixels = NDArray[Any]

#: No MR slice is larger; a header that claims more is wrong, and decoding it could exhaust memory.
LARGEST_SIDE = 4096

#: Bulk values longer than this stay in the file until they are asked for.
_DEFER = 4096


#: Largest plausible distance from the scanner's origin and between pixels, mm.
_FARTHEST, _WIDEST = 1e5, 1e2
#: Largest plausible rescale slope and intercept.
_LARGEST_RESCALE = 1e9

Axis = tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class SliceHeader:
    """What a file says of itself, checked.

    Attributes:
        path: the file.
        series_uid, study_uid, sop_uid, frame_of_reference: DICOM UIDs, empty where absent.
        header_number: InstanceNumber, None where absent or malformed.
        instance_number: number of the slice: InstanceNumber (0 if there is none), unless the rules
            for its layout number it by its file's name.
        orientation: ImageOrientationPatient as the file gives it.
        plane: its place in the patient, with axes of unit length.
        shape: (rows, columns).
        rescale: (slope, intercept), (1, 0) where absent.
        inverse: whether larger values are darker (MONOCHROME1).
        about: how it was acquired.
        dataset: the parsed header (pixel data deferred), for decoding.
    """

    path: Path
    series_uid: str
    study_uid: str
    sop_uid: str
    frame_of_reference: str
    header_number: int | None
    instance_number: int
    orientation: tuple[float, ...]
    plane: SlicePlane
    shape: tuple[int, int]
    rescale: tuple[float, float]
    inverse: bool
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
            return _checked(Header(path, dataset), dataset)
    except InvalidDicomError:
        raise NotDicom(f"{path}: not a DICOM file") from None
    except DECODE_ERRORS as error:
        raise BadDicom(f"{path}: damaged or unreadable header ({one_line(error)})") from None


def _checked(header: Header, dataset: FileDataset) -> SliceHeader:
    shape, inverse = _checked_image(header)
    orientation = header.numbers("ImageOrientationPatient", 6)
    # pixels and place do not depend on it, so a malformed one costs no slice
    number = if_usable(header.whole, "InstanceNumber", None)
    return SliceHeader(
        path=header.path,
        series_uid=header.text("SeriesInstanceUID"),
        study_uid=header.text("StudyInstanceUID"),
        sop_uid=header.text("SOPInstanceUID"),
        frame_of_reference=header.text("FrameOfReferenceUID"),
        header_number=number,
        instance_number=number or 0,
        orientation=tuple(orientation),
        plane=_plane(header, orientation),
        shape=shape,
        rescale=_rescale(header),
        inverse=inverse,
        about=acquisition_of(header),
        dataset=dataset,
    )


def _checked_image(header: Header) -> tuple[tuple[int, int], bool]:
    """Check that an image is one grey plane; (rows, columns), and whether it is MONOCHROME1."""
    path = header.path
    if "PixelData" not in header.dataset:
        raise BadDicom(f"{path}: has no pixel data")
    colours = header.text("PhotometricInterpretation") or "MONOCHROME2"
    samples = header.whole("SamplesPerPixel")
    if samples not in (None, 1) or not colours.startswith("MONOCHROME"):
        raise BadDicom(f"{path}: is a colour image ({colours})")
    if colours not in ("MONOCHROME1", "MONOCHROME2"):
        raise header.bad("PhotometricInterpretation", "is not MONOCHROME1 or MONOCHROME2")
    if (header.whole("NumberOfFrames") or 1) != 1:
        raise BadDicom(f"{path}: is a multi-frame image; export it as single frames")
    if "MOSAIC" in header.texts("ImageType"):
        # its ImagePositionPatient is that of the sheet, which is nowhere in the patient
        raise BadDicom(f"{path}: is a mosaic of many slices; export it as single slices")
    rows, columns = header.whole("Rows") or 0, header.whole("Columns") or 0
    if not (0 < rows <= LARGEST_SIDE and 0 < columns <= LARGEST_SIDE):
        limit = f"1 to {LARGEST_SIDE} are possible"
        raise BadDicom(f"{path}: claims {rows} x {columns} pixels; {limit}")
    return (rows, columns), colours == "MONOCHROME1"


def _plane(header: Header, orientation: Sequence[float]) -> SlicePlane:
    """Where the image lies; its axes must be unit and perpendicular, and are made exactly unit."""
    x, y, z = header.numbers("ImagePositionPatient", 3)
    if max(abs(x), abs(y), abs(z)) > _FARTHEST:
        raise header.bad("ImagePositionPatient", f"lies beyond {_FARTHEST:g} mm")
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(n - 1) for n in lengths) > 0.01 or abs(row @ column) > 0.01:
        raise header.bad("ImageOrientationPatient", "is not two unit axes")
    dy, dx = header.numbers("PixelSpacing", 2)
    if min(dy, dx) <= 0:
        raise header.bad("PixelSpacing", "is not positive")
    if max(dy, dx) > _WIDEST:
        raise header.bad("PixelSpacing", f"is more than {_WIDEST:g} mm")
    return SlicePlane((x, y, z), _axis(row / lengths[0]), _axis(column / lengths[1]), (dy, dx))


def _axis(values: NDArray[np.float64]) -> Axis:
    x, y, z = values.tolist()
    return x, y, z


def _rescale(header: Header) -> tuple[float, float]:
    """(slope, intercept), (1, 0) where the header has none."""
    slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept")
    if slope == 0:
        raise header.bad("RescaleSlope", "is zero")
    for keyword, value in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
        if value is not None and abs(value) > _LARGEST_RESCALE:
            raise header.bad(keyword, f"is beyond {_LARGEST_RESCALE:g}")
    return (1.0 if slope is None else slope, intercept or 0.0)


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
    slope, intercept = header.rescale
    if (slope, intercept) != (1.0, 0.0):
        pixels = pixels * slope + intercept
    if header.inverse:
        pixels = np.negative(pixels, dtype=np.float64)
    return pixels, tuple(one_line(w.message) for w in caught if isinstance(w.message, Warning))


def _forget_pixels(dataset: FileDataset) -> None:
    """Free the bytes that pydicom keeps beside the array it made of them."""
    dataset.pop("PixelData", None)
