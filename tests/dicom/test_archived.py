"""Studies in zip files and on discs are found and read as those in folders."""

from __future__ import annotations

import errno
import json
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.fileset import FileSet

import hospital_exports as made
from lumbargrade.cli.main import main
from lumbargrade.dicom.archives import find_archived
from lumbargrade.dicom.discs import listed_files
from lumbargrade.dicom.find import find_studies
from lumbargrade.dicom.study import read_found, read_study
from lumbargrade.domain.errors import BadDicom


@pytest.fixture(scope="module")
def folder(base, tmp_path_factory) -> Path:
    return made.save(tmp_path_factory.mktemp("export") / "anna", made.export_of(base, "anna"))


def zipped(folder: Path, archive: Path, *, only: str = "", **more: bytes) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and only in str(file):
                packed.write(file, f"{folder.name}/{file.relative_to(folder)}")
        for name, content in more.items():
            packed.writestr(name, content)
    return archive


def same(first, second) -> bool:
    assert [v.series_id for v in first.volumes] == [v.series_id for v in second.volumes]
    for one, two in zip(first.volumes, second.volumes, strict=True):
        np.testing.assert_array_equal(one.pixels, two.pixels)
        assert [s.plane for s in one.slices] == [s.plane for s in two.slices]
    return True


def test_a_study_in_a_zip_file_is_that_in_the_folder(folder: Path, tmp_path: Path) -> None:
    archive = zipped(folder, tmp_path / "a.zip")
    (study,), problems = find_archived([archive], tmp_path / "scratch")
    assert not problems
    read = study.read(study.files(), tmp_path / "scratch")
    assert same(read, read_study(folder))
    assert not list((tmp_path / "scratch").iterdir())
    again = zipped(folder, tmp_path / "b.zip")
    shutil.copy(again, archive)  # another time, the same content
    (later,), _ = find_archived([archive], tmp_path / "scratch")
    assert later.fingerprint(later.files()) == study.fingerprint(study.files())
    zipped(folder, archive, only="sag")
    (less,), _ = find_archived([archive], tmp_path / "scratch")
    assert less.fingerprint(less.files()) != study.fingerprint(study.files())


def test_a_study_may_be_spread_over_zip_files_and_a_zip_file_have_several(
    base, folder: Path, tmp_path: Path
) -> None:
    other = made.save(tmp_path / "ben", made.export_of(base, "ben"))
    for name in ("sagt1", "sagt2", "axt2"):
        zipped(folder, tmp_path / f"{name}.zip", only=name)
    with zipfile.ZipFile(tmp_path / "axt2.zip", "a") as packed:
        for file in other.rglob("*.dcm"):
            packed.write(file, file.relative_to(tmp_path))
    shutil.rmtree(other)
    found = find_studies([tmp_path])
    assert not found.studies
    studies, problems = find_archived(found.archives, tmp_path / "scratch")
    assert not problems
    read = {s.study_id: s.read(s.files(), tmp_path / "scratch") for s in studies}
    assert len(read) == 2
    assert same(read[made.uid("anna")], read_study(folder))
    assert len(read[made.uid("ben")].volumes) == 3


def test_files_that_cannot_be_used_are_named_with_the_zip_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {
        "../evil.dcm": b"x",
        "broken.dcm": b"no image",
        "in.zip": b"PK\x03\x04",
        "notes.txt": b"x",
    }
    archive = zipped(folder, tmp_path / "a.zip", **bad)
    assert main(["inspect", str(tmp_path), "--json"]) == 1
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(said["series"]) == 3
    fatal = {p["file"]: p["what"] for p in said["problems"] if p["fatal"]}
    assert fatal == {
        f"{archive}/../evil.dcm": "has a path that leads out of the archive",
        f"{archive}/broken.dcm": "not a DICOM file",
        f"{archive}/in.zip": "is an archive in an archive; unpack it",
    }
    assert not (tmp_path.parent / "evil.dcm").exists()


def test_a_zip_file_without_images_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("notes.txt", "notes")
    (tmp_path / "b.zip").write_bytes(b"no zip")
    assert main(["grade", str(tmp_path), "--out", str(tmp_path / "out")]) == 3
    said = caplog.text
    assert f"{tmp_path}/a.zip: no usable DICOM image: not a DICOM file" in said
    assert f"{tmp_path}/b.zip: not a zip file, or damaged" in said


def test_grade_resumes_what_is_in_a_zip_file(folder: Path, tmp_path: Path) -> None:
    """A file that is refused changes the exit code, and the result names it."""
    archive = zipped(folder, tmp_path / "a.zip", **{"../evil.dcm": b"x"})
    command = ["grade", str(archive), "--out", str(tmp_path / "out"), "--no-pictures", "--no-dicom"]
    assert main([*command, "--no-check-points"]) == 1
    (findings,) = (tmp_path / "out").glob("*/findings.json")
    said = json.loads(findings.read_text(encoding="utf-8"))["problems"]
    assert [p["what"] for p in said if p["fatal"]] == ["has a path that leads out of the archive"]
    first = findings.stat().st_mtime_ns
    assert main([*command, "--no-check-points"]) == 1
    assert findings.stat().st_mtime_ns == first


def test_a_full_disk_is_named_and_nothing_is_left(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zipped(folder, tmp_path / "a.zip")
    (study,), _ = find_archived([archive], tmp_path / "scratch")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lumbargrade.files.archives._copy", full)
    with pytest.raises(BadDicom, match=r"a\.zip: cannot be read or unpacked \(No space left"):
        study.read(study.files(), tmp_path / "scratch")
    studies, (problem,) = find_archived([archive], tmp_path / "scratch")
    assert not studies
    assert "No space left on device" in problem.what
    assert "TMPDIR" in problem.advice
    assert not list((tmp_path / "scratch").iterdir())


@pytest.fixture
def disc(base, tmp_path: Path) -> Path:
    files = FileSet()
    for slices in made.export_of(base, "disc").values():
        for data in slices:
            data.PatientID = data.PatientName = data.StudyID = "1"
            data.StudyDate, data.StudyTime, data.AccessionNumber = "20200101", "120000", ""
            files.add(data)
    files.write(tmp_path / "disc")
    files._stage["t"].cleanup()
    return tmp_path / "disc"


def test_a_disc_is_read_by_its_list(disc: Path, tmp_path: Path) -> None:
    listed = listed_files(disc / "DICOMDIR")
    assert len(listed) == len([p for p in disc.rglob("*") if p.is_file()]) - 1
    other = next(p for p in disc.rglob("*") if p.is_file() and p.name != "DICOMDIR")
    shutil.copy(other, disc / "unlisted.dcm")
    (by_list,) = find_studies([disc / "DICOMDIR"]).studies
    assert disc / "unlisted.dcm" not in by_list.files
    (by_folder,) = find_studies([disc]).studies
    assert len(by_folder.files) == len(listed) + 1
    assert same(read_found(by_list), read_found(by_folder))


@pytest.mark.parametrize("given", ["DICOMDIR", "."])
def test_files_that_a_disc_lacks_are_named(disc: Path, given: str) -> None:
    lost = disc / listed_files(disc / "DICOMDIR")[3]
    lost.unlink()
    (study,) = find_studies([disc / given]).studies
    (problem,) = study.problems
    assert problem.file == str(lost)
    assert problem.what == f"is listed in {disc / 'DICOMDIR'} but is not there"
    assert problem.fatal


def test_names_of_a_disc_may_differ_in_case_and_have_versions(disc: Path) -> None:
    for path in sorted(disc.rglob("*"), reverse=True):
        if path.name != "DICOMDIR":
            path.rename(path.with_name(path.name.lower() + (";1" if path.is_file() else "")))
    (disc / "DICOMDIR").rename(disc / "dicomdir")
    (study,) = find_studies([disc / "dicomdir"]).studies
    assert not study.problems
    assert len(read_found(study).volumes) == 3


def test_a_disc_in_a_zip_file_is_checked_too(disc: Path, tmp_path: Path) -> None:
    lost = disc / listed_files(disc / "DICOMDIR")[0]
    lost.unlink()
    archive = zipped(disc, tmp_path / "a.zip")
    (study,), _ = find_archived([archive], tmp_path / "scratch")
    (problem,) = study.problems
    assert problem.file == f"{archive}/disc/{lost.relative_to(disc)}"


@pytest.mark.parametrize("content", [b"", b"no list", b"\0" * 128 + b"DICM" + b"\xff" * 40])
def test_a_damaged_list_is_an_error_alone_and_a_note_beside_images(
    disc: Path, content: bytes
) -> None:
    (disc / "DICOMDIR").write_bytes(content)
    assert "DICOMDIR" in find_studies([disc / "DICOMDIR"]).problems[0].what
    (study,) = find_studies([disc]).studies
    (problem,) = study.problems
    assert not problem.fatal
    assert "all files beside it are read" in problem.what


def test_a_list_does_not_lead_out_of_its_disc(disc: Path) -> None:
    data = pydicom.dcmread(disc / "DICOMDIR")
    image = next(r for r in data.DirectoryRecordSequence if r.DirectoryRecordType == "IMAGE")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.ReferencedFileID = ["..", "..", "etc", "passwd"]
        data.save_as(disc / "DICOMDIR")
    with pytest.raises(BadDicom, match="lists a file outside its folder"):
        listed_files(disc / "DICOMDIR")
