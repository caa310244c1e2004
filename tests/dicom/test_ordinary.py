"""Ordinary files are read without pydicom, and to the same result; no other file is."""

from __future__ import annotations

import io
import os
import tracemalloc
from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pydicom
import pytest
from damage import SYNTAXES, content, damaged_headers, full_slice
from dicom_files import made_slice, save
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from lumbargrade.dicom import ordinary, pixels, slices
from lumbargrade.dicom.header import Header
from lumbargrade.dicom.opening import PixelFile
from lumbargrade.dicom.ordinary import elements_of
from lumbargrade.dicom.pixels import read_pixels
from lumbargrade.dicom.slices import SliceHeader, read_headers
from lumbargrade.dicom.study import read_study


def by_pydicom(path, monkeypatch):
    """The headers and errors of a file, as if no file was ordinary."""
    with monkeypatch.context() as patched:
        patched.setattr(slices, "_ordinary", lambda _: None)
        return read_headers(path)


def parts(header: SliceHeader) -> list[object]:
    """Everything that a header says, except the value of small pixels, which pydicom keeps."""
    own = [getattr(header, f.name) for f in fields(header) if f.name != "file"]
    names = [f.name for f in fields(PixelFile) if f.name != "pixels"]
    (element,) = header.file.pixels
    place = (element.tag, element.VR, element.length, element.value_tell)
    return [*own, *(getattr(header.file, n) for n in names), place]


def same_as_by_pydicom(path, monkeypatch) -> bool:
    """Whether a file is ordinary; if so, its header must be that of pydicom."""
    ours = slices._ordinary(path)
    if ours is None:
        return False
    (theirs,), errors = by_pydicom(path, monkeypatch)
    assert not errors
    assert parts(ours) == parts(theirs)
    return True


def with_sequences(data: FileDataset, *, undefined: bool) -> FileDataset:
    """Sequences that are read and others, in each other, and long private values."""
    inner, code, item = Dataset(), Dataset(), Dataset()
    inner.CodeMeaning = "inner"
    item.RequestedProcedureDescription = "MR L-spine"
    item.RequestedProcedureCodeSequence = Sequence([inner, inner])
    code.CodeMeaning = "Lumbar spine"
    data.RequestAttributesSequence = Sequence([item])
    data.AnatomicRegionSequence = Sequence([code])
    data.ReferencedImageSequence = Sequence([])
    block = data.private_block(0x0029, "LONG", create=True)
    block.add_new(1, "OB", bytes(70_001) + b"\0")
    block.add_new(2, "SQ", Sequence([inner]))
    for element in data.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for part in element.value:
                part.is_undefined_length_sequence_item = undefined
    return data


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True])
def test_headers_of_ordinary_files_are_those_of_pydicom(tmp_path, monkeypatch, syntax, undefined):
    plain, full = made_slice(3, (1.5, -2e-3, 3.0)), full_slice(2, syntax, (0.0, -1.25, 7.0))
    full.AcquisitionDate, full.AcquisitionTime = "20260102", "101112.5"
    for i, data in enumerate((plain, full, with_sequences(full, undefined=undefined))):
        path = save(data, tmp_path / f"{i}.dcm")
        assert same_as_by_pydicom(path, monkeypatch)
    (header,), _ = read_headers(path)
    assert header.acquired == "20260102101112.5"
    assert header.about.body_part == "Lumbar spine"
    assert ("RequestedProcedureDescription", "MR L-spine") in header.about.order


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_damaged_header_is_that_of_pydicom_or_left_to_it(tmp_path, monkeypatch, syntax):
    whole = content(full_slice(1, syntax, (0.0, 0.0, 0.0)))
    path = tmp_path / "x.dcm"
    ordinary_files = 0
    for damaged in damaged_headers(whole, 400, seed=5):
        path.write_bytes(damaged)
        ordinary_files += same_as_by_pydicom(path, monkeypatch)
    assert ordinary_files > 20


#: InstanceNumber 1 in an explicit file.
_NUMBER = b"\x20\0\x13\0IS\x02\0\x31 "


@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: whole[132:],  # no preamble
        lambda whole: whole[:-2],
        lambda whole: whole + b"\0\0",
        lambda whole: whole + b"\xfc\xff\xfc\xffOB\0\0\x02\0\0\0\0\0",  # trailing padding
        lambda whole: whole.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"),
        lambda whole: whole.replace(b"\x20\0\x32\0DS", b"\x20\0\x32\0LO"),
        lambda whole: whole.replace(_NUMBER, _NUMBER * 2),  # not in ascending order
    ],
)
def test_other_files_are_left_to_pydicom(tmp_path, spoil):
    whole = content(made_slice(1, (0.0, 0.0, 0.0)))
    path = tmp_path / "x.dcm"
    path.write_bytes(spoil(whole))
    assert path.read_bytes() != whole
    assert slices._ordinary(path) is None
    assert elements_of(tmp_path / "absent.dcm") is None


def test_every_element_that_is_read_is_looked_for(tmp_path, monkeypatch):
    """An element that `ordinary` does not know would seem to be absent."""
    seen = set()

    def watched(method):
        def watching(self, keyword, *rest):
            seen.add(keyword)
            return method(self, keyword, *rest)

        return watching

    for name in ("value", "_stored_bytes", "absent", "bad", "named"):
        monkeypatch.setattr(Header, name, watched(getattr(Header, name)))
    data = full_slice(1, "explicit", (0.0, 0.0, 0.0))
    by_pydicom(save(data, tmp_path / "1.dcm"), monkeypatch)
    del data.PixelSpacing
    by_pydicom(save(data, tmp_path / "2.dcm"), monkeypatch)
    assert "EchoTime" in seen
    assert "ImagerPixelSpacing" in seen
    assert seen - {"CodeMeaning"} <= {*ordinary.SERIES, *ordinary.IMAGE}


def stored(
    kind: type, bits: int, *, shape: tuple[int, int] = (17, 15), dirty: bool = False
) -> FileDataset:
    """An image; if dirty, its unused bits are set."""
    info = np.iinfo(kind)
    width = info.bits
    low, high = (-(1 << bits - 1), 1 << bits - 1) if info.min else (0, 1 << bits)
    image = np.random.default_rng(bits).integers(low, high, shape).astype(kind)
    if dirty:
        image ^= np.array(1 << bits, np.int64).astype(kind)
    signed = int(info.min < 0)
    tags = {"BitsAllocated": width, "BitsStored": bits, "HighBit": bits - 1}
    data = made_slice(1, (0.0, 0.0, 0.0), pixels=image, PixelRepresentation=signed, **tags)
    data.PixelData = image.tobytes() + b"\0" * (image.nbytes % 2)
    return data


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize(
    ("kind", "bits", "dirty"),
    [
        *((np.uint8, 8, False), (np.int8, 8, False), (np.uint16, 16, False), (np.int16, 16, False)),
        *((np.uint16, 12, False), (np.int16, 12, False), (np.uint16, 12, True)),
        *((np.int16, 12, True), (np.uint32, 32, False), (np.uint8, 5, True)),
    ],
)
def test_uncompressed_pixels_are_those_of_pydicom(
    tmp_path, monkeypatch, kind, bits, dirty, implicit
):
    data = stored(kind, bits, dirty=dirty)
    if implicit:
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    same_pixels(save(data, tmp_path / "1.dcm"), monkeypatch)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1])
@pytest.mark.parametrize(("kind", "bits"), [(np.uint16, 12), (np.int16, 12), (np.uint8, 8)])
def test_compressed_pixels_are_those_of_pydicom(tmp_path, monkeypatch, syntax, kind, bits):
    data = stored(kind, bits, shape=(40, 37))
    if syntax == JPEGLosslessSV1:
        path = as_jpeg(save(data, tmp_path / "1.dcm"))
    else:
        plugin = {"encoding_plugin": "pydicom"} if syntax == RLELossless else {}
        data.compress(syntax, generate_instance_uid=False, **plugin)
        path = save(data, tmp_path / "1.dcm")
    same_pixels(path, monkeypatch)


def as_jpeg(path):
    """The same file in lossless JPEG."""
    gdcm = pytest.importorskip("gdcm")
    reader, writer = gdcm.ImageReader(), gdcm.ImageWriter()
    change = gdcm.ImageChangeTransferSyntax()
    reader.SetFileName(str(path))
    assert reader.Read()
    kind = gdcm.TransferSyntax.JPEGLosslessProcess14_1
    change.SetTransferSyntax(gdcm.TransferSyntax(kind))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path.with_name("jpeg.dcm")))
    assert writer.Write()
    return path.with_name("jpeg.dcm")


def same_pixels(path, monkeypatch):
    (header,), _ = read_headers(path)
    with monkeypatch.context() as patched:
        patched.setattr(pixels, "_any", lambda _: pytest.fail("not read as an ordinary file"))
        ours, warned = read_pixels(header)
    expected = pydicom.dcmread(path).pixel_array
    assert ours.dtype == expected.dtype
    np.testing.assert_array_equal(ours, expected)
    assert not warned


def test_pixels_that_fail_are_left_to_pydicom_with_its_reason(tmp_path):
    short = made_slice(1, (0.0, 0.0, 0.0))
    short.PixelData = short.PixelData[:-2]
    lossy = stored(np.uint16, 12, shape=(40, 37))
    lossy.compress(JPEG2000Lossless, generate_instance_uid=False)
    lossy.PixelData = lossy.PixelData[:40]
    for data, reason in ((short, "less than expected"), (lossy, "decod")):
        (header,), _ = read_headers(save(data, tmp_path / "1.dcm"))
        with pytest.raises(slices.BadDicom, match=reason):
            read_pixels(header)


def test_a_file_that_changed_after_its_header_was_read_is_noticed(tmp_path):
    path = save(made_slice(1, (0.0, 0.0, 0.0)), tmp_path / "1.dcm")
    (header,), _ = read_headers(path)
    os.utime(path, (1, 1))
    _, (warned,) = read_pixels(header)
    assert "changed" in warned


class Counted(io.RawIOBase):
    """A file that counts the bytes which are read."""

    def __init__(self, file, counts: Counter, name: str) -> None:
        self.file, self.counts, self.name = file, counts, name

    def fileno(self):
        return self.file.fileno()

    def seek(self, *to):
        return self.file.seek(*to)

    def read(self, count=-1):
        found = self.file.read(count)
        self.counts[self.name] += len(found)
        return found

    def readinto(self, room):
        count = self.file.readinto(room)
        self.counts[self.name] += count
        return count

    def close(self):
        self.file.close()
        super().close()


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless])
def test_a_study_is_opened_twice_read_once_and_decoded_once(tmp_path, monkeypatch, syntax):
    """Once for the header and once for the pixels; pydicom opens nothing."""
    image = np.random.default_rng(0).integers(0, 4096, (200, 210)).astype(np.uint16)

    for i in range(1, 4):
        data = made_slice(i, (-4.0 * i, -30.0, 40.0), pixels=image + i)
        if syntax:
            plugin = {"encoding_plugin": "pydicom"} if syntax == RLELossless else {}
            data.compress(syntax, generate_instance_uid=False, **plugin)
        save(data, tmp_path / f"{i}.dcm")
    opened, read, decoded = Counter(), Counter(), Counter()
    real, kernel = io.open, pixels.Decoder.as_array

    def counting(path, mode="r", *rest, **options):
        file = real(path, mode, *rest, **options)
        if not str(path).endswith(".dcm"):
            return file
        opened[str(path)] += 1
        return Counted(file, read, str(path))

    def as_array(self, source, **options):
        decoded[bytes(source)] += 1
        return kernel(self, source, **options)

    monkeypatch.setattr(io, "open", counting)
    monkeypatch.setattr("builtins.open", lambda path, *_, **__: pytest.fail(f"{path} is opened"))
    monkeypatch.setattr(pixels.Decoder, "as_array", as_array)
    # pydicom parses the header of one image of each series, for the results
    monkeypatch.setattr("lumbargrade.dicom.study.read_head", lambda path: None)
    study = read_study(tmp_path)
    monkeypatch.undo()
    (volume,) = (*study.volumes, *study.other)
    assert volume.pixels.shape == (3, 200, 210)
    assert set(opened.values()) == {2}
    assert len(opened) == 3
    # the header of these files is much shorter than what is read at once
    spare = 3 * ordinary._CHUNK
    assert all(count <= Path(path).stat().st_size + spare for path, count in read.items())
    assert sorted(decoded.values()) == ([1, 1, 1] if syntax else [])


def test_the_headers_of_many_images_need_little_memory(tmp_path):
    """Slices of a series share what they have in common."""
    for i in range(120):
        save(made_slice(i, (-4.0 * i, -30.0, 40.0)), tmp_path / f"{i:03}.dcm")
    read_headers(tmp_path / "000.dcm")
    paths = sorted(tmp_path.iterdir())
    tracemalloc.start()
    try:
        found = [read_headers(path) for path in paths]
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(found) == 120
    assert held / 120 < 2500
