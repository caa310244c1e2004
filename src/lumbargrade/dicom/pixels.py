"""Read the pixels of an image; if they are compressed, choose a decoder by the transfer syntax."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.pixels.utils import as_pixel_options, pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from lumbargrade.dicom import isolated
from lumbargrade.dicom.decoders import JPEG, RLE_DECODER
from lumbargrade.dicom.opening import DECODE_ERRORS, PixelFile
from lumbargrade.dicom.slices import PIXEL_TAG, SliceHeader
from lumbargrade.domain.errors import BadDicom, one_line

_JPEG2000 = (
    *(JPEG2000, JPEG2000Lossless),
    *(HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL),
)

#: Transfer syntax -> pydicom plugins that decode it in this process; the fastest is first.
_PLUGINS: dict[str, tuple[tuple[Decoder, str], ...]] = {
    RLELossless: ((RLE_DECODER, "packbits"), (get_decoder(RLELossless), "pydicom")),
    JPEGBaseline8Bit: ((get_decoder(JPEGBaseline8Bit), "pillow"),),
    **{uid: ((get_decoder(uid), "pyjpegls"),) for uid in JPEGLSTransferSyntaxes},
    **{uid: ((get_decoder(uid), "pylibjpeg"),) for uid in _JPEG2000},
}


#: Stored or rescaled values, (rows, columns), of any number type.
Pixels = NDArray[Any]

#: What describes the pixels of a file, as options of pydicom's decoders.
Options = Mapping[str, Any]


def read_pixels(header: SliceHeader, room: Pixels | None = None) -> tuple[Pixels, tuple[str, ...]]:
    """Decode a slice: its values as stored, (rows, columns), and the decoder's warnings.

    `Grey` says what the stored values mean. A multi-frame file is kept in memory: see
    :func:`release`.

    Args:
        header: of the slice.
        room: uncompressed pixels are read straight into this array if they fit; see `rooms_for`.

    Raises:
        BadDicom: if the pixels are truncated, damaged or in an unknown transfer syntax.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pixels = _ordinary(header, room)
            if pixels is None:
                caught.clear()
                pixels = _any(header)
    except DECODE_ERRORS as error:
        raise BadDicom(f"{header.where}: cannot decode its pixels ({one_line(error)})") from None
    if pixels.shape != header.shape:
        what = f"decoded pixels have shape {pixels.shape}, but the header gives {header.shape}"
        raise BadDicom(f"{header.where}: {what}")
    return pixels, tuple(one_line(w.message) for w in caught if isinstance(w.message, Warning))


def rooms_for(headers: Sequence[SliceHeader]) -> Iterable[Pixels | None]:
    """An array for each slice, all in one block, if the slices are uncompressed and alike."""
    if not headers:
        return ()
    shape, file = headers[0].shape, headers[0].file
    options = _options(file) if file.syntax in _NATIVE else None
    # compared, not hashed: a damaged file has elements that cannot be
    alike = all(
        h.shape == shape and h.file.syntax == file.syntax and h.file.module == file.module
        for h in headers
    )
    if options is None or not alike:
        return repeat(None, len(headers))
    return np.empty((len(headers), *shape), _kind(options))


def _any(header: SliceHeader) -> Pixels:
    """The stored values of any file, decoded by pydicom from a data set."""
    dataset = header.file.dataset(keep=header.frame > 0)
    index = header.frame - 1 if header.frame else None
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax in _PLUGINS or syntax in JPEG:
        return _decoded(syntax, dataset, {}, index)
    # not Dataset.pixel_array, which keeps a copy and checks whether it is current
    return np.asarray(pixel_array(dataset, index=index))


def _ordinary(header: SliceHeader, room: Pixels | None) -> Pixels | None:
    """The stored values of a single-frame file whose pixels are its end; None for any other file.

    Only the pixels are read. If anything is unusual or fails, it is left to `_any`, which words the
    error.
    """
    file = header.file
    if header.frame or (options := _options(file)) is None:
        return None
    try:
        if file.syntax in _NATIVE:
            return _native(header, options, room)
        if (stored := _stored(file)) is None or stored[-8:] != _DELIMITER:
            return None
        return _decoded(file.syntax, stored[:-8], options, None)
    except DECODE_ERRORS:
        return None


#: Transfer syntaxes whose pixels are the stored bytes.
_NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
#: The end of compressed pixels.
_DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"


def _options(file: PixelFile) -> Options | None:
    """What describes a file's pixels; None unless they are ordinary: grey and deferred."""
    if file.pixels is None or len(file.pixels) != 1 or not file.little:
        return None
    (element,) = file.pixels
    deferred = isinstance(element, RawDataElement) and element.value is None
    if not deferred or element.tag != PIXEL_TAG:
        return None
    try:
        return _described(file.module)
    except TypeError:  # a damaged file has a sequence among them, which cannot be hashed
        return None


@lru_cache(maxsize=256)
def _described(module: tuple[RawDataElement, ...]) -> Options | None:
    try:
        options = as_pixel_options(Dataset({e.tag: e for e in module}))
        bits, stored = options["bits_allocated"], options["bits_stored"]
        whole = bits in (8, 16, 32) and 1 <= stored <= bits
        grey = options["photometric_interpretation"] in ("MONOCHROME1", "MONOCHROME2")
        single = options["samples_per_pixel"] == options["number_of_frames"] == 1
        signed = options["pixel_representation"]
    except DECODE_ERRORS:
        return None
    return options if whole and grey and single and signed in (0, 1) else None


def _kind(options: Options) -> np.dtype[Any]:
    return np.dtype(f"<{'ui'[options['pixel_representation']]}{options['bits_allocated'] // 8}")


def _opened(file: PixelFile, reading: BinaryIO) -> int:
    """Move to the pixels and return the number of bytes from there; 0 if the file has changed."""
    status = os.fstat(reading.fileno())
    element = cast(tuple[RawDataElement], file.pixels)[0]
    if status.st_mtime != file.modified:
        return 0
    return status.st_size - reading.seek(element.value_tell)


def _stored(file: PixelFile) -> bytes | None:
    """The bytes from the start of the pixels to the end of the file; None if it has changed."""
    with file.path.open("rb", buffering=0) as reading:
        count = _opened(file, reading)
        stored = reading.read(count) if count > 0 else b""
    return stored if len(stored) == count else None


def _native(header: SliceHeader, options: Options, room: Pixels | None) -> Pixels | None:
    """Pixels that are stored as they are."""
    kind = _kind(options)
    if room is None or room.dtype != kind or room.shape != header.shape:
        room = np.empty(header.shape, kind)
    element = cast(tuple[RawDataElement], header.file.pixels)[0]
    same = (options["rows"], options["columns"]) == header.shape
    if not same or element.length != room.nbytes + room.nbytes % 2:
        return None
    with header.file.path.open("rb", buffering=0) as reading:
        if _opened(header.file, reading) < element.length:
            return None
        if reading.readinto(room.data.cast("B")) != room.nbytes:
            return None
    unused = options["bits_allocated"] - options["bits_stored"]
    if unused and not _within(room, options["bits_stored"]):
        # the other bits may have an overlay, or no sign
        np.left_shift(room, unused, out=room)
        np.right_shift(room, unused, out=room)
    return room


def _within(pixels: Pixels, bits: int) -> bool:
    """Whether all values are numbers of so many bits."""
    signed = pixels.dtype.kind == "i"
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    return bool(pixels.max() < high and (not signed or pixels.min() >= low))


def _decoded(
    syntax: str | None, source: Dataset | bytes, options: Options, index: int | None
) -> Pixels:
    """Compressed pixels from the first decoder that succeeds.

    Args:
        syntax: transfer syntax.
        source: data set, or the encapsulated pixels alone.
        options: what describes the pixels, if the source does not.
        index: number of the frame, from 0; None for a single-frame file.

    Raises:
        one of `DECODE_ERRORS`: if no decoder succeeds.
    """
    failed: Exception = NotImplementedError(syntax)
    for decoder, plugin in _PLUGINS.get(syntax or "", ()):
        try:
            pixels, _ = decoder.as_array(source, index=index, decoding_plugin=plugin, **options)
            return np.asarray(pixels)
        except DECODE_ERRORS as error:
            failed = error
    if syntax is None or syntax not in JPEG:
        raise failed
    if isinstance(source, Dataset):
        options = as_pixel_options(source)
        source = cast(bytes, source["PixelData"].value)
    if index is not None or "extended_offsets" in options:
        names = ("number_of_frames", "extended_offsets")
        frame = get_frame(source, index or 0, **{n: options[n] for n in names if n in options})
        source = encapsulate([frame])
        options = {k: v for k, v in options.items() if k not in names} | {"number_of_frames": 1}
    return isolated.decode(source, syntax, options)


def release(headers: Iterable[SliceHeader]) -> None:
    """Free multi-frame files from memory when all their frames are decoded."""
    for header in headers:
        header.file.close()


def pixel_digest(header: SliceHeader, *, stored: bool) -> bytes:
    """A digest of the pixels; images with equal pixels have equal digests.

    Args:
        header: of the image.
        stored: use the bytes in the file instead of decoded values. The images must be single-frame
            files of one transfer syntax.

    Raises:
        BadDicom: if the pixels cannot be read.
    """
    if not stored:
        pixels, _ = read_pixels(header)
        return hashlib.sha256(np.ascontiguousarray(pixels, np.int64).tobytes()).digest()
    try:
        return hashlib.sha256(header.file.dataset()["PixelData"].value).digest()
    except DECODE_ERRORS as error:
        raise BadDicom(f"{header.path}: cannot read its pixels ({one_line(error)})") from None
