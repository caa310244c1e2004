"""Studies that not all of image folder, table and sample submission have: inspect names them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lsdc_layout import write_lsdc, write_table
from lumbargrade.cli.main import main
from lumbargrade.domain.errors import BadTable
from lumbargrade.domain.vocabulary import FINDINGS
from lumbargrade.lsdc.completeness import sample_studies

ROWS = [t.column for t in FINDINGS]


def write_sample(folder: Path, *rows: str) -> None:
    header = ["row_id", "normal_mild", "moderate", "severe"]
    write_table(folder / "sample_submission.csv", header, [[r, 0.3, 0.3, 0.4] for r in rows])


def inspected(
    folder: Path, capsys: pytest.CaptureFixture[str], code: int
) -> list[tuple[Any, Any, bool, str]]:
    capsys.readouterr()
    assert main(["inspect", str(folder), "--json"]) == code
    *text, last = capsys.readouterr().out.splitlines()
    problems = json.loads(last)["problems"]
    told = [line for line in text if line.startswith("  problem: ")]
    assert len(told) == len(problems)
    assert all(p["what"] in line for p, line in zip(problems, told, strict=True))
    return [(p["study"], p["series"], p["fatal"], p["what"]) for p in problems]


@pytest.mark.parametrize("split", ["train", "test"])
def test_folders_that_no_table_lists_are_named(
    split: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lsdc(tmp_path, 2, split=split)
    images = tmp_path / f"{split}_images"
    shutil.copytree(images / "1000", images / "999")
    shutil.copytree(images / "1007" / "10070", images / "1007" / "77")
    # what an archive or a file browser leaves, and folders with nothing in them, are no studies
    (images / ".cache").mkdir()
    (images / "empty").mkdir()
    (images / "notes.txt").write_text("x")
    table = f"{split}_series_descriptions.csv does not list; its images are not used"
    assert inspected(tmp_path, capsys, 0) == [
        ("999", "", False, f"study folder that {table}"),
        ("1007", "77", False, f"series folder that {table}"),
    ]


def test_a_sample_submission_and_the_table_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lsdc(tmp_path, 2, split="test")
    shutil.copytree(tmp_path / "test_images" / "1000", tmp_path / "test_images" / "999")
    write_sample(tmp_path, *(f"{s}_{r}" for s in (999, 1000) for r in ROWS))
    found = inspected(tmp_path, capsys, 1)
    assert [f[:3] for f in found] == [("999", "", True), ("1007", "", False)]
    assert "sample_submission.csv lists the study, but" in found[0][3]
    assert "lists the study, but sample_submission.csv does not" in found[1][3]


def test_a_sample_submission_beside_training_data_is_of_other_studies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lsdc(tmp_path, 1)
    write_sample(tmp_path, *(f"5_{r}" for r in ROWS))
    assert inspected(tmp_path, capsys, 0) == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([f"x_{r}" for r in ROWS], r"row 2, row_id: 'x' is not a whole number"),
        ([*(f"1_{r}" for r in ROWS), "1_spinal"], r"row 27, row_id: unknown .* 'spinal'"),
        ([*(f"1_{r}" for r in ROWS), f"1_{ROWS[3]}"], rf"row 27: duplicate row_id 1_{ROWS[3]}"),
        ([f"1_{r}" for r in ROWS[:-2]], rf"row 1_{ROWS[-2]} is missing \(2 of 25 rows\)"),
        ([], "no rows; delete the file"),
    ],
)
def test_a_sample_submission_is_read_strictly(
    rows: list[str], message: str, tmp_path: Path
) -> None:
    write_sample(tmp_path, *rows)
    with pytest.raises(BadTable, match=rf"sample_submission\.csv.*{message}"):
        sample_studies(tmp_path, "test")
    assert sample_studies(tmp_path, "train") is None
