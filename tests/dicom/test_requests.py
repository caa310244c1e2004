"""Series that the user requests, and header values that the user sets."""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path

import pytest

import hospital_exports as made
from lumbargrade.cli.main import main
from lumbargrade.dicom.archives import find_archived
from lumbargrade.dicom.find import find_studies
from lumbargrade.dicom.requests import HeaderValue, Request
from lumbargrade.dicom.study import read_found, read_study
from lumbargrade.domain.errors import BadDicom, UsageError
from lumbargrade.domain.vocabulary import SeriesKind

T1, T2, AXIAL = SeriesKind


@pytest.fixture(scope="module")
def export(base, tmp_path_factory):
    """A control, with a second T2 series of fewer slices that is called STIR."""
    study = made.export_of(base, "requests")
    second = made.again(study["sagt2"][2:-2], "stir", made.brighter)
    for data in second:
        data.SeriesInstanceUID, data.SeriesNumber = made.uid("stir"), 8
        data.SeriesDescription = "STIR SAG"
    return made.save(tmp_path_factory.mktemp("export"), study | {"stir": second})


def used(study):
    return {c.number for c in study.choices if c.chosen}


def test_the_best_series_is_used_and_the_other_one_kept_beside_it(export):
    study = read_study(export)
    assert used(study) == {"3", "4", "5"}
    assert len(study.of(T2)) == 2
    assert {v.series_id for v in study.used} == {c.series_id for c in study.choices if c.chosen}
    (why,) = [c.reason for c in study.choices if not c.chosen]
    assert why.startswith("has fat suppression; 3 (T2 TSE SAG)")
    assert any(p.what == f"not used as {T2}: {why}" for p in study.problems)


@pytest.mark.parametrize("name", ["8", made.uid("stir")])
def test_a_requested_series_is_used_by_number_or_uid(export, name):
    study = read_study(export, request=Request.parse([f"t2={name}"]))
    assert used(study) == {"8", "4", "5"}


def test_other_requests_make_other_results(export, tmp_path):
    """The fingerprint of the images decides whether an earlier result is kept."""
    archive = shutil.make_archive(str(tmp_path / "a"), "zip", export)
    asked = [(), ["t2=8"], ["t2=3"]], [(), ["SliceThickness=4"], ["5:SliceThickness=4"]]
    found = set()
    for series, values in product(*asked):
        request = Request.parse(series, values)
        (here,) = find_studies([export], request=request).studies
        (packed,), _ = find_archived([Path(archive)], tmp_path / "scratch", request)
        found |= {here.fingerprint(), packed.fingerprint(packed.files())}
    assert len(found) == 2 * 9


def test_a_request_decides_the_kind_and_says_what_it_was(export):
    study = read_study(export, request=Request.parse(["t1=3", "t2=8"]))
    assert used(study) == {"3", "8", "5"}
    assert {v.kind for v in study.used if v.series_id == made.uid("requests", "sagt2")} == {T1}
    assert any(
        "used as Sagittal T1 by request; without it: identified as" in p.what
        for p in study.problems
    )


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ("t2=77", "--series t2=77: no such series; the study has the series 3"),
        (
            "axial=3",
            "cannot be used as Axial T2: requested as Axial T2, but its images are sagittal",
        ),
        (
            "t1=5",
            "cannot be used as Sagittal T1: requested as Sagittal T1, but its images are axial",
        ),
    ],
)
def test_a_request_that_fits_no_series_is_an_error(export, wanted, error, capsys):
    with pytest.raises(BadDicom) as raised:
        read_study(export, request=Request.parse([wanted]))
    assert error in str(raised.value)
    assert main(["inspect", str(export), "--series", wanted]) == 3
    assert error in capsys.readouterr().err


def test_a_number_of_two_series_is_refused(base, tmp_path):
    study = made.export_of(base, "numbers")
    for data in study["sagt1"]:
        data.SeriesNumber = 3
    folder = made.save(tmp_path, study)
    with pytest.raises(BadDicom, match="--series t2=3: 2 series have this number"):
        read_study(folder, request=Request.parse(["t2=3"]))


@pytest.mark.parametrize("text", ["t2", "t2=", "t3=4", "t2=4,", "=4"])
def test_malformed_requests_are_refused(text):
    with pytest.raises(UsageError, match="--series"):
        Request.parse([text])


def test_one_series_for_two_kinds_is_refused():
    with pytest.raises(UsageError, match="4 is given for two kinds"):
        Request.parse(["t2=4", "t1=4"])


def test_a_header_value_replaces_that_of_the_files_and_is_told(base, tmp_path):
    study = made.export_of(base, "no spacing")
    for data in study["sagt2"]:
        del data.PixelSpacing
    folder = made.save(tmp_path, study)
    assert {v.kind for v in read_study(folder).volumes} == {T1, AXIAL}
    request = Request.parse((), [r"3:PixelSpacing=0.75\0.5"])
    mended = read_study(folder, request=request)
    (volume,) = mended.of(T2)
    assert {s.plane.spacing for s in volume.slices} == {(0.75, 0.5)}
    other = read_study(folder).of(T1)[0].slices[0].plane
    assert mended.of(T1)[0].slices[0].plane == other
    said = [p.what for p in mended.problems if "by the user" in p.what]
    assert said == [rf"PixelSpacing was set to '0.75\0.5' by the user ({len(volume.slices)} files)"]
    found = find_studies([folder], request=request)
    assert len(read_found(found.studies[0]).volumes) == 3
    assert len(read_found(found.studies[0].without_headers()).volumes) == 3
    assert found.studies[0].fingerprint() != find_studies([folder]).studies[0].fingerprint()


def test_a_header_value_can_be_removed(base, tmp_path):
    study = made.export_of(base, "agent")
    for data in study["sagt2"]:
        data.ContrastBolusAgent = "Gadovist"
    folder = made.save(tmp_path, study)
    assert not read_study(folder).of(T2)
    assert read_study(folder, request=Request.parse((), ["ContrastBolusAgent="])).of(T2)


def test_values_reach_the_frames_of_a_multi_frame_file(base, tmp_path):
    study = made.export_of(base, "enhanced")
    file = tmp_path / "one.dcm"
    made.enhanced(study["sagt2"]).save_as(file, enforce_file_format=True)
    (volume,) = read_study(file, request=Request.parse((), [r"PixelSpacing=2\2"])).volumes
    assert {s.plane.spacing for s in volume.slices} == {(2.0, 2.0)}


def test_a_header_value_for_a_series_that_is_not_there_is_an_error(export):
    with pytest.raises(BadDicom, match="no series 99; the study has"):
        read_study(export, request=Request.parse((), [r"99:PixelSpacing=1\1"]))


@pytest.mark.parametrize(
    "text",
    [
        *("PixelSpacing", "PixelSpacing=1", r"PixelSpacing=1\2\3", r"PixelSpacing=a\b", "Rows=3"),
        *(r"PixelSpacing=0\1", "SliceThickness=-1", "SliceThickness=nan", "RescaleSlope=0", "=3"),
        *("PatientSex=F", "SeriesDescription=\x1b[2J", "EchoTime=1e999"),
    ],
)
def test_keywords_and_values_are_checked(text):
    with pytest.raises(UsageError, match="--set"):
        HeaderValue.parse(text)


def test_a_value_reads_back():
    for text in ("SliceThickness=4", r"4:PixelSpacing=0.5\0.5", "1.2.3:ContrastBolusAgent="):
        assert str(HeaderValue.parse(text)) == text
    assert HeaderValue.parse(r"PixelSpacing=0.5\\0.5") == HeaderValue.parse(r"PixelSpacing=0.5\0.5")
