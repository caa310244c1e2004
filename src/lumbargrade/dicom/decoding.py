"""Which decoder reads which transfer syntax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.pixels.decoders.base import Decoder, get_decoder
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

from lumbargrade.dicom import isolated, rle
from lumbargrade.dicom.decode_errors import DECODE_ERRORS

_JPEG2000 = (
    *(JPEG2000, JPEG2000Lossless),
    *(HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL),
)

#: Which plugins of pydicom decode a compressed syntax in this process, in this order; the first
#: takes least time.
_PLUGINS: dict[str, tuple[tuple[Decoder, str], ...]] = {
    RLELossless: ((rle.DECODER, "packbits"), (get_decoder(RLELossless), "pydicom")),
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
