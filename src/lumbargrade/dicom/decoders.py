"""Decoders that are several times faster than those of pydicom: RLE by Pillow, JPEG by GDCM.

RLE Lossless is the transfer syntax of the LSDC files. GDCM decodes JPEG here as in pydicom, but
without a detour through text; it may crash its process (see `lumbargrade.dicom.isolated`).
"""

from __future__ import annotations

import ctypes
import struct

import numpy as np
from PIL import Image
from pydicom.pixels.decoders.base import Decoder, DecodeRunner
from pydicom.uid import (
    UID,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    RLELossless,
)

#: Transfer syntaxes that GDCM decodes.
JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)

DECODER_DEPENDENCIES = {RLELossless: ("pillow",), **dict.fromkeys(JPEG, ("python-gdcm",))}


def is_available(uid: str) -> bool:
    """Whether this module, as a plugin of pydicom, decodes a transfer syntax."""
    return uid in DECODER_DEPENDENCIES


def decode_rle(frame: bytes, runner: DecodeRunner) -> bytearray:
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


def decode_jpeg(frame: bytes, runner: DecodeRunner) -> bytes:
    """Decode one grey JPEG frame.

    Raises:
        NotImplementedError: for lossy JPEG of more than 8 bits.
        ValueError: if the frame is damaged or contradicts its header.
    """
    import gdcm

    if runner.transfer_syntax == JPEGExtended12Bit and runner.bits_stored != 8:
        raise NotImplementedError("GDCM does not decode lossy JPEG of more than 8 bits")
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    compressed = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    compressed.SetValue(fragments.__ref__())
    stored = runner.bits_stored
    codec = gdcm.JPEGCodec()
    codec.SetNumberOfDimensions(2)
    codec.SetDimensions((runner.columns, runner.rows, 1))
    codec.SetPlanarConfiguration(0)
    codec.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(
            gdcm.PhotometricInterpretation.GetPIType(runner.photometric_interpretation)
        )
    )
    codec.SetPixelFormat(
        gdcm.PixelFormat(1, runner.bits_allocated, stored, stored - 1, runner.pixel_representation)
    )
    decoded = gdcm.DataElement()
    if not codec.Decode(compressed, decoded):
        raise ValueError("GDCM cannot decode the frame")
    value, length = decoded.GetByteValue(), runner.frame_length(unit="bytes")
    # GDCM's lengths compare and convert only as text
    if str(value.GetLength()) != str(length):
        raise ValueError(f"{value.GetLength()} bytes decoded, but {length} expected")
    return ctypes.string_at(int(value.GetVoidPointer()), int(length))


def _decoder(uid: str, name: str, function: str) -> Decoder:
    """A separate decoder, so that pydicom's own decoders stay unchanged."""
    decoder = Decoder(UID(uid))
    decoder.add_plugin(name, (__name__, function))
    return decoder


RLE_DECODER = _decoder(RLELossless, "packbits", "decode_rle")
JPEG_DECODERS = {uid: _decoder(uid, "codec", "decode_jpeg") for uid in JPEG}
