"""Real-like DICOM files and random damage to their headers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from dicom_files import SAGITTAL, made_slice
from pydicom.dataset import FileDataset
from pydicom.filebase import DicomBytesIO
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "RLE": RLELossless,
}

#: Texts and bytes that replace a value, or part of one.
_NASTY = (
    *(b"NaN ", b"inf ", b"1,5 ", b"--1 ", b"1\\2 ", b"1e999 ", b"1e99", b"-1e7", b"0 ", b"    "),
    *(b"1_0 ", b"\xff\xfe", b"\0\0\0\0", b"\x1b$B!!", b"99999999999 ", b"\\\\", b"0.0", b"A" * 40),
)
_REPRESENTATIONS = (b"SQ", b"US", b"OB", b"UN", b"FD", b"AT", b"PN", b"DA", b"XX", b"\0\0", b"UT")


def full_slice(number: int, syntax: str, position: tuple[float, float, float]) -> FileDataset:
    """A slice that has every element which is read anywhere."""
    pixels = np.random.default_rng(number).integers(0, 4096, (12, 10)).astype(np.uint16)
    data = made_slice(
        number,
        position,
        SAGITTAL,
        pixels=pixels,
        SeriesDescription="T2 sag",
        ProtocolName="spine",
        ImageType=["ORIGINAL", "PRIMARY", "M"],
        EchoTime="100",
        RepetitionTime="3500",
        InversionTime="160",
        EchoNumbers="1",
        AcquisitionNumber="1",
        ScanningSequence=["SE", "IR"],
        TemporalPositionIdentifier="1",
        DiffusionBValue=0.0,
        ContrastBolusAgent="",
        NumberOfFrames="1",
        RescaleSlope="1.5",
        RescaleIntercept="-10",
        SliceThickness="4",
        PatientName="Phantom",
        SpecificCharacterSet="ISO_IR 100",
    )
    data.file_meta.TransferSyntaxUID = SYNTAXES[syntax]
    if syntax == "RLE":
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    return data


def content(data: FileDataset) -> bytes:
    stream = DicomBytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def damaged_headers(whole: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Copies of a file with one to four changes between its preamble and its pixels."""
    rng = np.random.default_rng(seed)
    end = whole.rindex(b"\xe0\x7f\x10\x00") + 12
    starts = _value_starts(whole, end)
    for _ in range(count):
        changed = bytearray(whole)
        for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
            _change(changed, int(rng.integers(132, end)), starts, rng)
        yield bytes(changed)


def _value_starts(whole: bytes, end: int) -> list[int]:
    """Where the values of elements begin (roughly: a group number that occurs in headers)."""
    groups = (b"\x08\x00", b"\x18\x00", b"\x20\x00", b"\x28\x00")
    return [i + 8 for i in range(132, end - 8) if whole[i : i + 2] in groups]


def _change(file: bytearray, at: int, starts: list[int], rng: np.random.Generator) -> None:
    kind = rng.integers(6)
    if kind == 0:
        file[at] = rng.integers(256)
    elif kind == 1:
        file[at] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        del file[at : at + int(rng.integers(1, 9))]
    elif kind == 3:
        file[at:at] = rng.bytes(int(rng.integers(1, 9)))
    elif kind == 4:
        value = _NASTY[rng.integers(len(_NASTY))]
        start = starts[rng.integers(len(starts))]
        file[start : start + len(value)] = value
    else:
        start = starts[rng.integers(len(starts))]
        file[start - 4 : start - 2] = _REPRESENTATIONS[rng.integers(len(_REPRESENTATIONS))]


def set_raw(file: bytes, keyword: str, value: bytes, representation: bytes = b"") -> bytes:
    """An explicit or implicit file with other bytes as an element's value, and another VR."""
    tag = Tag(keyword)
    mark = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
    at = file.index(mark, 132)
    explicit = file[at + 4 : at + 6].isalpha()
    old = int.from_bytes(file[at + 6 : at + 8] if explicit else file[at + 4 : at + 8], "little")
    value += b" " * (len(value) % 2)
    size = len(value).to_bytes(2 if explicit else 4, "little")
    head = (representation or file[at + 4 : at + 6]) + size if explicit else size
    return file[: at + 4] + head + value + file[at + 8 + old :]


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, whole in files.items():
        (folder / name).write_bytes(whole)
    return folder
