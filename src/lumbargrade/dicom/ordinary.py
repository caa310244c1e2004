"""Find the elements of an ordinary DICOM file that the reader uses, without parsing the others.

Most files are ordinary: little endian, with a preamble, elements in order, and the pixels last.
For any other file, `elements_of` returns None, and pydicom parses the file. So nothing here has to
tolerate damage, and no error is worded here.
"""

from __future__ import annotations

import io
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom.datadict import tag_for_keyword
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

#: Elements with the same value in all images of a series, or in most of them.
SERIES = (
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "Modality", "StudyDescription"),
    *("SeriesDescription", "AnatomicRegionSequence", "ContrastBolusAgent", "BodyPartExamined"),
    *("ScanningSequence", "SequenceName", "RepetitionTime", "EchoTime", "InversionTime"),
    *("EchoNumbers", "ProtocolName", "FlipAngle", "DiffusionBValue", "StudyInstanceUID"),
    *("SeriesInstanceUID", "SeriesNumber", "AcquisitionNumber", "ImageOrientationPatient"),
    *("FrameOfReferenceUID", "TemporalPositionIdentifier", "SamplesPerPixel"),
    *("PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "BitsAllocated"),
    *("BitsStored", "PixelRepresentation", "RescaleIntercept", "RescaleSlope", "StackID"),
    *("RequestedProcedureDescription", "RequestAttributesSequence", "ComplexImageComponent"),
    *("PerformedProcedureStepDescription", "SliceThickness"),
    *("PatientID", "PatientName", "PatientBirthDate", "Manufacturer", "ManufacturerModelName"),
)
#: Elements whose value differs between the images of a series.
IMAGE = (
    *("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient"),
    *("AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime"),
)


def _tags(keywords: tuple[str, ...]) -> dict[int, str]:
    return {tag: keyword for keyword in keywords if (tag := tag_for_keyword(keyword))}


_SERIES_TAGS, _IMAGE_TAGS = _tags(SERIES), _tags(IMAGE)
#: Those of the file meta.
_META_TAGS = _tags(("MediaStorageSOPClassUID", "TransferSyntaxUID"))
_SYNTAX_TAG, _META_GROUP, _FIRST_TAG = 0x0002_0010, 0x0002, 0x0008_0000
#: What an explicit file declares the elements of an image as.
_DECLARED = dict(zip(IMAGE, (b"UI", b"IS", b"DS", b"DT", b"DA", b"TM"), strict=True))

#: Stored transfer syntax -> whether pixels are compressed.
_SYNTAXES = {
    uid.encode() + b"\0" * (len(uid) % 2): uid.is_encapsulated
    for uid in (
        *(ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEGBaseline8Bit),
        *(JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless),
        *(JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL),
    )
}
_IMPLICIT = ImplicitVRLittleEndian.encode() + b"\0"

_LONG = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
_SHORT = frozenset(vr.value.encode() for vr in VR if len(vr.value) == 2) - _LONG

_PIXEL_GROUP, PIXEL_DATA = 0x7FE0_0000, 0x7FE0_0010
#: The group of what differs between the frames of a multi-frame file.
_FUNCTIONAL_GROUP = 0x5200
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD
_UNDEFINED = 0xFFFFFFFF

#: Bytes that are read at once; the header of most files is shorter.
_CHUNK = 1 << 13
#: Longer values of elements that are used are not ordinary.
_LONGEST = 1 << 16
#: Sequences in sequences.
_DEEPEST = 8


class _Unusual(Exception):
    """The file is not ordinary."""


@dataclass(frozen=True, slots=True)
class Elements:
    """The elements of a file that are used.

    Attributes:
        meta, series: as they are stored, one after the other, without the pixels. Slices of a
            series have equal ones.
        image: keyword -> value as it is stored, of elements that differ between slices.
        implicit: whether elements are encoded with implicit VR.
        pixels: VR of the pixels, empty if implicit.
        place, length: of the value of the pixels, as the file says (an undefined length included).
        modified: when the file was last changed.
    """

    meta: bytes
    series: bytes
    image: dict[str, bytes]
    implicit: bool
    pixels: str
    place: int
    length: int
    modified: float


def elements_of(path: Path) -> Elements | None:
    """The elements of an ordinary file; None for any other file."""
    try:
        with io.open(path, "rb", buffering=0, opener=_without_waiting) as file:  # noqa: UP020  counted in tests
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return None
            return _parsed(_Window(file, status.st_size), status.st_mtime)
    except (_Unusual, OSError):
        return None


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to would wait for ever otherwise."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class _Window:
    """A part of a file; it moves on to where bytes are needed."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.start, self.bytes = 0, file.read(_CHUNK)

    def at(self, place: int, count: int) -> int:
        """Where the window has these bytes of the file, all of which the file must have."""
        offset = place - self.start
        if offset >= 0 and offset + count <= len(self.bytes):
            return offset
        if place + count > self.size:
            raise _Unusual
        self.file.seek(place)
        self.start, self.bytes = place, self.file.read(max(_CHUNK, count))
        if len(self.bytes) < count:
            raise _Unusual
        return 0

    def take(self, place: int, count: int) -> bytes:
        """These bytes of the file."""
        if count > _LONGEST:
            raise _Unusual
        offset = self.at(place, count)
        return self.bytes[offset : offset + count]


def _parsed(window: _Window, modified: float) -> Elements:
    if window.bytes[128:132] != b"DICM":
        raise _Unusual
    meta, syntax, place = _file_meta(window)
    if (compressed := _SYNTAXES.get(syntax)) is None:
        raise _Unusual
    implicit = syntax == _IMPLICIT
    series: list[bytes] = []
    image: dict[str, bytes] = {}
    for tag, vr, start, value, end in _walk(window, place, window.size, implicit=implicit):
        if tag in _SERIES_TAGS:
            series.append(window.take(start, end - start))
        elif tag in _IMAGE_TAGS:
            keyword = _IMAGE_TAGS[tag]
            if not implicit and vr != _DECLARED[keyword]:
                raise _Unusual
            image[keyword] = window.take(value, end - value)
        elif tag == PIXEL_DATA:
            length = _UNDEFINED if compressed else end - value
            _check_pixels(window, vr, value, end, compressed=compressed)
            return Elements(
                *(meta, b"".join(series), image, implicit),
                *(vr.decode(), value, length, modified),
            )
        elif not _FIRST_TAG <= tag < _PIXEL_GROUP or tag >> 16 == _FUNCTIONAL_GROUP:
            raise _Unusual
    raise _Unusual


def _file_meta(window: _Window) -> tuple[bytes, bytes, int]:
    """The elements of the file meta that are used, the transfer syntax, and where the meta ends."""
    used, syntax, place, last = [], b"", 132, 0
    while _mark(window, place)[0] >> 16 == _META_GROUP:
        # one element at a time, because those behind the meta may be encoded in another way
        tag, _, _, value, end = next(_walk(window, place, window.size, implicit=False))
        if tag <= last:
            raise _Unusual
        if tag in _META_TAGS:
            used.append(window.take(place, end - place))
        if tag == _SYNTAX_TAG:
            syntax = window.take(value, end - value)
        place, last = end, tag
    return b"".join(used), syntax, place


def _check_pixels(window: _Window, vr: bytes, value: int, end: int, *, compressed: bool) -> None:
    """Raise _Unusual unless pixels are the last element, stored as the syntax says."""
    if vr not in (b"", b"OB", b"OW") or (end == -1) != compressed:
        raise _Unusual
    if compressed:
        at, tag = value, _ITEM
        while tag == _ITEM:
            tag, length = _mark(window, at)
            at += 8 + length
        if tag != _SEQUENCE_END or length:
            raise _Unusual
        end = at
    if end != window.size:
        raise _Unusual


#: tag, VR (empty if implicit), start of the element, start and end of its value (-1: compressed)
_Found = tuple[int, bytes, int, int, int]

_explicit = struct.Struct("<HH2sH").unpack_from
_implicit = struct.Struct("<HHL").unpack_from
_long = struct.Struct("<L").unpack_from


def _walk(
    window: _Window, place: int, end: int, *, implicit: bool, deep: int = 0
) -> Iterator[_Found]:
    """The elements between two places of a file, in strictly ascending order.

    Raises:
        _Unusual: if anything is not as the standard has it, or ends beyond ``end``.
    """
    last, vr = 0, b""
    while place < end:
        offset = place - window.start
        if offset + 12 > len(window.bytes) or offset < 0:
            offset = window.at(place, min(12, end - place))
            if end - place < 8:
                raise _Unusual
        value = place + 8
        if implicit:
            group, element, length = _implicit(window.bytes, offset)
            if last == 0 and window.bytes[offset + 4 : offset + 6].isalpha():
                raise _Unusual  # explicit, whatever the transfer syntax says
        else:
            group, element, vr, length = _explicit(window.bytes, offset)
            if vr in _LONG:
                if end - place < 12:
                    raise _Unusual
                (length,) = _long(window.bytes, offset + 8)
                value += 4
            elif vr not in _SHORT:
                raise _Unusual
        tag = group << 16 | element
        if tag <= last:
            raise _Unusual
        last, start = tag, place
        if length != _UNDEFINED:
            place = value + length
            if place > end:
                raise _Unusual
            yield tag, vr, start, value, place
        elif tag == PIXEL_DATA:
            yield tag, vr, start, value, -1
            return
        else:
            if not implicit and vr != b"SQ":
                raise _Unusual
            place = _end_of_sequence(window, value, end, implicit, deep + 1)
            yield tag, vr, start, value, place


def _mark(window: _Window, place: int) -> tuple[int, int]:
    """(tag, length) of an item or a delimiter."""
    offset = window.at(place, 8)  # may move the window
    group, element, length = _implicit(window.bytes, offset)
    return group << 16 | element, length


def _end_of_sequence(window: _Window, place: int, end: int, implicit: bool, deep: int) -> int:
    """The end of a sequence of undefined length, and of all that it contains."""
    if deep > _DEEPEST:
        raise _Unusual
    while place + 8 <= end:
        tag, length = _mark(window, place)
        place += 8
        if tag == _SEQUENCE_END and length == 0:
            return place
        if tag != _ITEM:
            raise _Unusual
        if length == _UNDEFINED:
            place = _end_of_item(window, place, end, implicit, deep)
        else:
            for _ in _walk(window, place, min(place + length, end), implicit=implicit, deep=deep):
                pass
            place += length
    raise _Unusual


def _end_of_item(window: _Window, place: int, end: int, implicit: bool, deep: int) -> int:
    while place + 8 <= end and _mark(window, place) != (_ITEM_END, 0):
        # one element at a time, because the delimiter is not an element
        place = next(_walk(window, place, end, implicit=implicit, deep=deep))[-1]
        if place == -1:
            raise _Unusual
    return place + 8
