"""The grade command: any studies in, a folder of findings for each out, failures named."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from json_schemas import require_valid
from lumbargrade.cli.main import main
from lumbargrade.dicom.find import find_studies
from lumbargrade.domain.errors import BadInput
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, SeriesKind
from lumbargrade.files.writing import locked_folder
from lumbargrade.grading.findings_file import read_findings
from small_models import save_small_model
from small_studies import DESCRIPTIONS, write_noise_study
from without_time import timeless

T1, T2, AXIAL = SeriesKind
SUMMARY = ("index.html", "findings.csv", "summary.json")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_small_model(folder / "run" / "foraminal", "foraminal")
    save_small_model(folder / "run" / "canal", "canal")
    return folder


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two studies, side by side."""
    folder = tmp_path_factory.mktemp("two")
    write_noise_study(folder / "anna")
    write_noise_study(folder / "ben", (T1, T2))
    return folder


def grade(models: Path, out: Path, *arguments: object) -> int:
    options = ("--models", models, "--out", out, "--device", "cpu")
    return main(["grade", "--no-check-points", *map(str, (*options, *arguments))])


def uid(study: Path) -> str:
    return str(pydicom.dcmread(next(study.rglob("*.dcm"))).StudyInstanceUID)


def visible(folder: Path) -> set[str]:
    """Names in a folder without hidden files (the lock)."""
    return {p.name for p in folder.iterdir() if not p.name.startswith(".")}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="session")
def graded(models: Path, two: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("graded") / "new" / "out"
    assert grade(models, out, two) == 0
    return out


def test_each_study_of_a_folder_gets_its_own_folder_and_all_a_summary(
    graded: Path, two: Path
) -> None:
    names = {uid(two / "anna"), uid(two / "ben")}
    assert visible(graded) == {*names, *SUMMARY}
    summary = json.loads((graded / "summary.json").read_text())
    assert {s["folder"] for s in summary["studies"]} == names
    assert summary["failed"] == []
    page = (graded / "index.html").read_text(encoding="utf-8")
    assert all(f'href="{name}/report.html"' in page for name in names)
    assert len(rows_of(graded / "findings.csv")) == 50


def test_several_processes_give_the_results_of_one(
    models: Path, two: Path, graded: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert grade(models, out, two, "--workers", 2) == 0
    files = sorted(p.relative_to(graded) for p in graded.rglob("*") if p.is_file())
    assert sorted(p.relative_to(out) for p in out.rglob("*") if p.is_file()) == files
    for file in files:
        if file.name != "summary.json":  # it names the folder
            assert timeless(out / file) == timeless(graded / file), file
    assert grade(models, out, two, "--workers", -1) == 2


def test_csv_and_json_say_the_same(graded: Path, two: Path) -> None:
    name = uid(two / "anna")
    told = json.loads((graded / name / "findings.json").read_text())
    assert "not a medical device" in told["notice"]
    rows = rows_of(graded / name / "findings.csv")
    everywhere = [r for r in rows_of(graded / "findings.csv") if r.pop("folder") == name]
    assert rows == everywhere
    assert [r["finding"] for r in rows] == [t.column for t in FINDINGS]
    for row, finding in zip(rows, told["findings"], strict=True):
        for key in ("finding", "condition", "level"):
            assert row[key] == finding[key]
        for key in ("side", "grade", "not_graded"):
            assert row[key] == (finding[key] or "")
        absent = finding["grade"] is None
        assert absent == (finding["condition"] == Condition.SUBARTICULAR)
        for key in ("normal_mild", "moderate", "severe"):
            assert row[key] == ("" if absent else repr(finding["probabilities"][key]))
        place = finding["place"]
        assert (place is None) == (row["series_id"] == "") == absent
        if place is not None:
            assert row["series_id"] == place["series_id"]
            assert int(row["instance_number"]) == place["instance_number"]
            for key in "xyz":
                assert float(row[key]) == pytest.approx(place[key], abs=0.0051)
            patient = [float(row[f"patient_{axis}"]) for axis in "xyz"]
            assert patient == pytest.approx(place["patient"], abs=0.0051)


def test_what_no_model_grades_is_not_graded_anywhere(graded: Path, two: Path) -> None:
    name = uid(two / "ben")
    told = json.loads((graded / name / "findings.json").read_text())
    absent = [f for f in told["findings"] if f["not_graded"]]
    assert {f["condition"] for f in absent} == {Condition.SUBARTICULAR.value}
    for finding in absent:
        assert finding["not_graded"] == "none of the models grades subarticular stenosis"
        assert [finding[k] for k in ("grade", "probabilities", "calibrated", "place")] == [None] * 4
        assert finding["models"] == []
    assert (graded / name / "report.html").read_text().count('<td class="absent"') == 10
    assert (graded / "index.html").read_text().count("<td>not graded</td>") == 4
    (entry,) = [
        s
        for s in json.loads((graded / "summary.json").read_text())["studies"]
        if s["folder"] == name
    ]
    assert entry["not_graded"] == 10
    assert sum(entry[g] for g in ("normal_mild", "moderate", "severe")) == 15


def test_the_page_links_every_picture_and_every_picture_is_there(graded: Path, two: Path) -> None:
    folder = graded / uid(two / "anna")
    page = (folder / "report.html").read_text()
    pictures = sorted(p.name for p in (folder / "pictures").iterdir())
    assert len(pictures) == 3
    assert all(f'href="pictures/{name}"' in page for name in pictures)


def test_a_findings_file_reads_back(graded: Path, two: Path, tmp_path: Path) -> None:
    from lumbargrade.grading.findings_file import write_findings

    path = graded / uid(two / "anna") / "findings.json"
    require_valid(path, "findings")
    known = read_findings(path)
    assert known.time
    assert {s.description for s in known.series} == set(DESCRIPTIONS.values())
    assert all(s.used and s.reason for s in known.series)
    point = next(f.point for f in known.prediction.findings.values() if f.point is not None)
    uids = {str(pydicom.dcmread(p).SOPInstanceUID) for p in (two / "anna").rglob("*.dcm")}
    assert known.sop_instance_uid(point.series_id, point.instance_number) in uids
    write_findings(tmp_path / "again.json", known)
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


ABSENT = FINDINGS.index(TARGETS[Condition.SUBARTICULAR][0])
GRADED = FINDINGS.index(TARGETS[Condition.CANAL][0])


def with_entry(content: dict, index: int, **changed: object) -> dict:
    entries = [dict(e) for e in content["findings"]]
    entries[index].update(changed)
    return {**content, "findings": entries}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: {**c, "format": 1}, "findings of format 1, not 4; run `lumbargrade grade`"),
        (
            lambda c: {**c, "findings": c["findings"][:-1]},
            "no findings spinal_canal_stenosis_l5_s1",
        ),
        (lambda c: with_entry(c, ABSENT, not_graded=None), "has neither a grade nor a reason"),
        (lambda c: with_entry(c, ABSENT, not_graded=""), "is absent without a reason"),
        (
            lambda c: with_entry(c, GRADED, not_graded="no slice"),
            "has both a grade and a reason",
        ),
        (lambda c: with_entry(c, GRADED, model_grade=None), "has neither a grade nor a reason"),
        (lambda c: with_entry(c, GRADED, grade=None), "has a model_grade but no grade"),
        (lambda c: with_entry(c, ABSENT, grade="severe"), "is not that of the review"),
        (
            lambda c: with_entry(c, GRADED, model_grade=None, not_graded="no slice"),
            "has probabilities but no grade",
        ),
    ],
)
def test_a_findings_file_that_contradicts_itself_is_refused(
    graded: Path, two: Path, tmp_path: Path, spoil, message: str
) -> None:
    content = json.loads((graded / uid(two / "anna") / "findings.json").read_text())
    path = tmp_path / "findings.json"
    path.write_text(json.dumps(spoil(content)))
    with pytest.raises(BadInput, match=message) as error:
        read_findings(path)
    assert str(path) in str(error.value)


def test_a_bad_study_is_named_and_the_good_ones_are_graded(
    models: Path, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    garbage = tmp_path / "garbage"
    garbage.mkdir()
    (garbage / "1.dcm").write_bytes(b"\0" * 999)
    axial = write_noise_study(tmp_path / "axial", (AXIAL,))
    empty = tmp_path / "empty"
    empty.mkdir()
    absent = tmp_path / "absent"
    out = tmp_path / "out"
    assert grade(models, out, garbage, two / "anna", axial, empty, absent, "--json") == 1
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [s["study_id"] for s in told["studies"]] == [uid(two / "anna")]
    failed = {p["study"]: p for p in told["failed"]}
    assert set(failed) == {str(garbage), uid(axial), str(empty), str(absent)}
    assert all(p["advice"] for p in failed.values())
    assert "no usable Sagittal T1 or Sagittal T2/STIR series" in failed[uid(axial)]["what"]
    page = (out / "index.html").read_text()
    assert all(name in page for name in failed)


def test_nothing_usable_is_exit_code_3_and_leaves_only_the_reason(
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "notes.txt").write_text("no images")
    assert grade(models, tmp_path / "out", tmp_path / "junk", "--json") == 3
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["studies"] == []
    assert [p["study"] for p in told["failed"]] == [str(tmp_path / "junk")]
    assert visible(tmp_path / "out") == {"summary.json"}
    assert "0 studies graded\n" in caplog.text
    assert "index.html" not in caplog.text


def test_wrong_usage_is_exit_code_2(models: Path, two: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    for option, value in (("guides", two), ("device", "cuda"), ("shift-levels", 3)):
        assert main(["grade", str(two), "--out", str(out), f"--{option}", str(value)]) == 2
        assert f"--{option}" in capsys.readouterr().err
    assert main(["grade", str(two), "--out", str(out), "--ray-address", "h:1"]) == 2
    assert "--ray-address works only with --launcher ray" in capsys.readouterr().err
    assert grade(models, out, two, "--launcher", "ray", "--device", "cuda:1") == 2
    assert grade(models, out, two, "--workers", 2, "--profile") == 2
    assert "--profile shows the time of one process" in capsys.readouterr().err
    assert grade(models, out, two, "--shift-levels", 1) == 2
    assert grade(models, out, two, "--blend", "blend.toml") == 2
    assert grade(tmp_path / "none", out, two) == 2
    assert grade(models, out) == 2
    assert grade(models, out, tmp_path / "absent") == 2
    assert grade(models, out, two, "--device", "abacus") == 2
    (tmp_path / "file").touch()
    assert grade(models, tmp_path / "file", two) == 2
    assert not out.exists()


def test_lost_images_make_exit_code_1_and_stand_in_the_study(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_noise_study(tmp_path / "anna")
    other = write_noise_study(tmp_path / "ben")
    (study / "anna-0" / "2.dcm").write_bytes(b"broken")
    assert grade(models, tmp_path / "out", tmp_path, "--json") == 1
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {s["study_id"]: s["images_lost"] for s in told["studies"]} == {
        uid(study): True,
        uid(other): False,
    }
    assert "2.dcm" in (tmp_path / "out" / uid(study) / "report.html").read_text()


def test_findings_of_an_earlier_run_of_a_study_that_fails_now_are_named(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_noise_study(tmp_path / "anna", (T1,)), tmp_path / "out"
    assert grade(models, out, study) == 0
    write_noise_study(tmp_path / "again" / "anna", (AXIAL,))
    capsys.readouterr()
    assert grade(models, out, tmp_path / "again", "--json") == 3
    (failed,) = json.loads(capsys.readouterr().out.splitlines()[-1])["failed"]
    assert f"{out / uid(study)} still has the findings of an earlier run" in failed["what"]


@pytest.mark.parametrize("name", ["-rf", "a b#c?%41&<i>", "ÄÖ Ü", "findings.csv", "x" * 200])
def test_files_without_uids_go_by_their_folder_whatever_it_is_called(
    models: Path, tmp_path: Path, name: str
) -> None:
    write_noise_study(tmp_path / "in" / name, (T1,), named=False)
    out = tmp_path / "out"
    assert grade(models, out, tmp_path / "in") == 0
    (study,) = (p for p in out.iterdir() if p.is_dir())
    assert read_findings(study / "findings.json").prediction.study_id == name
    assert f'href="{study.name}/report.html"' in (out / "index.html").read_text()


def test_two_studies_of_one_name_get_two_folders(models: Path, tmp_path: Path) -> None:
    for place in "pq":
        write_noise_study(tmp_path / place / "same", (T1,), named=False)
    assert grade(models, tmp_path / "out", tmp_path / "p", tmp_path / "q") == 0
    assert visible(tmp_path / "out") == {"same", "same-2", *SUMMARY}


def test_a_study_given_in_parts_or_twice_is_one_study(two: Path) -> None:
    parts = sorted((two / "anna").iterdir())
    (whole,) = find_studies([two / "anna"]).studies
    assert find_studies([*parts, two / "anna", two / "anna"]).studies == (whole,)
    assert len(whole.files) == 12


def test_results_never_go_among_the_images(models: Path, tmp_path: Path) -> None:
    study = write_noise_study(tmp_path / "in" / "same", (T1,), named=False)
    before = sorted(tmp_path.rglob("*"))
    assert grade(models, tmp_path / "in", study) == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_a_second_run_keeps_what_is_there_and_grades_what_changed(
    models: Path, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = tmp_path / "models"
    shutil.copytree(models, ours)
    images, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(two, images)
    anna = out / uid(two / "anna") / "findings.json"

    def reused(*more: str) -> set[str]:
        assert grade(ours, out, images, "--json", *more) == 0
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        return {s["folder"] for s in told["studies"] if s["reused"]}

    both = {uid(two / "anna"), uid(two / "ben")}
    assert reused() == set()
    first = {name: timeless(out / name / "findings.json") for name in both}
    table = (out / "findings.csv").read_bytes()
    assert reused() == both
    assert reused("--restart") == set()
    assert {name: timeless(out / name / "findings.json") for name in both} == first
    assert (out / "findings.csv").read_bytes() == table
    assert reused("--no-flip") == set()
    assert reused() == set()
    anna.write_text(anna.read_text()[:500])
    assert reused() == both - {anna.parent.name}
    write_noise_study(images / "ben", (T1, T2, T1))
    assert anna.parent.name in reused()
    save_small_model(ours / "run" / "canal", "canal", fold=1)
    assert reused() == set()


def test_the_real_study_is_graded(shared: Path, models: Path, tmp_path: Path) -> None:
    study = shared / "realdata/rsna2024/train_images/100206310"
    assert grade(models, tmp_path, study) == 0
    known = read_findings(tmp_path / "100206310" / "findings.json")
    assert {s.kind for s in known.series} == set(SeriesKind)
    predicted = list(known.prediction.findings.values())
    assert len(predicted) == 15
    series = {k: s.series_id for s in known.series for k in s.pictures}
    for finding in predicted:
        assert finding.point is not None
        assert finding.point.series_id == series[finding.target.sided_condition]
        assert np.isfinite(finding.point.patient).all()
    page = (tmp_path / "100206310" / "report.html").read_text()
    assert page.count('<script type="text/plain"') == 3
    assert 2_000_000 < len(page) < 8_000_000


def test_without_pictures_the_findings_are_the_same(
    graded: Path, models: Path, two: Path, tmp_path: Path
) -> None:
    assert grade(models, tmp_path, two / "anna", "--no-pictures") == 0
    name = uid(two / "anna")
    assert not (tmp_path / name / "pictures").exists()
    page = (tmp_path / name / "report.html").read_text(encoding="utf-8")
    assert '<script type="text/plain"' not in page
    assert "pictures/" not in page
    drawn, bare = (read_findings(out / name / "findings.json") for out in (graded, tmp_path))
    assert bare.prediction.findings == drawn.prediction.findings
    assert [s.slices for s in bare.series] == [s.slices for s in drawn.series]
    assert any(s.pictures for s in drawn.series)
    assert not any(s.pictures for s in bare.series)
    assert grade(models, tmp_path, two / "anna") == 0
    assert (tmp_path / name / "pictures").exists()


def test_the_profile_names_the_stages_and_the_peak_memory(
    models: Path, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert grade(models, tmp_path, two, "--profile") == 0
    printed = capsys.readouterr().err
    calls = {line[:22].strip(): line.split()[-1] for line in printed.splitlines()}
    assert (calls["read the images"], calls["draw the pictures"]) == ("2", "2")
    assert calls["scan the headers"] == "1"
    assert calls["network small/canal"] == "2"
    assert "peak memory" in printed
    assert grade(models, tmp_path / "quiet", two) == 0
    assert "peak memory" not in capsys.readouterr().err


def test_two_runs_do_not_write_into_one_folder(
    models: Path, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked_folder(tmp_path, "busy"):
        assert grade(models, tmp_path, two) == 2
    assert f"--out {tmp_path}: another run writes there" in capsys.readouterr().err
    assert not (tmp_path / "index.html").exists()
    assert grade(models, tmp_path, two) == 0
