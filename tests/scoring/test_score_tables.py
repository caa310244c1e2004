"""Malformed submissions and solutions are refused with the file, the row and the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lumbargrade.cli.main import main
from lumbargrade.domain.errors import BadTable
from lumbargrade.domain.vocabulary import FINDINGS, Grade
from lumbargrade.scoring.official import score_report
from lumbargrade.scoring.submissions import read_solution, read_submission

HEADER = "row_id,normal_mild,moderate,severe"
COLUMNS = [t.column for t in FINDINGS]
STUDIES = ("101", "202")


def submission_lines() -> list[str]:
    return [HEADER, *(f"{s}_{c},0.5,0.3,0.2" for s in STUDIES for c in COLUMNS)]


def solution_lines() -> list[str]:
    grades = [Grade(i % 3).label for i in range(25)]
    lines = [",".join([s, *grades]) for s in STUDIES]
    return [",".join(["study_id", *COLUMNS]), *lines]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return write(tmp_path / "train.csv", solution_lines())


def refusal(path: Path, truth: Path) -> str:
    solution = read_solution(truth)
    with pytest.raises(BadTable) as caught:
        score_report(solution, read_submission(path), solution, path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ("nan,0.3,0.2", "not a probability"),
        ("0.5,inf,0.2", "not a probability"),
        ("0.5,-0.1,0.6", "moderate: -0.1 is not a probability"),
        ("0.5,0.3,high", "severe: 'high' is not a number"),
        ("0.5,,0.2", "moderate: '' is not a number"),
        ("1_0,0.3,0.2", "normal_mild: '1_0' is not a number"),
        ("0,0,0", "all three probabilities are zero"),
        ("1e308,1e308,1e308", "too large"),
        ("0.5,0.3", "3 values for 4 columns"),
        ("0.5,0.3,0.2,0.1", "5 values for 4 columns"),
    ],
)
def test_a_bad_value_names_row_and_reason(
    values: str, reason: str, truth: Path, tmp_path: Path
) -> None:
    lines = submission_lines()
    lines[7] = f"101_{COLUMNS[6]},{values}"
    text = refusal(write(tmp_path / "s.csv", lines), truth)
    assert "row 8" in text
    assert reason in text


def test_missing_extra_and_repeated_rows(truth: Path, tmp_path: Path) -> None:
    lines, path = submission_lines(), tmp_path / "s.csv"
    write(path, [*lines[:9], *lines[10:]])
    assert f"row 101_{COLUMNS[8]} is missing" in refusal(path, truth)
    write(path, [*lines, f"303_{COLUMNS[4]},1,0,0"])
    assert f"row 303_{COLUMNS[4]}: study 303 is not in the solution" in refusal(path, truth)
    write(path, [*lines, lines[3]])
    assert f"row 52: duplicate row_id 101_{COLUMNS[2]}, also in row 4" in refusal(path, truth)
    write(path, [*lines, "101_left_knee_l1_l2,1,0,0"])
    assert "row 52, row_id: unknown condition and level 'left_knee_l1_l2'" in refusal(path, truth)
    write(path, lines[:26])
    assert f"row 202_{COLUMNS[0]} is missing" in refusal(path, truth)


def test_bad_headers_and_files_that_are_no_tables(truth: Path, tmp_path: Path) -> None:
    lines, path = submission_lines(), tmp_path / "s.csv"
    write(path, [HEADER.replace("moderate", "middle"), *lines[1:]])
    assert "missing columns: moderate" in refusal(path, truth)
    write(path, ["row_id,normal_mild,severe,moderate,severe", *(f"{x},1" for x in lines[1:])])
    assert "duplicate column severe" in refusal(path, truth)
    path.write_bytes(b"")
    assert "the file is empty" in refusal(path, truth)
    path.write_bytes(b"\xff\xfe\x00\x81" * 50)
    assert "not a CSV table" in refusal(path, truth)


@pytest.mark.parametrize(
    ("row", "old", "new", "reason"),
    [
        (2, "Moderate", "Mild", "unknown grade 'Mild'"),
        (2, "202", "101", "duplicate study_id 101"),
        (1, "101,", ",", "study_id: the cell is empty"),
        (0, COLUMNS[3], "other", f"missing columns: {COLUMNS[3]}"),
    ],
)
def test_a_bad_solution_names_the_reason(
    row: int, old: str, new: str, reason: str, tmp_path: Path
) -> None:
    lines = solution_lines()
    lines[row] = lines[row].replace(old, new, 1)
    path = write(tmp_path / "train.csv", lines)
    with pytest.raises(BadTable) as caught:
        read_solution(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    assert row == 0 or f"row {row + 1}" in str(caught.value)


def test_rows_and_columns_may_stand_in_any_order_and_unnormalised(
    truth: Path, tmp_path: Path
) -> None:
    lines = submission_lines()
    plain = write(tmp_path / "a.csv", lines)
    turned = ["severe,moderate,row_id,normal_mild"]
    for line in reversed(lines[1:]):
        row_id, *_ = line.split(",")
        turned.append(f"2,3,{row_id},5")
    other = write(tmp_path / "b.csv", turned)
    solution = read_solution(truth)
    one, two = (score_report(solution, read_submission(p), solution, p) for p in (plain, other))
    assert one["official"] == pytest.approx(two["official"], rel=1e-12)


def test_score_command_prints_the_table_and_json(truth: Path, tmp_path: Path, capsys) -> None:
    path = write(tmp_path / "s.csv", submission_lines())
    assert main(["score", str(path), str(truth), "--json"]) == 0
    out = capsys.readouterr().out
    report = json.loads(out.splitlines()[-1])
    assert report["studies"] == 2
    parts = [part["official"] for part in report["parts"].values()]
    assert report["official"] == pytest.approx(sum(parts) / 4)
    assert f"official score {report['official']:.6f} over 2 studies" in out


def test_score_command_of_a_part_that_is_not_graded_says_null(tmp_path: Path, capsys) -> None:
    lines = solution_lines()
    head = lines[0].split(",")
    canal = [i for i, name in enumerate(head) if name.startswith("spinal")]
    rows = [line.split(",") for line in lines]
    for row in rows[1:]:
        for i in canal:
            row[i] = ""
    truth = write(tmp_path / "train.csv", [",".join(row) for row in rows])
    path = write(tmp_path / "s.csv", submission_lines())
    assert main(["score", str(path), str(truth), "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1], parse_constant=pytest.fail)
    assert report["parts"]["spinal_canal_stenosis"]["official"] is None
    assert report["parts"]["any_severe_canal"]["local"] is None
    assert report["parts"]["subarticular_stenosis"]["official"] > 0


def test_score_command_refuses_in_one_line(truth: Path, tmp_path: Path, capsys) -> None:
    for name, lines in (("short", submission_lines()[:-1]), ("empty", [HEADER])):
        path = write(tmp_path / f"{name}.csv", lines)
        assert main(["score", str(path), str(truth), "--subset"]) == 3
        said = capsys.readouterr().err.strip()
        assert said.startswith(f"lumbargrade score: {path}")
        assert "\n" not in said
    assert main(["score", str(tmp_path / "absent.csv"), str(truth)]) == 3
    assert "absent.csv" in capsys.readouterr().err


def test_subset_scores_only_the_studies_that_are_there(truth: Path, tmp_path: Path, capsys) -> None:
    path = write(tmp_path / "s.csv", submission_lines()[:26])
    assert main(["score", str(path), str(truth), "--subset", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["studies"] == 1
