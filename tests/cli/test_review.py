"""`lumbargrade review`: every file of the reviewed results says what the reader decided."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pydicom
import pytest

from json_schemas import require_valid
from lumbargrade.cli.main import main
from lumbargrade.dicom_results.read_report import read_report
from lumbargrade.domain.vocabulary import Grade, Level
from lumbargrade.grading.findings_file import read_findings
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.grading.results import read_results
from lumbargrade.grading.review_file import Review, Status, read_review, write_review
from made_reviews import review_of
from small_models import save_small_model
from small_studies import write_noise_study

CANAL = "spinal_canal_stenosis_l4_l5"
RECESS = "left_subarticular_stenosis_l2_l3"
HOSTILE = "</script><b onload=alert(1)>"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a study whose canal is graded."""
    folder = tmp_path_factory.mktemp("review")
    write_noise_study(folder / "images")
    save_small_model(folder / "models", "canal")
    options = ("--models", folder / "models", "--device", "cpu", "--no-check-points")
    assert main(["grade", *map(str, (folder / "images", "--out", folder / "out", *options))]) == 0
    (found,) = (folder / "out").glob("*/findings.json")
    return found.parent


def result_of(folder: Path) -> GradedStudy:
    return read_findings(folder / "findings.json")


def other_grade(graded: GradedStudy) -> Grade:
    found = {str(t.column): f for t, f in graded.prediction.findings.items()}
    return Grade((found[CANAL].grade + 1) % 3)


def applied(tmp_path: Path, results: Path, review: Review) -> Path:
    """The folder of the reviewed results."""
    write_review(tmp_path / "review.json", review)
    arguments = (results, tmp_path / "review.json", "--out", tmp_path / "new" / "out")
    assert main(["review", *map(str, arguments)]) == 0
    return tmp_path / "new" / "out"


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return {row["finding"]: row for row in csv.DictReader(lines)}


def test_every_file_has_the_decisions_of_the_reader(results: Path, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in results.rglob("*") if p.is_file()}
    graded = result_of(results)
    grade = other_grade(graded)
    texts = {Level.L4_L5: f"My words. {HOSTILE}"}
    after = {CANAL: grade, RECESS: Grade.SEVERE}
    out = applied(tmp_path, results, review_of(graded, after, comment=HOSTILE, texts=texts))

    require_valid(out / "findings.json", "findings")
    require_valid(out / "review.json", "review")
    found = result_of(out)
    assert found.review == read_review(out / "review.json")
    by_name = {t.column: found.grade(t) for t in found.review.by_target}
    assert (by_name[CANAL], by_name[RECESS]) == (grade, Grade.SEVERE)
    rows = rows_of(out / "findings.csv")
    assert [rows[n]["grade"] for n in (CANAL, RECESS)] == [grade.column, "severe"]
    evaluated = read_results(out).predictions[found.prediction.study_id]
    assert {t.column for t in evaluated.findings} == {n for n, r in rows.items() if r["severe"]}

    text = (out / "report.txt").read_text("utf-8")
    assert f"L4/L5: My words. {HOSTILE}" in text
    assert "2 of " in text
    page = (out / "report.html").read_text("utf-8")
    assert HOSTILE not in page
    assert "<b onload" not in page
    (kept,) = re.findall(r'<script type="application/json" id="review">(.*?)</script>', page)
    assert json.loads(kept)["levels"] == [{"level": "l4_l5", "text": texts[Level.L4_L5]}]
    tables = unescape(page[page.index('<section id="tables"') :])
    assert f"{grade.label} (reader)<br>model: " in tables
    assert "Severe (reader)<br>not graded" in tables
    assert "Reviewed by A. Reader, 2026-03-01 09:30: 2 of 25 findings." in tables
    assert 'href="pictures/' not in tables

    reported = read_report(out / "sr.dcm")
    said = {t.column: f for t, f in reported.findings.items()}
    assert (said[CANAL].grade, said[CANAL].status) == (grade, Status.OVERRULED)
    assert said[RECESS].grade is Grade.SEVERE
    assert reported.fingerprint == found.fingerprint
    assert {p: p.read_bytes() for p in results.rglob("*") if p.is_file()} == before


def test_a_moved_numbering_is_moved_everywhere(results: Path, tmp_path: Path) -> None:
    graded = result_of(results)
    out = applied(tmp_path, results, review_of(graded, shift=-1))
    old, new = (rows_of(folder / "findings.csv") for folder in (results, out))
    lower = CANAL.replace("l4_l5", "l5_s1")
    assert new[CANAL]["normal_mild"] == old[lower]["normal_mild"]
    assert new[lower]["grade"] == ""
    assert "moved the names of the levels by -1" in new[lower]["not_graded"]
    page = unescape((out / "report.html").read_text("utf-8"))
    assert "The names of the levels were moved by -1." in page
    said = {t.column: f.grade for t, f in read_report(out / "sr.dcm").findings.items()}
    assert said[lower] is None
    assert said[CANAL] is not None
    require_valid(out / "findings.json", "findings")


def test_results_without_page_and_structured_report_are_reviewed_too(
    results: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "findings.json").write_bytes((results / "findings.json").read_bytes())
    out = applied(tmp_path, bare, review_of(result_of(bare)))
    names = {"findings.json", "findings.csv", "report.txt", "review.json"}
    assert {p.name for p in out.iterdir()} == names


def test_reviews_and_folders_that_do_not_fit_are_refused(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    review = review_of(result_of(results))
    path, out = tmp_path / "review.json", tmp_path / "out"

    def review_command(folder: Path = results, to: Path = out) -> tuple[int, str]:
        code = main(["review", *map(str, (folder, path, "--out", to))])
        return code, capsys.readouterr().err

    code, said = review_command()
    assert code == 3
    assert f"{path}: cannot be read" in said
    write_review(path, replace(review, fingerprint="0" * 64))
    code, said = review_command()
    assert code == 3
    assert f"{path}: the review is of another result" in said
    write_review(path, review)
    assert review_command(results.parent)[0] == 2
    assert review_command(to=results)[0] == 2
    assert not out.exists()
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "findings.json").write_bytes((results / "findings.json").read_bytes())
    (damaged / "report.html").write_text("<html></html>")
    code, said = review_command(damaged)
    assert code == 3
    assert f"{damaged / 'report.html'}: not a report.html of this program" in said
    assert not out.exists()


def test_the_structured_report_replaces_the_earlier_one(results: Path, tmp_path: Path) -> None:
    out = applied(tmp_path, results, review_of(result_of(results)))
    old, new = (pydicom.dcmread(folder / "sr.dcm") for folder in (results, out))
    assert old.SOPInstanceUID != new.SOPInstanceUID
    (study,) = new.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (before,) = series.ReferencedSOPSequence
    assert before.ReferencedSOPInstanceUID == old.SOPInstanceUID
