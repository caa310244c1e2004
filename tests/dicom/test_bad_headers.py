"""Malformed header values: named with file, tag and value, or of no consequence; none escapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from damage import SYNTAXES, content, damaged_headers, full_slice, set_raw, write_folder
from pydicom import dcmwrite
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO

import hospital_exports as made
from lumbargrade.dicom.find import find_studies
from lumbargrade.dicom.inspect import summarise_folder
from lumbargrade.dicom.reader import read_series
from lumbargrade.dicom.rules import EXPORT, LSDC
from lumbargrade.dicom.slices import read_headers
from lumbargrade.dicom.study import read_found, read_study
from lumbargrade.domain.errors import BadDicom, NothingDone, Problem

#: Values that are no number, as they stand in the file.
NO_NUMBER = {
    "stray bytes": b"\xff\xfe1.5 ",
    "words": b"none",
    "several values": b"1\\2\\3\\4\\5\\6\\7",
    "NaN": b"NaN",
    "infinite": b"1e400",
    "thousands": b"1,000.5",
    "underscore": b"1_0",
    "control characters": b"1\x07\x01",
}

#: Elements without which a slice cannot be used, with their tags.
NEEDED = {
    "RescaleSlope": "(0028,1053)",
    "RescaleIntercept": "(0028,1052)",
    "PixelSpacing": "(0028,0030)",
    "ImagePositionPatient": "(0020,0032)",
    "ImageOrientationPatient": "(0020,0037)",
    "NumberOfFrames": "(0028,0008)",
}

#: Elements that tell of the acquisition only.
HARMLESS = (
    *("EchoTime", "RepetitionTime", "InversionTime", "EchoNumbers", "AcquisitionNumber"),
    *("InstanceNumber", "TemporalPositionIdentifier", "SliceThickness"),
)


def folder_with(path: Path, second: bytes, syntax: str = "explicit") -> Path:
    """Three slices, of which the second has this content."""
    files = {f"{n}.dcm": content(full_slice(n, syntax, (4.0 * n, 0.0, 0.0))) for n in (1, 2, 3)}
    return write_folder(path / "study" / "series", {**files, "2.dcm": second})


def read_all(folder: Path) -> list[tuple[Problem, ...]]:
    """The problems that every way of reading tells; a folder without an image has none."""
    told: list[tuple[Problem, ...]] = []
    for read in (
        lambda: read_series(folder, rules=LSDC),
        lambda: read_series(folder, rules=EXPORT),
        lambda: read_study(folder),
        lambda: summarise_folder(folder),
        lambda: read_found(find_studies([folder]).studies[0]),
    ):
        try:
            told.append(read().problems)
        except (BadDicom, NothingDone) as error:
            told.append((Problem(str(error)),))
    return told


@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
@pytest.mark.parametrize("value", NO_NUMBER)
@pytest.mark.parametrize("keyword", NEEDED)
def test_a_needed_value_that_is_no_number_is_named_and_the_rest_is_read(
    tmp_path, keyword, value, syntax
):
    whole = content(full_slice(2, syntax, (8.0, 0.0, 0.0)))
    folder = folder_with(tmp_path, set_raw(whole, keyword, NO_NUMBER[value]), syntax)
    for problems in read_all(folder):
        (problem,) = [p for p in problems if p.fatal]
        assert problem.file == str(folder / "2.dcm")
        assert problem.what.startswith(f"{keyword} {NEEDED[keyword]} ")
        shown = {
            "stray bytes": r"'\xff\xfe1.5'",
            "control characters": r"'1\x07\x01'",
        }
        assert shown.get(value, f"'{NO_NUMBER[value].decode('latin-1')}'") in problem.what
    assert [s.file for s in read_series(folder).volume.slices] == ["3.dcm", "1.dcm"]


@pytest.mark.parametrize("representation", [b"SQ", b"US", b"FD", b"AT", b"OB", b"XX", b"SS"])
@pytest.mark.parametrize("keyword", NEEDED)
def test_a_needed_value_of_another_representation_is_named(tmp_path, keyword, representation):
    """Even where its bytes make a number: two characters are one of 16 bits."""
    whole = content(full_slice(2, "explicit", (8.0, 0.0, 0.0)))
    value = b"1." if representation != b"FD" else b"1.000000"
    folder = folder_with(tmp_path, set_raw(whole, keyword, value, representation))
    for problems in read_all(folder):
        (problem,) = [p for p in problems if p.fatal]
        assert problem.file == str(folder / "2.dcm")


@pytest.mark.parametrize("value", [b"", b"  ", b"\0\0"])
@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_an_empty_value_is_an_absent_one(tmp_path, keyword, value):
    whole = content(full_slice(2, "explicit", (8.0, 0.0, 0.0)))
    folder = folder_with(tmp_path, set_raw(whole, keyword, value))
    for problems in read_all(folder):
        assert not [p for p in problems if p.fatal]
    assert len(read_series(folder).volume.slices) == 3


@pytest.mark.parametrize("value", NO_NUMBER)
@pytest.mark.parametrize("keyword", HARMLESS)
def test_a_value_that_the_image_does_not_need_costs_no_slice(tmp_path, keyword, value):
    whole = content(full_slice(2, "explicit", (8.0, 0.0, 0.0)))
    folder = folder_with(tmp_path, set_raw(whole, keyword, NO_NUMBER[value]))
    for problems in read_all(folder):
        assert not [p for p in problems if p.fatal]
    assert len(read_series(folder, rules=EXPORT).volume.slices) == 3


def test_a_long_value_is_shortened(tmp_path):
    whole = content(full_slice(2, "explicit", (8.0, 0.0, 0.0)))
    folder = folder_with(tmp_path, set_raw(whole, "RescaleSlope", b"7" * 3000 + b"x"))
    (problem,) = [p for p in read_series(folder).problems if p.fatal]
    assert "'7777" in problem.what
    assert len(problem.what) < 400


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("ImagePositionPatient", b"1\\2\\1e7", "is more than 100000 mm from the origin"),
        ("PixelSpacing", b"0.5\\5000", "is more than 100 mm"),
        ("RescaleSlope", b"1e20", "is outside -1e+09 to 1e+09"),
        ("RescaleIntercept", b"-1e20", "is outside -1e+09 to 1e+09"),
        ("PhotometricInterpretation", b"MONOCHROME7", "is not MONOCHROME1 or MONOCHROME2"),
    ],
)
def test_a_value_that_cannot_be_meant_is_named(tmp_path, keyword, value, reason):
    whole = content(full_slice(2, "explicit", (8.0, 0.0, 0.0)))
    folder = folder_with(tmp_path, set_raw(whole, keyword, value))
    (problem,) = [p for p in read_series(folder).problems if p.fatal]
    assert problem.what.startswith(f"{keyword} (")
    assert reason in problem.what


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_damaged_headers_are_read_or_refused_but_never_crash(tmp_path, syntax):
    """A hundred files with bytes changed, dropped or put in, each beside two good ones."""
    whole = content(full_slice(2, syntax, (8.0, 0.0, 0.0)))
    folder = folder_with(tmp_path, whole, syntax)
    lost = 0
    for second in damaged_headers(whole, 100, seed=1):
        (folder / "2.dcm").write_bytes(second)
        told = read_all(folder)
        lost += any(p.fatal for p in told[0])
    assert 10 < lost < 100


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PixelSpacing", b"0,5000,0,5000"),
        ("PixelSpacing", b"0.5,0.5"),
        ("PixelSpacing", b"1,000.5\\1,000.5"),
        ("PixelSpacing", b"0,5\\0.5"),
        ("PixelSpacing", b"0.5"),
        ("RescaleSlope", b"1,2,3"),
    ],
)
def test_commas_that_could_mean_two_things_are_named_with_tag_and_value(tmp_path, keyword, value):
    whole = content(full_slice(2, "explicit", (8.0, 0.0, 0.0)))
    folder = folder_with(tmp_path, set_raw(whole, keyword, value))
    for problems in read_all(folder):
        (problem,) = [p for p in problems if p.fatal]
        assert problem.what.startswith(f"{keyword} {NEEDED[keyword]} '{value.decode()}' is not")


@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
@pytest.mark.parametrize("keyword", ["RescaleSlope", "EchoTime"])
def test_a_decimal_comma_is_read_with_a_remark(tmp_path, keyword, syntax):
    whole = content(full_slice(2, syntax, (8.0, 0.0, 0.0)))
    folder = folder_with(tmp_path, set_raw(whole, keyword, b"1,5 "), syntax)
    for problems in read_all(folder):
        assert not [p for p in problems if p.fatal]
        assert any(p.what.startswith(f"{keyword} (") for p in problems)
        assert any(p.what.endswith("has decimal commas") for p in problems)
    (header,), _ = read_headers(folder / "2.dcm")
    assert 1.5 in (header.rescale[0], header.about.echo_time)


@pytest.mark.parametrize("number", [1.5, 0.25, -123.456, 0.0, 1e5])
def test_a_binary_number_is_read_unless_its_bytes_are_text(tmp_path, number):
    whole = content(full_slice(2, "explicit", (8.0, 0.0, 0.0)))
    stored = np.array([number], "<f8").tobytes()
    (tmp_path / "1.dcm").write_bytes(set_raw(whole, "RescaleIntercept", stored, b"FD"))
    (header,), errors = read_headers(tmp_path / "1.dcm")
    assert header.rescale[1] == number
    assert not errors
    (tmp_path / "1.dcm").write_bytes(set_raw(whole, "RescaleIntercept", b"1.500000", b"FD"))
    headers, (error,) = read_headers(tmp_path / "1.dcm")
    assert not headers
    assert "RescaleIntercept (0028,1052)" in str(error)


def test_other_spacings_do_not_stand_in_for_that_in_the_patient(tmp_path):
    data = full_slice(2, "explicit", (8.0, 0.0, 0.0))
    del data.PixelSpacing
    data.ImagerPixelSpacing = [0.5, 0.5]
    folder = folder_with(tmp_path, content(data))
    for problems in read_all(folder):
        (problem,) = [p for p in problems if p.fatal]
        assert problem.what == (
            r"has no PixelSpacing (0028,0030); ImagerPixelSpacing (0018,1164) '0.5\0.5' is not the "
            "spacing in the patient"
        )


@pytest.mark.parametrize(
    ("kind", "lost"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.22", False),
        ("1.2.840.10008.5.1.4.1.1.66.4", False),
        ("1.2.840.10008.1.3.10", False),
        ("1.3.12.2.1107.5.9.1", False),
        ("1.2.840.10008.5.1.4.1.1.4", True),
        ("1.2.840.10008.5.1.4.1.1.7", True),
    ],
)
def test_only_an_object_that_should_hold_an_image_is_lost_without_one(tmp_path, kind, lost):
    data = made.object_without_image("study", kind, "MR")
    folder = folder_with(tmp_path, content(data))
    for problems in read_all(folder):
        assert [p.fatal for p in problems] == [lost]
        assert problems[0].file == str(folder / "2.dcm")


@pytest.mark.parametrize(
    "start", [b"\x08\x00", b"\x02\x00\x00\x00", b"\x08\x00\x05\x00" + b"\xff" * 40]
)
def test_a_file_that_only_begins_like_one_without_preamble_is_refused(tmp_path, start):
    folder = folder_with(tmp_path, start)
    for problems in read_all(folder):
        (problem,) = [p for p in problems if p.fatal]
        assert problem.file == str(folder / "2.dcm")


def test_pixels_of_unknown_compression_are_refused_by_how_they_begin(tmp_path):
    data = full_slice(2, "RLE", (8.0, 0.0, 0.0))
    data.PixelData = encapsulate([b"\x01\x02\x03\x04" * 30])
    del data.file_meta.TransferSyntaxUID
    stream = DicomBytesIO()
    dcmwrite(stream, data, implicit_vr=False, little_endian=True, enforce_file_format=False)
    folder = folder_with(tmp_path, stream.getvalue())
    for problems in read_all(folder):
        (problem,) = [p for p in problems if p.fatal]
        assert "TransferSyntaxUID (0002,0010)" in problem.what
        assert "01020304" in problem.what


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_enhanced_headers_are_read_or_refused_but_never_crash(tmp_path, seed):
    slices = [full_slice(n, "explicit", (4.0 * n, 0.0, 0.0)) for n in (1, 2, 3)]
    whole = content(made.enhanced(slices))
    folder = folder_with(tmp_path, whole)
    lost = 0
    for changed in damaged_headers(whole, 60, seed=seed):
        (folder / "2.dcm").write_bytes(changed)
        lost += any(p.fatal for p in read_all(folder)[2])
    assert 5 < lost < 60
