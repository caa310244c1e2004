"""From files to parsed data sets.

Files that are meant to be DICOM are told from others and opened, whatever their preamble and
transfer syntax are like.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar, cast

import pydicom
from PIL.Image import DecompressionBombError
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import generate_fragments
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    JPEG2000,
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pydicom.values import converters

from lumbargrade.domain.errors import BadDicom, Problem

T = TypeVar("T", bound=Hashable)

#: What pydicom and its decoders raise for files that are damaged or of an unknown syntax.
DECODE_ERRORS = (
    BytesLengthException,
    DecompressionBombError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def one_line(error: BaseException) -> str:
    """An error's text on one line, or its name where it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__


#: Names that file systems and DICOM media leave behind; they never hold an image.
_FURNITURE = frozenset({"dicomdir", "thumbs.db", "desktop.ini", "lockfile", "version", "__macosx"})

#: A file with such a suffix is expected to be an image, so that one that cannot be read is a loss.
_DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})

#: Files of viewers and reports beside the images, which may well be empty.
_OTHER_SUFFIXES = frozenset(
    f".{s}"
    for s in (
        *("txt", "inf", "ini", "log", "pdf", "xml", "json", "csv", "htm", "html", "css", "js"),
        *("jpg", "jpeg", "png", "gif", "bmp", "ico", "exe", "dll", "bat", "zip", "db", "md"),
    )
)

#: The first bytes of AppleDouble and AppleSingle files.
_RESOURCE_FORKS = (b"\x00\x05\x16\x07", b"\x00\x05\x16\x00")


def image_files(path: Path, *, recursive: bool) -> list[Path]:
    """Files that may hold an image, sorted by path; hidden files and DICOMDIR are left out.

    Raises:
        OSError: if the folder itself cannot be listed.
    """
    if path.is_file():
        return [path]
    found: list[Path] = []
    for folder, folders, names in os.walk(path, onerror=_raise):
        folders[:] = sorted(f for f in folders if not _furniture(f)) if recursive else []
        found += [Path(folder, n) for n in names if not _furniture(n)]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def _furniture(name: str) -> bool:
    return name.startswith(".") or name.lower() in _FURNITURE


class NotDicom(BadDicom):
    """A file without the DICOM mark."""


class NotImage(BadDicom):
    """A file that was never meant to hold an image, whatever its name: no image is lost with it."""


def is_resource_fork(path: Path) -> bool:
    """Whether a file is what macOS writes beside the files of a foreign disk."""
    with path.open("rb") as file:
        return file.read(4) in _RESOURCE_FORKS


def file_problem(path: Path, error: BadDicom, study: str = "", series: str = "") -> Problem:
    """A file that was left out; fatal unless it was never meant to be a DICOM image."""
    suffix = path.suffix.lower()
    if suffix in _DICOM_SUFFIXES:
        expected = not isinstance(error, NotImage)
    else:
        expected = not isinstance(error, NotDicom | NotImage) and suffix not in _OTHER_SUFFIXES
    text = str(error).removeprefix(f"{path}: ")
    return Problem(text, study=study, series=series, file=str(path), fatal=expected)


#: Bulk values longer than this stay in the file until they are asked for.
_DEFER = 4096

_PREAMBLE, _MARK = 128, b"DICM"
_UNDEFINED = 0xFFFFFFFF
#: Groups of the first element of a file without preamble: file meta, or the data set itself.
_FIRST_GROUPS = (0x0002, 0x0008)
#: A first element that is longer than this is chance: real ones are a UID, a date or a length.
_LONGEST_FIRST = 1024

_UNCOMPRESSED = (
    *(ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian),
    DeflatedExplicitVRLittleEndian,
)
#: JPEG frame markers, and a syntax whose decoder reads that kind of stream.
_JPEG_FRAMES = {
    0xC0: JPEGBaseline8Bit,
    0xC1: JPEGExtended12Bit,
    0xC3: JPEGLossless,
    0xF7: JPEGLSNearLossless,
}


#: Elements beside the pixels that decoding needs.
_PIXEL_MODULE = frozenset(
    tag_for_keyword(k)
    for k in (
        *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames"),
        *("BitsAllocated", "BitsStored", "PixelRepresentation", "PlanarConfiguration"),
    )
)
#: The pixels and their offset tables.
_PIXELS = frozenset(
    tag_for_keyword(k)
    for k in (
        *("PixelData", "FloatPixelData", "DoubleFloatPixelData"),
        *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    )
)

_Element = DataElement | RawDataElement


@dataclass(eq=False, slots=True)
class PixelFile:
    """What decoding needs of a parsed file: little enough to be kept for every file of a run.

    Attributes:
        path: the file.
        syntax: UID of its transfer syntax; None where it has none.
        implicit, little: how its elements are encoded.
        modified: when it was last changed, as of its parsing.
        module: what describes its pixels; files with the same share it.
        pixels: where they are; None for a deflated file, which must be parsed again.
        kept: the file as `dataset` gives it, while its frames are decoded.
    """

    path: Path
    syntax: UID | None
    implicit: bool
    little: bool
    modified: float | None
    module: tuple[_Element, ...]
    pixels: tuple[_Element, ...] | None
    kept: FileDataset | None = None

    def dataset(self, *, keep: bool = False) -> FileDataset:
        """A data set that pydicom can decode; its pixels are read when they are asked for.

        Args:
            keep: hold it until `close`, with the pixels once they are read.
        """
        dataset = self.kept or self._dataset()
        if keep:
            self.kept = dataset
        return dataset

    def close(self) -> None:
        """Free what was kept."""
        self.kept = None

    def _dataset(self) -> FileDataset:
        if self.pixels is None:
            return pydicom.dcmread(self.path, force=True)
        meta = FileMetaDataset()
        if self.syntax is not None:
            meta.TransferSyntaxUID = self.syntax
        elements = {e.tag: e for e in (*self.module, *self.pixels)}
        dataset = FileDataset(
            self.path,
            elements,
            file_meta=meta,
            is_implicit_VR=self.implicit,
            is_little_endian=self.little,
        )
        dataset.timestamp = self.modified
        return dataset


def shared(value: T) -> T:
    """The first of equal values, so that the images of a series have them once."""
    return cast(T, _first(value))


@lru_cache(maxsize=1024)
def _first(value: Hashable) -> Hashable:
    return value


def _pixel_module(dataset: FileDataset) -> tuple[_Element, ...]:
    found: list[_Element] = []
    for tag in sorted(dataset.keys() & _PIXEL_MODULE):
        element: _Element = dataset.get_item(tag, keep_deferred=True)
        if isinstance(element, RawDataElement) and (
            element.value is not None or not element.length
        ):
            # its place in the file does not matter, and is all in which the slices differ
            element = element._replace(value_tell=0)
        found.append(element)
    whole = all(isinstance(e, RawDataElement) for e in found)  # else one is a sequence, by damage
    return shared(tuple(found)) if whole else tuple(found)


def open_file(path: Path) -> tuple[FileDataset, PixelFile, list[str]]:
    """Parse a file, its long values deferred; with what decoding needs, and what was unusual.

    A file without preamble is read if it begins as a data set does. Where the file meta has no
    transfer syntax, or one that cannot be that of the pixels, it is found from the data.

    Raises:
        InvalidDicomError: if it is no DICOM file.
        BadDicom: if the syntax of its pixels cannot be found.
        one of `DECODE_ERRORS`: if it is damaged.
    """
    with path.open("rb") as file:
        start = file.read(_PREAMBLE + len(_MARK))
    bare = start[_PREAMBLE:] != _MARK
    if bare and not _begins_as_dataset(start):
        raise InvalidDicomError
    dataset = pydicom.dcmread(path, defer_size=_DEFER, force=bare)
    deflated = dataset.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    if deflated:
        # deferred values cannot be found again inside a deflated file
        dataset = pydicom.dcmread(path, force=bare)
    # as the file has them, before any is converted
    module = _pixel_module(dataset)
    own = dataset.keys() & _PIXELS
    pixels = tuple(dataset.get_item(tag, keep_deferred=True) for tag in own)
    remarks = ["has no DICOM preamble"] if bare else []
    remarks += _settle_syntax(path, dataset)
    implicit, little = dataset.original_encoding
    kept = PixelFile(
        path,
        dataset.file_meta.get("TransferSyntaxUID"),
        bool(implicit),
        bool(little),
        dataset.timestamp,
        module,
        None if deflated else pixels,
    )
    return dataset, kept, remarks


def _begins_as_dataset(start: bytes) -> bool:
    """Whether bytes begin with an element that may be the first of a data set."""
    for order in "<>":
        if len(start) < 8 or struct.unpack(f"{order}H", start[:2])[0] not in _FIRST_GROUPS:
            continue
        (length,) = struct.unpack(f"{order}L", start[4:8])
        explicit = start[4:6].decode("latin-1") in converters
        if explicit or (order == "<" and length <= _LONGEST_FIRST):
            return True
    return False


def _settle_syntax(path: Path, dataset: FileDataset) -> list[str]:
    """Give the data set the transfer syntax that its pixels have; remarks where that is news."""
    stated = dataset.file_meta.get("TransferSyntaxUID")
    if "PixelData" not in dataset:
        return []
    element = dataset.get_item("PixelData", keep_deferred=True)
    encapsulated = getattr(element, "length", None) == _UNDEFINED
    # of a private or damaged syntax, nothing is known that could be wrong
    known = stated in AllTransferSyntaxes
    if stated is not None and (not known or (stated in _UNCOMPRESSED) != encapsulated):
        return []
    if encapsulated:
        found = _compression(path, dataset)
    else:
        found = _plain_syntax(dataset)
        if stated is not None and len(dataset["PixelData"].value) != _plain_length(dataset):
            return []
    dataset.file_meta.TransferSyntaxUID = found
    said = "is absent" if stated is None else f"'{stated}' cannot be right"
    return [f"TransferSyntaxUID (0002,0010) {said}; read as {found.name}"]


def _plain_syntax(dataset: FileDataset) -> UID:
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _plain_length(dataset: FileDataset) -> int:
    """Bytes of uncompressed pixels as the header has them, padded to an even length."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    bits = frames * dataset.Rows * dataset.Columns * dataset.BitsAllocated
    length: int = bits * int(dataset.get("SamplesPerPixel") or 1) // 8
    return length + length % 2


def _compression(path: Path, dataset: FileDataset) -> UID:
    """The syntax of encapsulated pixels, by how their first frame begins."""
    fragments = generate_fragments(dataset["PixelData"].value)
    next(fragments, b"")  # the offset table
    first = next(fragments, b"")
    if (found := _compression_of(first)) is None:
        begin = first[:4].hex()
        raise BadDicom(
            f"{path}: has no TransferSyntaxUID (0002,0010) that fits its pixels, and their "
            f"compression is unknown (they begin with {begin})"
        )
    return found


def _compression_of(frame: bytes) -> UID | None:
    if frame[:4] == b"\xff\x4f\xff\x51" or frame[4:8] == b"jP  ":
        return JPEG2000
    if frame[:2] == b"\xff\xd8":
        return _jpeg(frame)
    if len(frame) >= 64:
        count, first = struct.unpack_from("<2L", frame)
        if 0 < count < 16 and first == 64:
            return RLELossless
    return None


def _jpeg(frame: bytes) -> UID | None:
    at = 2
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        if (found := _JPEG_FRAMES.get(frame[at + 1])) is not None:
            return found
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None
