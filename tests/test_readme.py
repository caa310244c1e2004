"""The commands of README.md run, in its order, on a small data set; those of docs/ are parsed."""

from __future__ import annotations

import csv
import importlib
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
import torch

from lumbargrade.cli.main import COMMANDS, main
from lumbargrade.config import load_recipe
from lumbargrade.domain.vocabulary import FINDINGS, Grade
from lumbargrade.models.published import to_published
from lumbargrade.models.registry import get_task
from published_files import write_published

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = "one-stage-scs/effnet_b4-decoder2d-01"

#: What README says -> what a small machine can run in its place.
INSTEAD = {
    "one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01": "cpu-small/foraminal",
    "one-stage-scs/pvt_v2_b4-decoder2d-01": "cpu-small/canal",
    "one-stage-subarticular/pvt_v2_b4-01": "cpu-small/subarticular",
    "keypoints/pvt_v2_b2-sagittal-t1-01": "cpu-small/keypoints-t1",
    "keypoints/pvt_v2_b2-sagittal-t2-01": "cpu-small/keypoints-t2",
    "two-stage/pvt_v2_b4-01": "cpu-small/two-stage",
    # the published corrections are of series that phantoms do not have
    "--label-fixes published": "--label-fixes AUDIT/corrections.csv",
    "--workers 8": "--workers 1",
    "import-weights nfn_fold0.pth --recipe cpu-small/foraminal": (
        f"import-weights nfn_fold0.pth --recipe {PUBLISHED}"
    ),
}

#: Options that make a command quick, or let it accept models that were trained for one epoch.
ALSO = {
    "train": "--folds 2,4 --data.size 64 --train.epochs 1 --pictures 0",
    "validate": "--pictures 0",
    "grade": "--no-check-points",
    "submit": "--workers 0",
    "recalibrate": "--minimum-studies 2 --minimum 1",
}


def command_lines(page: Path) -> Iterator[str]:
    """The commands in the fenced ``sh`` blocks of a page, without comments and line breaks."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield shlex.join(words)


README = [line for line in command_lines(ROOT / "README.md") if line.startswith("lumbargrade ")]
DOCS = [
    (path.name, line)
    for path in sorted((ROOT / "docs").glob("*.md"))
    for line in command_lines(path)
    if line.startswith("lumbargrade ") and "$" not in line
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that README names."""
    monkeypatch.chdir(tmp_path)
    make = ["phantom", "--workers", "1", "--seed", "3"]
    assert main([*make, "DATA", "--studies", "8"]) == 0
    assert main([*make, "test", "--studies", "2", "--first", "100", "--split", "test"]) == 0
    for path in ("test_images", "test_series_descriptions.csv", "sample_submission.csv"):
        shutil.move(tmp_path / "test" / path, tmp_path / "DATA" / path)
    shutil.move(tmp_path / "test" / "solution.csv", tmp_path / "SOLUTION.csv")
    shutil.copytree(tmp_path / "DATA" / "test_images", tmp_path / "FOLDER")
    with (tmp_path / "LABELS.csv").open("w", newline="") as stream:
        labels = csv.writer(stream)
        labels.writerow(["study_id", *(t.column for t in FINDINGS), "vendor"])
        for number, folder in enumerate((tmp_path / "FOLDER").iterdir()):
            header = pydicom.dcmread(next(folder.rglob("*.dcm")), stop_before_pixels=True)
            grades = [Grade((number + i) % 3).label for i in range(len(FINDINGS))]
            labels.writerow([header.StudyInstanceUID, *grades, "AB"[number % 2]])
    network = get_task(load_recipe(PUBLISHED)).build_network(pretrained=False)
    write_published(tmp_path / "nfn_fold0.pth", to_published(network))
    return tmp_path


def test_every_command_of_the_readme_runs(place: Path) -> None:
    for line in README:
        if line.startswith("lumbargrade grade") and not Path("RUNS").exists():
            shutil.copytree("ONE", "RUNS")
        for said, instead in INSTEAD.items():
            line = line.replace(said, instead)
        name = line.split()[1]
        line = f"{line} {ALSO.get(name, '')}"
        with torch.random.fork_rng():
            assert main(shlex.split(line)[1:]) == 0, line


def test_every_make_target_of_the_pages_exists() -> None:
    targets = set(re.findall(r"^([\w./$()-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = [
        word
        for name in ("README.md", "CONTRIBUTING.md")
        for line in command_lines(ROOT / name)
        if line.startswith("make ")
        for word in line.split()[1:]
        if "=" not in word
    ]
    assert {"demo", "demo-train", "test", "check"} <= set(named)
    assert {word.replace(".venv/", "$(VENV)/") for word in named} <= targets


@pytest.mark.parametrize(("page", "line"), DOCS)
def test_the_options_of_every_command_in_the_docs_exist(
    page: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(line)[1:]
    module, _ = COMMANDS[words[0]]
    command = importlib.import_module(f"lumbargrade.cli.{module}")
    monkeypatch.setattr(command, "run", lambda options: 0)
    assert main(words) == 0
