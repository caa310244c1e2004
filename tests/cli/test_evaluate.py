"""`evaluate`: results in every layout against labels, what is left out, and a page by itself."""

from __future__ import annotations

import csv
import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cohorts import drawn, write_findings_table, write_labels, write_submission_table
from lumbargrade.cli.main import main
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition
from lumbargrade.scoring.agreement import MEASURES, human_agreement

STUDIES = 14
GRADED = drawn(STUDIES)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    results = tmp_path / "results"
    results.mkdir()
    write_findings_table(results / "findings.csv", GRADED)
    vendors = [("GE", "Siemens & <Co>")[i % 2] for i in range(STUDIES)]
    properties = {"vendor": vendors, "age": list(range(30, 30 + STUDIES))}
    write_labels(tmp_path / "labels.csv", GRADED, properties)
    return results, tmp_path / "labels.csv"


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict:
    capsys.readouterr()
    assert main(["evaluate", *map(str, arguments), "--json"]) == code
    line = capsys.readouterr().out.splitlines()[-1]
    return json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_measures_stand_in_a_page_by_itself_a_table_and_a_summary(files, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    said = run(capsys, *files, "--out", out, "--groups", "vendor", "age")
    assert said == json.loads((out / "metrics.json").read_text())
    assert said["studies"] == STUDIES
    with (out / "metrics.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == len(said["parts"]) * len(MEASURES)
    assert {r["by"] for r in rows} == {"all", "level", "side", "vendor", "age"}
    assert {r["value"] for r in rows if r["by"] == "vendor"} == {"GE", "Siemens & <Co>"}
    whole = [r for r in rows if r["by"] == "all" and r["measure"] == "kappa"]
    assert [r["condition"] for r in whole] == [c.value for c in Condition]
    assert all(float(r["low"]) < float(r["estimate"]) < float(r["high"]) for r in whole)
    assert sorted(p.name for p in out.iterdir()) == ["index.html", "metrics.csv", "metrics.json"]
    html = (out / "index.html").read_text()
    outside = re.sub(r"data:image/png;base64,[\w+/=]+", "", html)
    assert not re.search(r"https?:|src=\"[^\"]|@import|url\(", outside)
    assert "Siemens\N{NO-BREAK SPACE}&amp;\N{NO-BREAK SPACE}&lt;Co&gt;" in html
    for band in human_agreement():
        assert band.low_source in html


def test_a_submission_and_its_findings_give_the_same_figures(files, tmp_path, capsys) -> None:
    first = run(capsys, *files, "--out", tmp_path / "a")
    submission = tmp_path / "submission.csv"
    write_submission_table(submission, GRADED)
    second = run(capsys, submission, files[1], "--out", tmp_path / "b")
    assert not second["fills_known"]
    for ours, theirs in zip(first["parts"], second["parts"], strict=True):
        for name, measure in ours["measures"].items():
            assert measure["value"] == pytest.approx(
                theirs["measures"][name]["value"], abs=1e-3, nan_ok=True
            )


@pytest.mark.parametrize("old", [False, True], ids=["not graded", "filled by an earlier version"])
def test_what_is_not_graded_is_counted_and_not_measured(files, tmp_path, capsys, old) -> None:
    subarticular = TARGETS[Condition.SUBARTICULAR]
    write_findings_table(files[0] / "findings.csv", GRADED, absent=subarticular, old=old)
    said = run(capsys, *files, "--out", tmp_path / "out")
    assert {p["condition"] for p in said["parts"]} == {
        "spinal_canal_stenosis",
        "neural_foraminal_narrowing",
    }
    counts = {"predicted": 0, "not_graded": 10 * STUDIES, "not_in_results": 0}
    assert said["findings"]["subarticular_stenosis"] == counts
    assert (
        run(capsys, *files, "--out", tmp_path / "out", "--score-filled")["parts"] == said["parts"]
    )


def test_a_submission_tells_its_filled_rows_by_the_findings_beside_it(
    files, tmp_path, capsys
) -> None:
    submission = tmp_path / "s.csv"
    write_submission_table(submission, GRADED)
    kept = GRADED.of(Condition.CANAL)
    write_findings_table(tmp_path / "s.csv.findings.csv", kept)
    said = run(capsys, submission, files[1], "--out", tmp_path / "out")
    assert said["fills_known"]
    assert said["findings"]["neural_foraminal_narrowing"]["not_graded"] == 10 * STUDIES
    assert {p["condition"] for p in said["parts"]} == {"spinal_canal_stenosis"}
    all_of_it = run(capsys, submission, files[1], "--out", tmp_path / "out", "--score-filled")
    assert {p["condition"] for p in all_of_it["parts"]} == {c.value for c in Condition}


def test_calibrated_probabilities_are_measured_beside_the_models_own(
    files, tmp_path, capsys
) -> None:
    shown = replace(drawn(STUDIES, sharpness=3), calibrated=GRADED.probabilities)
    write_findings_table(files[0] / "findings.csv", shown)
    said = run(capsys, *files, "--out", tmp_path / "out")
    for part in said["parts"]:
        measures = part["measures"]
        assert len(measures) == 2 * len(MEASURES) - 1
        if part["by"] == "all":
            assert measures["log_loss_calibrated"]["value"] < measures["log_loss"]["value"]
    html = (tmp_path / "out" / "index.html").read_text()
    assert "spinal canal stenosis, calibrated" in html
    assert "The results have calibrated probabilities" in html


def test_studies_of_one_side_only_are_named_and_the_rest_is_measured(
    files, tmp_path, capsys, caplog
) -> None:
    names = sorted(set(GRADED.studies.tolist()))
    write_findings_table(files[0] / "findings.csv", GRADED.where(GRADED.studies != names[0]))
    write_labels(files[1], GRADED.where(GRADED.studies != names[1]))
    with caplog.at_level(logging.ERROR):
        said = run(capsys, *files, "--out", tmp_path / "out", code=1)
    assert said["only_in_labels"] == [names[0]]
    assert said["only_in_results"] == [names[1]]
    assert said["studies"] == STUDIES - 2
    assert names[0] in caplog.text
    assert names[1] in caplog.text
    assert names[1] in (tmp_path / "out" / "index.html").read_text()


def test_a_cohort_of_normal_studies_has_no_invented_figures(files, tmp_path, capsys) -> None:
    write_labels(files[1], GRADED.where(GRADED.grades == 0))
    said = run(capsys, *files, "--out", tmp_path / "out")
    for part in said["parts"]:
        assert part["measures"]["kappa"]["value"] is None
        assert part["measures"]["kappa"]["note"] == "every grade is normal/mild"
    assert "every grade is normal/mild" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ("other studies", 3, "no study is in both files"),
        ("nothing predicted", 3, "nothing to measure"),
        ("unknown grade", 3, "unknown grade 'Worse'"),
        ("no results", 3, "no results in this folder"),
        ("no distribution", 3, "row 2, normal_mild, moderate, severe: probabilities add up to"),
        ("no reason", 3, "row 2: neither probabilities nor a reason in not_graded"),
        ("both", 3, "row 2: both probabilities and a reason in not_graded"),
        ("unknown group", 2, "--groups scanner: no such column"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    change: str, code: int, message: str, files, tmp_path, capsys
) -> None:
    results, labels = files
    table, more = results / "findings.csv", []
    if change == "other studies":
        labels.write_text(labels.read_text().replace("1.2.840.", "9.9."))
    elif change == "nothing predicted":
        write_findings_table(table, GRADED, absent=FINDINGS)
    elif change == "unknown grade":
        labels.write_text(labels.read_text().replace("Severe", "Worse"))
    elif change == "no results":
        table.unlink()
    elif change in ("no distribution", "no reason", "both"):
        cells = {
            "no distribution": "0.5,0.6,0.7,,,,",
            "no reason": ",,,,,,",
            "both": "0.5,0.3,0.2,,,,no slice",
        }
        head, first, *rest = table.read_text().splitlines()
        study, finding, *_ = first.split(",")
        table.write_text("\n".join([head, f"{study},{finding},{cells[change]}", *rest]))
    else:
        more = ["--groups", "scanner"]
    out = tmp_path / "out"
    assert main(["evaluate", str(results), str(labels), "--out", str(out), *more]) == code
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (out / "index.html").exists()
