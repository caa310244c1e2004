"""``inspect --read``: every image of a data set is decoded, and what cannot be used is listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydicom
import pytest

from lsdc_layout import DEPTH, write_lsdc
from lumbargrade.cli.main import main
from lumbargrade.lsdc.read_images import read_images
from lumbargrade.lsdc.tables import read_tables


def inspected(
    folder: Path, capsys: pytest.CaptureFixture[str], code: int, *more: str
) -> tuple[Any, list[str]]:
    """What --json says of the images that were read, and the lines of text."""
    capsys.readouterr()
    assert main(["inspect", str(folder), "--json", *more]) == code
    *text, last = capsys.readouterr().out.splitlines()
    said = json.loads(last)
    assert said["ok"] == (code == 0)
    return said["read"], text


def damage(folder: Path) -> tuple[Path, Path, Path]:
    """A truncated image, an image with a size that is not its own, a series of text files."""
    images = folder / "train_images"
    short = images / "1000" / "10000" / "2.dcm"
    short.write_bytes(short.read_bytes()[:-900])
    odd = images / "1007" / "10071" / "3.dcm"
    data = pydicom.dcmread(odd)
    data.Rows = 4000
    data.save_as(odd)
    for file in (images / "1007" / "10072").iterdir():
        file.write_text("this is no image")
    return short, odd, images / "1007" / "10072"


def test_a_data_set_whose_images_can_all_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lsdc(tmp_path, 2)
    read, text = inspected(tmp_path, capsys, 0, "--read", "--workers", "1")
    assert read == {"series": 6, "failed": 0, "slices": 6 * DEPTH, "lost": 0, "problems": []}
    assert any(f"6 with {6 * DEPTH} slices" in line for line in text)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_every_image_that_cannot_be_decoded_is_listed_and_nothing_is_written(
    workers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lsdc(tmp_path, 2)
    short, odd, text_files = damage(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    # the tables alone show nothing of it
    assert inspected(tmp_path, capsys, 0)[0] is None
    read, text = inspected(tmp_path, capsys, 1, "--read", "--workers", workers)
    assert (read["series"], read["failed"], read["slices"]) == (5, 1, 5 * DEPTH - 2)
    lost = [p for p in read["problems"] if p["fatal"]]
    assert len(lost) == read["lost"]
    files = {p["file"] for p in lost if p["file"]}
    assert {str(short), str(odd), str(text_files)} <= files
    told = [line for line in text if line.startswith(("  lost: ", "  note: "))]
    assert len(told) == len(read["problems"])
    assert sorted(tmp_path.rglob("*")) == before


def test_labelled_points_without_a_place_are_listed(tmp_path: Path) -> None:
    write_lsdc(tmp_path, 1)
    table = tmp_path / "train_label_coordinates.csv"
    header, first, *rows = table.read_text().splitlines()
    cells = first.split(",")
    cells[5] = "4000.0"
    table.write_text("\n".join([header, ",".join(cells), *rows]) + "\n")
    read = read_images(read_tables(tmp_path))
    (problem,) = read.problems
    assert problem.fatal
    assert problem.what.startswith("point of ")
    assert "(4000.0, " in problem.what
    assert "is outside 32 x 40 pixels" in problem.what


def test_oddities_are_notes_and_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lsdc(tmp_path, 1, split="test")
    folder = tmp_path / "test_images" / "1000" / "10000"
    (folder / "9.dcm").write_bytes((folder / "2.dcm").read_bytes())
    read, _ = inspected(tmp_path, capsys, 0, "--read", "--workers", "1")
    assert read["lost"] == 0
    assert read["problems"]
    assert {p["series"] for p in read["problems"]} == {"10000"}


def test_series_without_a_folder_are_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lsdc(tmp_path, 1, split="test")
    (tmp_path / "test_images" / "1000" / "10001").rename(tmp_path / "away")
    read, _ = inspected(tmp_path, capsys, 1, "--read", "--workers", "1")
    assert (read["series"], read["failed"], read["problems"]) == (2, 0, [])


def test_a_number_of_workers_below_none_is_a_usage_error(tmp_path: Path) -> None:
    write_lsdc(tmp_path, 1, split="test")
    assert main(["inspect", str(tmp_path), "--read", "--workers", "-1"]) == 2
