"""Malformed header values: named with file, tag and value, or of no consequence; none escapes."""

from __future__ import annotations

from pathlib import Path

import pytest
from damage import SYNTAXES, content, damaged_headers, full_slice, set_raw, write_folder

from lumbargrade.dicom.collection import find_studies
from lumbargrade.dicom.inspect import summarise_folder
from lumbargrade.dicom.reader import read_series
from lumbargrade.dicom.rules import EXPORT, LSDC
from lumbargrade.dicom.study import read_study
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
        lambda: find_studies([folder]).studies[0].read(),
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
        ("ImagePositionPatient", b"1\\2\\1e7", "lies beyond 100000 mm"),
        ("PixelSpacing", b"0.5\\5000", "is more than 100 mm"),
        ("RescaleSlope", b"1e20", "is beyond 1e+09"),
        ("RescaleIntercept", b"-1e20", "is beyond 1e+09"),
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
