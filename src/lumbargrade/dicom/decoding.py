"""Which decoder reads which transfer syntax.

RLE Lossless, the transfer syntax of the LSDC files, is decoded here several times faster than by
pydicom.
"""

from __future__ import annotations

import struct
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
from lumbargrade.dicom.decode_errors import DECODE_ERRORS

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
