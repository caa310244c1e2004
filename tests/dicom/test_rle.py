"""RLE by Pillow gives the pixels that pydicom encoded, and a damaged frame is never taken whole."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_files import made_slice, save
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydicom.uid import RLELossless

from lumbargrade.dicom.decoders import RLE_DECODER
from lumbargrade.dicom.pixels import read_pixels
from lumbargrade.dicom.slices import read_headers
from lumbargrade.domain.errors import BadDicom


def compressed(pixels: np.ndarray, **tags: object):
    bits = 8 * pixels.itemsize
    stored = {"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1}
    data = made_slice(1, (0.0, 0.0, 0.0), pixels=pixels, **{**stored, **tags})
    # not GDCM's encoder, which aborts the process on some shapes
    data.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    return data


@given(
    kind=st.sampled_from([np.uint8, np.int8, np.uint16, np.int16]),
    shape=hnp.array_shapes(min_dims=2, max_dims=2, max_side=300),
    share=st.sampled_from([0.0, 0.1, 0.5, 0.99]),
    seed=st.integers(0, 2**32 - 1),
)
@pytest.mark.filterwarnings("ignore")  # pydicom wonders at a frame that is as long as its pixels
def test_pixels_are_those_that_were_encoded(kind, shape, share, seed):
    rng = np.random.default_rng(seed)
    info = np.iinfo(kind)
    pixels = rng.integers(info.min, info.max, shape, endpoint=True).astype(kind)
    pixels[rng.random(shape) < share] = 5  # runs, also across the ends of rows
    ours, _ = RLE_DECODER.as_array(compressed(pixels), decoding_plugin="packbits")
    assert ours.dtype == pixels.dtype
    np.testing.assert_array_equal(ours, pixels)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_a_frame_cut_short_is_refused(tmp_path, share):
    data = compressed(np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16))
    frame = data.PixelData
    data.PixelData = frame[: int(share * len(frame)) // 2 * 2]
    (header,), _ = read_headers(save(data, tmp_path / "1.dcm"))
    with pytest.raises(BadDicom, match="cannot decode its pixels"):
        read_pixels(header)


def test_a_frame_of_other_width_than_its_header_says_is_refused():
    data = compressed(np.zeros((8, 8), np.uint16))
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    with pytest.raises(RuntimeError, match="2 RLE segments, but 1 bytes"):
        RLE_DECODER.as_array(data, decoding_plugin="packbits")
