"""What `grade` does with input that it cannot grade: message, result and exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataelem import DataElement

import hospital_exports as made
from lumbargrade.cli.main import main

HOSTILE = "\x1b]0;owned\x07\x1b[2J<script>alert(1)</script>\u202e" + "A" * 10_000


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> made.Study:
    return made.phantom_study(tmp_path_factory.mktemp("phantom"))


def marked(base: made.Study, folder: Path, **tags: object) -> Path:
    """An export in which every file has these values."""
    study = made.export_of(base, folder.name)
    for slices in study.values():
        for data in slices:
            for keyword, value in tags.items():
                setattr(data, keyword, value)
    return made.save(folder, study)


def loop(folder: Path) -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "again").symlink_to(folder, target_is_directory=True)
    (folder / "deep" / "nowhere.dcm").symlink_to(folder / "missing.dcm")
    return folder


def climbing(folder: Path) -> Path:
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.zip", "w") as packed:
        packed.writestr("../../evil.dcm", "x")
    return folder / "a.zip"


def cut_off(base: made.Study, folder: Path) -> Path:
    """No sagittal file is complete."""
    made.save(folder, made.export_of(base, "cut"))
    for file in [*(folder / "sagt1").iterdir(), *(folder / "sagt2").iterdir()]:
        file.write_bytes(file.read_bytes()[:-500])
    return folder


def same_names(base: made.Study, folder: Path) -> Path:
    """A zip file into which all series were packed under the same names; one is complete."""
    made.save(folder / "unpacked", made.export_of(base, "names"))
    with zipfile.ZipFile(folder / "a.zip", "w") as packed, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in sorted((folder / "unpacked").rglob("*.dcm")):
            packed.write(file, file.name)
    return folder / "a.zip"


BAD: dict[str, tuple[Callable[[made.Study, Path], Path], int, str]] = {
    "nothing": (lambda base, folder: folder, 2, "no such file or folder"),
    "empty": (lambda base, folder: folder.mkdir() or folder, 3, "no files"),
    "loop": (lambda base, folder: loop(folder), 3, "no usable DICOM image"),
    "ct": (lambda base, folder: marked(base, folder, Modality="CT"), 3, "modality CT, not MR"),
    "localizers": (
        lambda base, folder: marked(base, folder, SeriesDescription="3-plane localizer"),
        3,
        "a localizer, SeriesDescription '3-plane localizer'",
    ),
    "contrast": (
        lambda base, folder: marked(base, folder, ContrastBolusAgent="Gadovist"),
        3,
        "after contrast agent, ContrastBolusAgent 'Gadovist'",
    ),
    "knee": (
        lambda base, folder: marked(
            base, folder, BodyPartExamined="KNEE", StudyDescription="MR Knie"
        ),
        3,
        "names another region than the lumbar spine",
    ),
    "cut off": (cut_off, 3, "sagt1: no usable slice (cannot decode its pixels"),
    "same names": (same_names, 3, "is twice in the archive; the first is used"),
    "climbing": (lambda base, folder: climbing(folder), 3, "leads out of the archive"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_has_a_message_and_an_exit_code(
    base: made.Study,
    tmp_path: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    make, code, message = BAD[name]
    where = make(base, tmp_path / name)
    out = tmp_path / "out"
    assert main(["grade", str(where), "--out", str(out), "--json"]) == code
    printed = capsys.readouterr()
    assert message in caplog.text + printed.err
    if code == 3:
        said = json.loads(printed.out.splitlines()[-1])
        assert said["studies"] == []
        assert message in json.dumps([*said["failed"], *said["problems"]])
        assert json.loads((out / "summary.json").read_text()) == said
    assert not list(out.glob("*/findings.json"))


def test_a_refusal_leaves_the_summary_of_an_earlier_run(base: made.Study, tmp_path: Path) -> None:
    good = made.save(tmp_path / "good", made.export_of(base, "good"))
    out = ("--out", str(tmp_path / "out"), "--no-pictures")
    assert main(["grade", str(good), *out]) == 0
    before = (tmp_path / "out" / "summary.json").read_bytes()
    assert main(["grade", str(marked(base, tmp_path / "ct", Modality="CT")), *out]) == 3
    assert (tmp_path / "out" / "summary.json").read_bytes() == before


def test_a_place_that_cannot_be_written_is_named_with_its_option(
    base: made.Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made.save(tmp_path / "in", made.export_of(base, "in"))
    (tmp_path / "file").write_text("no folder")
    out = tmp_path / "file" / "out"
    assert main(["grade", str(folder), "--out", str(out)]) == 2
    assert f"--out {out}: cannot be written" in capsys.readouterr().err
    (tmp_path / "findings.json").write_text("{}")
    (tmp_path / "review.json").write_text("{}")
    review = ("review", str(tmp_path), str(tmp_path / "review.json"), "--out", str(out))
    assert main(review) == 2
    assert f"--out {out}: cannot be written" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_among_the_images_are_named_and_nobody_waits_for_them(
    base: made.Study, tmp_path: Path
) -> None:
    folder = made.save(tmp_path / "in", made.export_of(base, "pipes"))
    for name in ("image.dcm", "study.zip", "scan.nii.gz", "DICOMDIR"):
        os.mkfifo(folder / name)
    command = ("grade", str(folder), "--out", str(tmp_path / "out"), "--no-pictures")
    run = subprocess.run(
        [sys.executable, "-m", "lumbargrade", *command],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 1
    (findings,) = (tmp_path / "out").glob("*/findings.json")
    problems = json.loads(findings.read_text())["problems"]
    lost = {Path(p["file"]).name: p["what"] for p in problems}
    for name in ("image.dcm", "study.zip", "scan.nii.gz", "DICOMDIR"):
        assert lost[name] == "a pipe, device or folder, not a file"


def test_images_with_one_uid_and_other_pixels_are_named(base: made.Study, tmp_path: Path) -> None:
    study = made.export_of(base, "twice")
    folder = made.save(tmp_path / "in", study)
    for data in study["sagt2"][:3]:
        made.brighter(data)
        data.save_as(folder / f"{data.InstanceNumber}.dcm")
    out = tmp_path / "out"
    assert main(["grade", str(folder), "--out", str(out), "--no-pictures"]) == 1
    (findings,) = out.glob("*/findings.json")
    problems = [p["what"] for p in json.loads(findings.read_text())["problems"]]
    (what,) = (text for text in problems if "the same SOPInstanceUID but other pixels" in text)
    assert "keep one image of each place" in what
    assert ".dcm and " in what


def test_hostile_text_is_printed_and_written_harmlessly(base: made.Study, tmp_path: Path) -> None:
    """Terminal codes, HTML and ten thousand characters in every text that is read."""
    tags = ("SeriesDescription", "ProtocolName", "PatientName", "PatientID", "StudyDescription")
    tags = (*tags, "StudyInstanceUID")
    folder = made.export_of(base, "hostile")
    for data in (data for slices in folder.values() for data in slices):
        data.SpecificCharacterSet = "ISO_IR 192"
        for tag in tags:
            own = f"{data.SeriesDescription} " if tag == "SeriesDescription" else ""
            data[tag] = DataElement(tag, "UT", own + HOSTILE)
    made.save(tmp_path / "in", folder)
    (tmp_path / "in" / "\x1b[2J\u202ename.dcm").write_bytes(b"no image")
    out = tmp_path / "out"
    where, out_option = str(tmp_path / "in"), ("--out", str(out), "--no-check-points")
    printed = ""
    # as processes, because pytest has handlers of logs of its own
    for command in (["inspect", where], ["grade", where, *out_option]):
        run = subprocess.run(
            [sys.executable, "-m", "lumbargrade", *command], capture_output=True, check=False
        )
        assert run.returncode == 1
        printed += run.stdout.decode() + run.stderr.decode()
    assert printed.count("\\x1b[2J\\u202ename.dcm") >= 2
    assert not {c for c in printed if unicodedata.category(c) == "Cc"} - {"\n", "\t"}
    assert "\u202e" not in printed
    assert max(map(len, printed.splitlines())) < 2000
    pages = [p.read_text(encoding="utf-8") for p in out.rglob("*.html")]
    assert pages
    assert not any("<script>alert(1)" in page for page in pages)
    assert not any(re.search("A{300}", page) for page in pages)
