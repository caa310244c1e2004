"""The pixels of an image whose header was accepted: which decoder reads which transfer syntax.

RLE Lossless, the transfer syntax of the LSDC files, is decoded here several times faster than by
pydicom.
"""

from __future__ import annotations

import hashlib
import struct
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.pixels.decoders.base import Decoder, DecodeRunner, get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from lumbargrade.dicom import isolated
from lumbargrade.dicom.opening import DECODE_ERRORS, one_line
from lumbargrade.dicom.slices import SliceHeader
from lumbargrade.domain.errors import BadDicom

DECODER_DEPENDENCIES = {RLELossless: ("pillow",)}


def is_available(uid: str) -> bool:
    """Whether this plugin decodes a transfer syntax."""
    return uid in DECODER_DEPENDENCIES


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytearray:
    """Pixels of one grey frame, little endian.

    Raises:
        ValueError: if the frame is not made as it says, or is cut short.
    """
    pixels, width = runner.rows * runner.columns, runner.bits_allocated // 8
    if len(frame) < 64:
        raise ValueError("the RLE header is cut short")
    count, *offsets = struct.unpack_from("<16L", frame)
    if count != width or runner.samples_per_pixel != 1:
        raise ValueError(f"{count} RLE segments, but {width} bytes in a pixel")
    ends = [*offsets[1:count], len(frame)]
    decoded = np.empty((pixels, width), np.uint8)
    # the first segment holds the most significant bytes
    for byte, start, end in zip(reversed(range(width)), offsets, ends, strict=False):
        plane = Image.frombytes("L", (pixels, 1), frame[start:end], "packbits", "L")
        decoded[:, byte] = np.asarray(plane)[0]
    return bytearray(decoded.data)


#: For ``as_array``; a decoder of our own, so that nothing of pydicom's is changed.
DECODER = Decoder(RLELossless)
DECODER.add_plugin("packbits", (__name__, "decode_frame"))


_JPEG2000 = (
    *(JPEG2000, JPEG2000Lossless),
    *(HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL),
)

#: Which plugins of pydicom decode a compressed syntax in this process, in this order; the first
#: takes least time.
_PLUGINS: dict[str, tuple[tuple[Decoder, str], ...]] = {
    RLELossless: ((DECODER, "packbits"), (get_decoder(RLELossless), "pydicom")),
    JPEGBaseline8Bit: ((get_decoder(JPEGBaseline8Bit), "pillow"),),
    **{uid: ((get_decoder(uid), "pyjpegls"),) for uid in JPEGLSTransferSyntaxes},
    **{uid: ((get_decoder(uid), "pylibjpeg"),) for uid in _JPEG2000},
}

#: What only gdcm decodes, or what others do not of it; damaged files can crash gdcm.
_ISOLATED = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)


def decoded(path: Path, dataset: FileDataset, frame: int = 0) -> NDArray[Any]:
    """The pixel array of a parsed file, by the first decoder that can.

    Args:
        path, dataset: the file.
        frame: which of its frames, from 1; 0 for a file of one image.

    Raises:
        one of `DECODE_ERRORS`: if none can.
    """
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    index = frame - 1 if frame else None
    failed: Exception | None = None
    for decoder, plugin in _PLUGINS.get(syntax, ()):
        try:
            return np.asarray(decoder.as_array(dataset, index=index, decoding_plugin=plugin)[0])
        except DECODE_ERRORS as error:
            failed = error
    if syntax in _ISOLATED:
        return isolated.decode(path, str(syntax), index)
    if failed is not None:
        raise failed
    # not Dataset.pixel_array, which keeps a copy and makes sure that it is still the right one
    return np.asarray(pixel_array(dataset, index=index))


#: Stored or rescaled values, (rows, columns), of any number type.
Pixels = NDArray[Any]


def read_pixels(header: SliceHeader) -> tuple[Pixels, tuple[str, ...]]:
    """Decode a slice: its values, (rows, columns), and what the decoder warned of.

    Larger is brighter: MONOCHROME1 values are negated. Rescale slope and intercept are applied
    where they are not 1 and 0. A file of several frames stays open: see :func:`release`.

    Raises:
        BadDicom: if the pixels are truncated, damaged or in an unknown transfer syntax.
    """
    pixels, caught = _decoded(header)
    slope, intercept = header.rescale
    if (slope, intercept) != (1.0, 0.0):
        pixels = pixels * slope + intercept
    if header.inverse:
        pixels = np.negative(pixels, dtype=np.float64)
    return pixels, caught


def _decoded(header: SliceHeader) -> tuple[Pixels, tuple[str, ...]]:
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dataset = header.file.dataset(keep=header.frame > 0)
            pixels = decoded(header.path, dataset, header.frame)
    except DECODE_ERRORS as error:
        raise BadDicom(f"{header.where}: cannot decode its pixels ({one_line(error)})") from None
    if pixels.shape != header.shape:
        raise BadDicom(f"{header.where}: pixels {pixels.shape} but header {header.shape}")
    return pixels, tuple(one_line(w.message) for w in caught if isinstance(w.message, Warning))


def release(headers: Iterable[SliceHeader]) -> None:
    """Free what was kept of multi-frame files, when all their frames are decoded."""
    for header in headers:
        header.file.close()


def pixel_digest(header: SliceHeader, *, stored: bool) -> bytes:
    """A digest that images have in common if their pixels are the same.

    Args:
        header: of the image.
        stored: compare the bytes in the file (of one transfer syntax, and of one image per file)
            instead of decoded values.

    Raises:
        BadDicom: if the pixels cannot be read.
    """
    if not stored:
        pixels, _ = _decoded(header)
        return hashlib.sha256(np.ascontiguousarray(pixels, np.int64).tobytes()).digest()
    try:
        return hashlib.sha256(header.file.dataset()["PixelData"].value).digest()
    except DECODE_ERRORS as error:
        raise BadDicom(f"{header.path}: cannot read its pixels ({one_line(error)})") from None
