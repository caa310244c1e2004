"""The scripts in `examples/` run, and what they write is right."""

from __future__ import annotations

import csv
import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from json_schemas import require_valid
from lumbargrade.cli.main import main
from lumbargrade.domain.vocabulary import FINDINGS
from lumbargrade.starter.model import open_starter

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study in ``images``, and its results in ``result``."""
    folder = tmp_path_factory.mktemp("python-examples")
    phantom = ("phantom", str(folder / "data"), "--studies", "1", "--workers", "1", "--seed", "3")
    assert main(list(phantom)) == 0
    (study,) = (folder / "data" / "train_images").iterdir()
    study.rename(folder / "images")
    assert main(["grade", str(folder / "images"), "--out", str(folder / "result")]) == 0
    return folder


def run_example(name: str, *arguments: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a script; return its variables."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    monkeypatch.setenv("MPLBACKEND", "agg")
    return runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def graded_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "findings.csv").open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_every_script_is_listed_and_tested() -> None:
    scripts = {p.name for p in EXAMPLES.glob("*.py")}
    listed = re.findall(r"`python (\w+\.py) ", (EXAMPLES / "README.md").read_text("utf-8"))
    tested = re.findall(r'run_example\(\s*"(\w+\.py)"', Path(__file__).read_text("utf-8"))
    assert scripts == set(listed) == set(tested)


def test_one_study_is_graded(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = run_example("grade_one.py", place / "images", monkeypatch=monkeypatch)
    require_valid(next((place / "result").glob("*/findings.json")), "findings")
    graded = {t.column: f.grade.column for t, f in made["result"].findings.items()}
    rows = graded_rows(place / "result")
    assert graded == {r["finding"]: r["grade"] for r in rows if r["grade"]}
    said = capsys.readouterr().out
    for row in rows:
        assert (f"{row['finding']}: " in said) == (row["grade"] in ("moderate", "severe"))


def test_a_slice_is_drawn_with_outlines_and_points(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "picture.png"
    made = run_example("overlay.py", place / "images", picture, monkeypatch=monkeypatch)
    assert len(np.unique(made["labels"])) > 3
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    colourful = np.ptp(pixels, axis=-1) > 60
    assert colourful.sum() > 500


def test_results_become_a_table(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "table.csv"
    run_example("batch_table.py", place / "result", table, monkeypatch=monkeypatch)
    with table.open(newline="", encoding="utf-8") as lines:
        (row,) = csv.DictReader(lines)
    for finding in graded_rows(place / "result"):
        assert row[finding["finding"]] == finding["grade"]
    assert float(row["smallest_dural_sac_mm2"]) > 0


def test_one_network_runs_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run_example("one_network.py", place / "images", monkeypatch=monkeypatch)
    assert made["structures"].shape[0] == len(made["volume"].slices)
    assert len(np.unique(made["classes"])) > 3


#: Keys that the MONAI bundle specification asks for, of a bundle and of a tensor.
BUNDLE_KEYS = {
    *("version", "monai_version", "pytorch_version", "numpy_version", "authors", "copyright"),
    *("optional_packages_version", "task", "description", "network_data_format"),
}
TENSOR_KEYS = {
    *("type", "format", "modality", "num_channels", "spatial_shape", "dtype", "value_range"),
    *("is_patch_data", "channel_def"),
}


def test_the_starter_becomes_a_monai_bundle_that_grades(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle"
    run_example("monai_bundle.py", bundle, monkeypatch=monkeypatch)
    for name in ("LICENSE", "docs/README.md", "models/sagittal.onnx"):
        assert (bundle / name).stat().st_size > 500
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text("utf-8"))
    assert metadata.keys() >= BUNDLE_KEYS
    networks = open_starter(bundle / "models").weights.networks
    given = {f"{n}.{i.name}": i for n, e in networks.items() for i in e.session.get_inputs()}
    made = {f"{n}.{o.name}": o for n, e in networks.items() for o in e.session.get_outputs()}
    for part, tensors in (("inputs", given), ("outputs", made)):
        described = metadata["network_data_format"][part]
        assert described.keys() == tensors.keys()
        for name, tensor in described.items():
            assert tensor.keys() == TENSOR_KEYS
            assert tensor["num_channels"] == tensors[name].shape[1] == len(tensor["channel_def"])

    steps = json.loads((bundle / "configs" / "inference.json").read_text("utf-8"))
    table = tmp_path / "findings.csv"
    given_values = {"bundle_root": str(bundle), "study": str(place / "images")}
    evaluate({**steps, **given_values, "output": str(table)})
    assert [r["finding"] for r in graded_rows(tmp_path)] == [t.column for t in FINDINGS]
    expected = {r["finding"]: r["severe"] for r in graded_rows(place / "result")}
    assert {r["finding"]: r["severe"] for r in graded_rows(tmp_path)} == expected


def evaluate(steps: dict[str, Any]) -> None:
    """Do what MONAI's parser does with these steps: @name is another step, $ begins Python."""
    known: dict[str, Any] = {}
    for line in steps["imports"]:
        exec(line.removeprefix("$"), known)

    def value(name: str) -> Any:
        if name not in known:
            known[name] = parsed(steps[name])
        return known[name]

    def parsed(step: Any) -> Any:
        if isinstance(step, list):
            return [parsed(s) for s in step]
        if not str(step).startswith("$"):
            return step
        names = re.findall(r"@(\w+)", step)
        return eval(step[1:].replace("@", ""), known, {n: value(n) for n in names})

    value("run")
