"""Read and check the headers of the images in one DICOM file, before any pixel is decoded."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag
from pydicom.uid import UID

from lumbargrade.dicom.frames import frame_headers, is_enhanced
from lumbargrade.dicom.header import Acquisition, Header, acquisition_of, if_usable
from lumbargrade.dicom.opening import (
    DECODE_ERRORS,
    NotDicom,
    NotImage,
    PixelFile,
    is_resource_fork,
    open_file,
    pixel_module,
    require_file,
    shared,
)
from lumbargrade.dicom.ordinary import PIXEL_DATA, elements_of
from lumbargrade.dicom.requests import HeaderValue
from lumbargrade.domain.errors import BadDicom, one_line
from lumbargrade.domain.geometry import SlicePlane

#: Maximum rows or columns. A header with more is wrong, and decoding could exhaust the memory.
LARGEST_SIDE = 4096

#: Maximum plausible distance from the scanner's origin, and maximum pixel spacing, mm.
_FARTHEST, _WIDEST = 1e5, 1e2
#: Characters of a UID; the standard allows 64.
_LONGEST_UID = 128
#: Maximum plausible rescale slope and intercept.
_LARGEST_RESCALE = 1e9

Axis = tuple[float, float, float]

#: What identifies a patient.
PATIENT = ("PatientID", "PatientName", "PatientBirthDate")

PIXEL_TAG = BaseTag(PIXEL_DATA)

#: What the DICOM objects of this package have as manufacturer and model.
MAKER = "lumbargrade"


@dataclass(frozen=True, slots=True, eq=False)
class SliceHeader:
    """The checked header of one image.

    Attributes:
        path: the file.
        series_uid, study_uid, sop_uid, frame_of_reference: DICOM UIDs; empty if absent.
        header_number: InstanceNumber; None if absent or malformed.
        instance_number: number of the slice: InstanceNumber (0 if absent), or the number in the
            file name if the rules for the layout say so.
        orientation: ImageOrientationPatient as in the file.
        plane: position in the patient, with axes of unit length.
        shape: (rows, columns).
        rescale: (slope, intercept); (1, 0) if absent.
        inverse: whether larger values are darker (MONOCHROME1).
        about: how it was acquired.
        file: what decoding needs.
        series_number, description: SeriesNumber and SeriesDescription; empty if absent.
        acquired: date and time of acquisition as text that sorts by time; empty if absent.
        frame: number of the frame in a multi-frame file, from 1; 0 for a single-frame file.
        patient: PatientID, PatientName and PatientBirthDate; empty if absent.
        remarks: notes on unusual values that could be read.
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
    file: PixelFile
    series_number: str
    description: str
    acquired: str
    frame: int
    patient: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def where(self) -> str:
        """File and frame, for messages."""
        return f"{self.path}: frame {self.frame}" if self.frame else str(self.path)

    @property
    def derived(self) -> bool:
        """Whether ImageType says that its pixels were computed from other images."""
        return any(w.strip().upper() == "DERIVED" for w in self.about.image_type[:1])

    @property
    def syntax(self) -> str:
        """The transfer syntax of its pixels."""
        return str(self.file.syntax or "")


def read_headers(
    path: Path, values: Sequence[HeaderValue] = ()
) -> tuple[list[SliceHeader], list[BadDicom]]:
    """Read and check the header of a file's image, or of each of its frames, without pixels.

    Args:
        path: the file.
        values: header values that replace those of the file.

    Returns:
        The images that can be used, and the errors of the file and its frames. An error names the
        file and the value (NotDicom: not a DICOM file; NotImage: a DICOM file without an image).
    """
    if not values and (ordinary := _ordinary(path)) is not None:
        return [ordinary], []
    usable: list[SliceHeader] = []
    errors: list[BadDicom] = []
    try:
        require_file(path)
        for header, file in _images(path):
            for value in values:
                if value.fits(header.dataset):
                    header.remarks.append(value.apply(header.dataset))
            try:
                usable.append(_checked(header, file))
            except BadDicom as error:
                errors.append(error)
    except BadDicom as error:
        errors.append(error)
    except InvalidDicomError:
        kind = NotImage if is_resource_fork(path) else NotDicom
        errors.append(kind(f"{path}: not a DICOM file"))
    except DECODE_ERRORS as error:
        errors.append(BadDicom(f"{path}: damaged or unreadable header ({one_line(error)})"))
    return usable, errors


def _ordinary(path: Path) -> SliceHeader | None:
    """The header of an ordinary file without remarks or errors; None for any other file.

    Most values are those of the slice before; only the others are read.
    """
    found = elements_of(path)
    alike = None if found is None else _alike(found.meta, found.series, found.implicit)
    own = None if alike is None or found is None else _own_values(found.image)
    if found is None or alike is None or own is None:
        return None
    uid, number, position, acquired = own
    if max(map(abs, position)) > _FARTHEST:
        return None
    plane = replace(alike.plane, position=position)
    pixels = RawDataElement(
        *(PIXEL_TAG, found.pixels or None, found.length, None),
        *(found.place, found.implicit, True),
    )
    file = replace(alike.file, path=path, modified=found.modified, pixels=(pixels,))
    return replace(
        alike,
        path=path,
        sop_uid=uid,
        header_number=number,
        instance_number=number or 0,
        plane=plane,
        file=file,
        acquired=acquired,
    )


@lru_cache(maxsize=256)
def _alike(meta: bytes, series: bytes, implicit: bool) -> SliceHeader | None:
    """What slices with these elements have in common; None if there are remarks or errors.

    The elements are parsed and checked as those of any file, at the origin of the patient.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(BytesIO(b"\0" * 128 + b"DICM" + meta + series))
            module = pixel_module(dataset)
            dataset.ImagePositionPatient = [0, 0, 0]
            dataset[PIXEL_TAG] = RawDataElement(PIXEL_TAG, "OW", 0, b"", 0, implicit, True)
            header = Header(Path(), dataset)
            _check_purpose(header)
            syntax = shared(dataset.file_meta.TransferSyntaxUID)
            file = PixelFile(header.path, syntax, implicit, True, None, module, ())
            checked = _checked(header, file)
    except (BadDicom, *DECODE_ERRORS):
        return None
    return None if checked.remarks else checked


#: Values as nearly all files store them: UID, whole number, three numbers, date or time.
_UID, _WHOLE, _TIME = (re.compile(p) for p in (rb"[0-9.]*\0?", rb"[0-9]{0,9} ?", rb"[0-9.]* ?"))
_THREE = re.compile(rb" ?\\".join([rb"(-?[0-9]+(?:\.[0-9]*)?(?:e[-+]?[0-9]+)?)"] * 3) + b" ?")

_TEXTS = (
    *("SOPInstanceUID", "InstanceNumber"),
    *("AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime"),
)

_OwnValues = tuple[str, int | None, Axis, str]


def _own_values(image: Mapping[str, bytes]) -> _OwnValues | None:
    """SOPInstanceUID, InstanceNumber, position and time of acquisition; None if one is unusual."""
    uid, number, whole, *parts = (image.get(keyword, b"") for keyword in _TEXTS)
    position = _THREE.fullmatch(image.get("ImagePositionPatient", b""))
    usual = _UID.fullmatch(uid) and _WHOLE.fullmatch(number)
    if not position or not usual or not all(map(_TIME.fullmatch, (whole, *parts))):
        return None
    x, y, z = map(float, position.groups())
    stripped = [text.decode().rstrip() for text in (whole, *parts)]
    acquired = stripped[0] or "".join(stripped[1:])
    text = number.strip()
    return uid.decode().rstrip("\0"), int(text) if text else None, (x, y, z), acquired


def _images(path: Path) -> Iterator[tuple[Header, PixelFile]]:
    """The unchecked header of every image of a file, with the parts that decoding needs.

    Raises:
        BadDicom: if the file is empty, or is not meant to contain an image.
    """
    if path.stat().st_size == 0:
        raise BadDicom(f"{path}: empty file")
    with warnings.catch_warnings():
        # Real files often break the formatting rules of the standard; needed values are checked.
        warnings.simplefilter("ignore")
        dataset, kept, remarks = open_file(path)
        file = Header(path, dataset, remarks=remarks)
        _check_purpose(file)
        if not is_enhanced(dataset):
            yield file, kept
            return
        file.remarks.append("is a multi-frame file; its slices are numbered by frame")
        for frame in frame_headers(file):
            yield frame, kept


def _check_purpose(file: Header) -> None:
    """Refuse an object that is not meant to contain an image, such as a report or a DICOMDIR."""
    kind = if_usable(file.text, "SOPClassUID", "")
    kind = kind or str(file.dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    name = UID(kind).name
    if name != kind and "Image Storage" not in name:
        raise NotImage(f"{file.path}: contains no image ({name})")
    makers = {if_usable(file.text, k, "") for k in ("Manufacturer", "ManufacturerModelName")}
    if makers == {MAKER}:
        raise NotImage(f"{file.path}: contains a result of lumbargrade ({name})")
    if "PixelData" in file.dataset or "Rows" in file.dataset or name != kind:
        return
    modality = if_usable(file.text, "Modality", "")
    if kind or modality not in ("", "MR"):
        raise NotImage(f"{file.path}: contains no image (modality {modality or 'unknown'}, {kind})")


def _checked(header: Header, file: PixelFile) -> SliceHeader:
    shape, inverse = _checked_image(header)
    orientation = header.numbers("ImageOrientationPatient", 6)
    plane = _plane(header, orientation)
    rescale = _rescale(header)
    # optional: pixels and position do not depend on it
    number = if_usable(header.whole, "InstanceNumber", None)
    return SliceHeader(
        path=header.path,
        series_uid=shared(_uid(header, "SeriesInstanceUID")),
        study_uid=shared(_uid(header, "StudyInstanceUID")),
        sop_uid=_uid(header, "SOPInstanceUID"),
        frame_of_reference=shared(_uid(header, "FrameOfReferenceUID")),
        header_number=number,
        instance_number=number or 0,
        orientation=tuple(orientation),
        plane=plane,
        shape=shape,
        rescale=rescale,
        inverse=inverse,
        about=shared(acquisition_of(header)),
        file=file,
        series_number=if_usable(header.text, "SeriesNumber", ""),
        description=if_usable(header.text, "SeriesDescription", ""),
        acquired=_acquired(header),
        frame=header.frame,
        patient=shared(tuple(if_usable(header.text, k, "") for k in PATIENT)),
        remarks=tuple(dict.fromkeys(header.remarks)),
    )


def _uid(header: Header, keyword: str) -> str:
    """A UID; one that is longer than UIDs can be is replaced by its digest."""
    uid = header.text(keyword)
    if len(uid) <= _LONGEST_UID:
        return uid
    whole = str(header.value(keyword)).encode(errors="replace")
    return f"too-long-{hashlib.sha256(whole).hexdigest()[:32]}"


def _acquired(header: Header) -> str:
    """Date and time of acquisition as text that sorts by time, as far as they are present."""
    whole = if_usable(header.text, "AcquisitionDateTime", "")
    parts = [if_usable(header.text, k, "") for k in ("AcquisitionDate", "AcquisitionTime")]
    return whole or "".join(parts)


def _checked_image(header: Header) -> tuple[tuple[int, int], bool]:
    """Check that an image is one grey slice; return (rows, columns) and if it is MONOCHROME1."""
    path = header.where
    if "PixelData" not in header.dataset:
        raise BadDicom(f"{path}: has no pixel data")
    colours = header.text("PhotometricInterpretation") or "MONOCHROME2"
    samples = header.whole("SamplesPerPixel")
    if samples not in (None, 1) or not colours.startswith("MONOCHROME"):
        raise BadDicom(f"{path}: is a colour image ({colours})")
    if colours not in ("MONOCHROME1", "MONOCHROME2"):
        raise header.bad("PhotometricInterpretation", "is not MONOCHROME1 or MONOCHROME2")
    if (header.whole("NumberOfFrames") or 1) != 1:
        why = "is a multi-frame image without functional groups; export it as single frames"
        raise header.bad("NumberOfFrames", why)
    if "MOSAIC" in header.texts("ImageType"):
        # its ImagePositionPatient is that of the whole sheet, not of a slice
        raise BadDicom(f"{path}: is a mosaic of many slices; export it as single slices")
    rows, columns = header.whole("Rows") or 0, header.whole("Columns") or 0
    if not (0 < rows <= LARGEST_SIDE and 0 < columns <= LARGEST_SIDE):
        limit = f"both must be 1 to {LARGEST_SIDE}"
        raise BadDicom(f"{path}: has {rows} rows and {columns} columns; {limit}")
    return (rows, columns), colours == "MONOCHROME1"


def _plane(header: Header, orientation: Sequence[float]) -> SlicePlane:
    """Position of the image; its axes must be perpendicular unit vectors and are normalised."""
    x, y, z = header.numbers("ImagePositionPatient", 3)
    if max(abs(x), abs(y), abs(z)) > _FARTHEST:
        raise header.bad("ImagePositionPatient", f"is more than {_FARTHEST:g} mm from the origin")
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(n - 1) for n in lengths) > 0.01 or abs(row @ column) > 0.01:
        raise header.bad("ImageOrientationPatient", "is not two perpendicular unit vectors")
    dy, dx = _spacing(header)
    if min(dy, dx) <= 0:
        raise header.bad("PixelSpacing", "is not positive")
    if max(dy, dx) > _WIDEST:
        raise header.bad("PixelSpacing", f"is more than {_WIDEST:g} mm")
    return SlicePlane((x, y, z), _axis(row / lengths[0]), _axis(column / lengths[1]), (dy, dx))


def _spacing(header: Header) -> list[float]:
    """(row, column) spacing in the patient, mm; the spacing of a detector is not used instead."""
    if header.value("PixelSpacing") is None:
        others = ("ImagerPixelSpacing", "NominalScannedPixelSpacing")
        there = [header.named(k) for k in others if header.value(k) is not None]
        beside = f"; {' and '.join(there)} is not the spacing in the patient" if there else ""
        raise header.absent("PixelSpacing", beside)
    return header.numbers("PixelSpacing", 2)


def _axis(values: NDArray[np.float64]) -> Axis:
    x, y, z = values.tolist()
    return x, y, z


def _rescale(header: Header) -> tuple[float, float]:
    """(slope, intercept); (1, 0) if absent."""
    slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept")
    if slope == 0:
        raise header.bad("RescaleSlope", "is zero")
    for keyword, value in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
        if value is not None and abs(value) > _LARGEST_RESCALE:
            raise header.bad(keyword, f"is outside -{_LARGEST_RESCALE:g} to {_LARGEST_RESCALE:g}")
    return (1.0 if slope is None else slope, intercept or 0.0)
