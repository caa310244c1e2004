"""Decode the pixels of an image: choose the decoder by the transfer syntax.

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
from lumbargrade.dicom.opening import DECODE_ERRORS
from lumbargrade.dicom.slices import SliceHeader
from lumbargrade.domain.errors import BadDicom, one_line

DECODER_DEPENDENCIES = {RLELossless: ("pillow",)}


def is_available(uid: str) -> bool:
    """Whether this module, as a plugin of pydicom, decodes a transfer syntax."""
    return uid in DECODER_DEPENDENCIES


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytearray:
    """Decode one grey RLE frame to little-endian bytes.

    Raises:
        ValueError: if the frame is truncated or contradicts its header.
    """
    pixels, width = runner.rows * runner.columns, runner.bits_allocated // 8
    if len(frame) < 64:
        raise ValueError("the RLE header is truncated")
    count, *offsets = struct.unpack_from("<16L", frame)
    if count != width or runner.samples_per_pixel != 1:
        raise ValueError(f"{count} RLE segments, but {width} bytes per pixel")
    ends = [*offsets[1:count], len(frame)]
    decoded = np.empty((pixels, width), np.uint8)
    # the first segment holds the most significant bytes
    for byte, start, end in zip(reversed(range(width)), offsets, ends, strict=False):
        plane = Image.frombytes("L", (pixels, 1), frame[start:end], "packbits", "L")
        decoded[:, byte] = np.asarray(plane)[0]
    return bytearray(decoded.data)


#: A separate decoder, so that pydicom's own decoders stay unchanged.
DECODER = Decoder(RLELossless)
DECODER.add_plugin("packbits", (__name__, "decode_frame"))


_JPEG2000 = (
    *(JPEG2000, JPEG2000Lossless),
    *(HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL),
)

#: Transfer syntax -> pydicom plugins that decode it in this process; the fastest is first.
_PLUGINS: dict[str, tuple[tuple[Decoder, str], ...]] = {
    RLELossless: ((DECODER, "packbits"), (get_decoder(RLELossless), "pydicom")),
    JPEGBaseline8Bit: ((get_decoder(JPEGBaseline8Bit), "pillow"),),
    **{uid: ((get_decoder(uid), "pyjpegls"),) for uid in JPEGLSTransferSyntaxes},
    **{uid: ((get_decoder(uid), "pylibjpeg"),) for uid in _JPEG2000},
}

#: Transfer syntaxes that GDCM decodes in a child process if no plugin above can.
_ISOLATED = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)


def decoded(path: Path, dataset: FileDataset, frame: int = 0) -> NDArray[Any]:
    """The pixel array of a parsed file, from the first decoder that succeeds.

    Args:
        path, dataset: the file.
        frame: number of the frame, from 1; 0 for a single-frame file.

    Raises:
        one of `DECODE_ERRORS`: if no decoder succeeds.
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
    # not Dataset.pixel_array, which keeps a copy and checks whether it is current
    return np.asarray(pixel_array(dataset, index=index))


#: Stored or rescaled values, (rows, columns), of any number type.
Pixels = NDArray[Any]


def read_pixels(header: SliceHeader) -> tuple[Pixels, tuple[str, ...]]:
    """Decode a slice: its values, (rows, columns), and the decoder's warnings.

    MONOCHROME1 values are negated, so that larger is brighter. Rescale slope and intercept are
    applied unless they are 1 and 0. A multi-frame file is kept in memory: see :func:`release`.

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
        what = f"decoded pixels have shape {pixels.shape}, but the header gives {header.shape}"
        raise BadDicom(f"{header.where}: {what}")
    return pixels, tuple(one_line(w.message) for w in caught if isinstance(w.message, Warning))


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
        pixels, _ = _decoded(header)
        return hashlib.sha256(np.ascontiguousarray(pixels, np.int64).tobytes()).digest()
    try:
        return hashlib.sha256(header.file.dataset()["PixelData"].value).digest()
    except DECODE_ERRORS as error:
        raise BadDicom(f"{header.path}: cannot read its pixels ({one_line(error)})") from None
