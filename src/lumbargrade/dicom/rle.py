"""RLE Lossless, the transfer syntax of the LSDC files, decoded several times faster than pydicom.

A DICOM RLE segment is PackBits, which pydicom decodes in Python and Pillow in C (for TIFF). The
functions here are what pydicom asks of a decoding plugin; pydicom's own decoder stays as it is.
"""

from __future__ import annotations

import struct

import numpy as np
from PIL import Image
from pydicom.pixels.decoders.base import Decoder, DecodeRunner
from pydicom.uid import RLELossless

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
