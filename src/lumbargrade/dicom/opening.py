"""Find DICOM files and parse them, even without a preamble or with a wrong transfer syntax."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Hashable, Iterator
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
from lumbargrade.files.archives import ARCHIVE_SUFFIX
from lumbargrade.files.folders import walk

T = TypeVar("T", bound=Hashable)

#: Exceptions of pydicom and its decoders for damaged files and unknown transfer syntaxes.
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


#: Names of files that file systems and DICOM media create; they never contain an image.
_FURNITURE = frozenset({"dicomdir", "thumbs.db", "desktop.ini", "lockfile", "version", "__macosx"})

#: Endings of NIfTI images, which are no DICOM files.
NIFTI_ENDINGS = (".nii.gz", ".nii")

#: Files with these suffixes should be images: if one cannot be read, an image is lost.
_DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})

#: Suffixes of files of viewers and reports beside the images; such files may be empty.
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
    """Files that may contain an image, sorted by path; see `image_folders`.

    Raises:
        OSError: if the folder itself cannot be listed.
    """
    folders = image_folders(path, recursive=recursive)
    return sorted(folder / name for folder, names, _ in folders for name in names)


def image_folders(
    path: Path, *, recursive: bool, unreadable: list[OSError] | None = None
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield each folder, the sorted names of files that may be images, and the other names.

    Hidden files, DICOMDIR, zip and NIfTI files are not DICOM images; links to folders are followed.

    Args:
        path: a folder, or one file.
        recursive: also yield the folders in it.
        unreadable: gets the errors of folders in it that cannot be listed; None: they are raised.

    Raises:
        OSError: if a folder cannot be listed.
    """
    if path.is_file():
        yield path.parent, [path.name], []
        return
    for folder, folders, names in walk(path, unreadable):
        folders[:] = [f for f in folders if not is_beside(f)] if recursive else []
        images = sorted(n for n in names if not _beside(n))
        yield folder, images, [n for n in names if _beside(n)]


def _beside(name: str) -> bool:
    return is_beside(name) or name.lower().endswith((ARCHIVE_SUFFIX, *NIFTI_ENDINGS))


def is_beside(name: str) -> bool:
    """Whether a name is that of a hidden file, or one that file systems and discs have."""
    return name.startswith(".") or name.lower() in _FURNITURE


class NotDicom(BadDicom):
    """The file is not a DICOM file."""


class NotImage(BadDicom):
    """The file is not meant to contain an image, so no image is lost."""


def require_file(path: Path) -> None:
    """Check that reading will end: a pipe or device may wait for ever, or never end.

    Raises:
        BadDicom: if it is there but is no ordinary file.
        OSError: if its folder cannot be read.
    """
    if path.exists() and not path.is_file():
        raise BadDicom(f"{path}: a pipe, device or folder, not a file")


def is_resource_fork(path: Path) -> bool:
    """Whether a file is a resource fork, which macOS writes beside files on foreign disks."""
    with path.open("rb") as file:
        return file.read(4) in _RESOURCE_FORKS


def file_problem(path: Path, error: BadDicom, study: str = "", series: str = "") -> Problem:
    """The problem for an excluded file; fatal unless the file is not meant to be a DICOM image."""
    suffix = path.suffix.lower()
    if suffix in _DICOM_SUFFIXES:
        expected = not isinstance(error, NotImage)
    else:
        expected = not isinstance(error, NotDicom | NotImage) and suffix not in _OTHER_SUFFIXES
    text = str(error).removeprefix(f"{path}: ")
    return Problem(text, study=study, series=series, file=str(path), fatal=expected)


#: Values longer than this many bytes are read from the file only when they are needed.
_DEFER = 4096

_PREAMBLE, _MARK = 128, b"DICM"
_UNDEFINED = 0xFFFFFFFF
#: Possible groups of the first element of a file without preamble: file meta, or the data set.
_FIRST_GROUPS = (0x0002, 0x0008)
#: Longest plausible first element (a UID, a date or a length); longer means no DICOM file.
_LONGEST_FIRST = 1024

_UNCOMPRESSED = (
    *(ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian),
    DeflatedExplicitVRLittleEndian,
)
#: JPEG frame marker -> a transfer syntax whose decoder reads that kind of stream.
_JPEG_FRAMES = {
    0xC0: JPEGBaseline8Bit,
    0xC1: JPEGExtended12Bit,
    0xC3: JPEGLossless,
    0xF7: JPEGLSNearLossless,
}


#: Elements that decoding needs, without the pixels.
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
    """The parts of a parsed file that decoding needs; small, so that a run can keep all of them.

    Attributes:
        path: the file.
        syntax: UID of its transfer syntax; None if absent.
        implicit, little: whether its elements are encoded with implicit VR, and little endian.
        modified: when the file was last changed, at the time of parsing.
        module: elements that describe the pixels; files with equal elements share one tuple.
        pixels: elements with the place of the pixels in the file; None for a deflated file, which
            must be parsed again.
        kept: the result of `dataset`, kept while the frames are decoded.
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
        """A data set that pydicom can decode; its pixels are read when they are accessed.

        Args:
            keep: keep it, with the pixels once they are read, until `close`.
        """
        dataset = self.kept or self._dataset()
        if keep:
            self.kept = dataset
        return dataset

    def close(self) -> None:
        """Free the kept data set."""
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
    """One object for equal values, so that the images of a series share it."""
    return cast(T, _first(value))


@lru_cache(maxsize=1024)
def _first(value: Hashable) -> Hashable:
    return value


def pixel_module(dataset: FileDataset) -> tuple[_Element, ...]:
    """The elements that describe the pixels; equal ones are one object."""
    found: list[_Element] = []
    for tag in sorted(dataset.keys() & _PIXEL_MODULE):
        element: _Element = dataset.get_item(tag, keep_deferred=True)
        if isinstance(element, RawDataElement) and (
            element.value is not None or not element.length
        ):
            # without its place in the file, which is not needed, slices have equal elements
            element = element._replace(value_tell=0)
        found.append(element)
    whole = all(isinstance(e, RawDataElement) for e in found)  # a damaged file may have a sequence
    return shared(tuple(found)) if whole else tuple(found)


def open_file(path: Path) -> tuple[FileDataset, PixelFile, list[str]]:
    """Parse a file; long values are deferred.

    A file without preamble is read if it begins like a data set. If the file meta has no transfer
    syntax, or one that does not fit the pixels, the syntax is derived from the data.

    Returns:
        The data set, the parts that decoding needs, and notes on what is unusual.

    Raises:
        InvalidDicomError: if it is not a DICOM file.
        BadDicom: if the transfer syntax cannot be derived.
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
        # deferred values cannot be read later from a deflated file
        dataset = pydicom.dcmread(path, force=bare)
    # raw elements, before any is converted
    module = pixel_module(dataset)
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


def read_head(path: Path) -> FileDataset | None:
    """Parse a file without its pixels and private elements; None if that fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            head = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            for tag in [tag for tag in head.keys() if tag.is_private]:  # noqa: SIM118  raw keys
                del head[tag]
    except (InvalidDicomError, *DECODE_ERRORS):
        return None
    return head


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
    """Correct the transfer syntax of the data set if necessary; return notes on the correction."""
    stated = dataset.file_meta.get("TransferSyntaxUID")
    usable = stated if isinstance(stated, str) else None
    if stated is not None and usable is None:
        del dataset.file_meta.TransferSyntaxUID  # a damaged file has several
    if "PixelData" not in dataset:
        return []
    element = dataset.get_item("PixelData", keep_deferred=True)
    encapsulated = getattr(element, "length", None) == _UNDEFINED
    # a private or damaged syntax cannot be checked against the pixels
    known = usable in AllTransferSyntaxes
    if usable is not None and (not known or (usable in _UNCOMPRESSED) != encapsulated):
        return []
    if encapsulated:
        found = _compression(path, dataset)
    else:
        found = _plain_syntax(dataset)
        if usable is not None and len(dataset["PixelData"].value) != _plain_length(dataset):
            return []
    dataset.file_meta.TransferSyntaxUID = found
    said = "is absent" if stated is None else f"'{stated}' does not fit the pixels"
    return [f"TransferSyntaxUID (0002,0010) {said}; read as {found.name}"]


def _plain_syntax(dataset: FileDataset) -> UID:
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _plain_length(dataset: FileDataset) -> int:
    """Number of bytes of uncompressed pixels by the header, padded to an even length."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    bits = frames * dataset.Rows * dataset.Columns * dataset.BitsAllocated
    length: int = bits * int(dataset.get("SamplesPerPixel") or 1) // 8
    return length + length % 2


def _compression(path: Path, dataset: FileDataset) -> UID:
    """The transfer syntax of encapsulated pixels, from the first bytes of the first frame."""
    fragments = generate_fragments(dataset["PixelData"].value)
    next(fragments, b"")  # the offset table
    first = next(fragments, b"")
    if (found := _compression_of(first)) is None:
        begin = first[:4].hex()
        raise BadDicom(
            f"{path}: TransferSyntaxUID (0002,0010) is absent or does not fit the pixels, and "
            f"their compression is unknown (first bytes {begin}); export the file again"
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
