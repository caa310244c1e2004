"""Every benchmark runs, has a row in docs/benchmarks.md, and compares like with like."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import (  # noqa: E402
    bench_augment,
    child,
    common,
    literal,
    plots,
    profile_grade,
    ratios,
    results,
    studies,
)
from benchmarks import passes as benchmark_passes  # noqa: E402

from lumbargrade.domain.findings import Finding, ModelSource, StudyPrediction  # noqa: E402
from lumbargrade.domain.vocabulary import FINDINGS  # noqa: E402
from lumbargrade.grading.model_record import FORMAT, ModelRecord, OofRecord, write_oof_record  # noqa: E402
from lumbargrade.grading.predictions_file import write_predictions  # noqa: E402
from lumbargrade.lsdc.prepare import prepare  # noqa: E402
from lumbargrade.lsdc.store import VolumeStore  # noqa: E402
from lumbargrade.phantom.dataset import Settings, make_dataset  # noqa: E402
from lumbargrade.validation.out_of_fold import fold_fingerprint  # noqa: E402


def named(table: str) -> list[list[str]]:
    """Groups and benchmarks of the rows of a table."""
    rows = [line.split("|") for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row[1:3]] for row in rows[2:]]


def test_every_benchmark_runs_and_the_page_has_its_ratios(tmp_path):
    found, work = tmp_path / "found.json", tmp_path / "work"
    options = ("--tiny", "--benchmark-min-rounds=1", "--benchmark-max-time=0.001")
    files = (f"--benchmark-json={found}", f"--basetemp={work}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks", *options, *files],
        cwd=ROOT,
        # pytest-benchmark measures nothing in a worker of pytest-xdist
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    benchmarks = json.loads(found.read_text())["benchmarks"]
    assert all(benchmark["stats"]["min"] > 0 for benchmark in benchmarks)
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    page = page.partition(common.BEGIN)[2].partition(common.END)[0]
    assert named(page) == named(ratios.table([benchmarks]))
    plots.draw([benchmarks], tmp_path / "plots.png")
    assert plt.imread(tmp_path / "plots.png").std() > 0.05


def test_ratios_are_to_the_first_benchmark_of_a_group():
    def measured(group: str, name: str, seconds: float, **extra: float) -> dict[str, object]:
        stats = {"min": seconds, "median": 10 * seconds}
        return {"group": group, "name": f"bench_{name}", "stats": stats, "extra_info": extra}

    rows = [
        measured("reading", "bare_pydicom[RLE]", 0.5),
        measured("a step", "literal", 2.0, peak_mib=100.0, work_mib=20.0),
        measured("reading", "lumbargrade[RLE]", 0.02),
        measured("a step", "ours", 3.0, peak_mib=50.0, work_mib=5.0),
    ]
    lines = ratios.table([rows]).splitlines()[2:]
    assert lines == [
        "| reading | bare pydicom | 1.00 |  |  |  |",
        "|  | lumbargrade | 0.04 |  |  |  |",
        "| a step | literal | 1.00 | 1.00 | 1.00 |  |",
        "|  | ours | 1.50 | 0.50 | 0.25 |  |",
    ]


def test_ratios_are_taken_within_a_pass_and_shown_with_their_spread():
    def measured(name: str, seconds: float) -> dict[str, object]:
        return {"group": "g", "name": name, "stats": {"min": seconds}, "extra_info": {}}

    slow_and_fast = ((8.0, 2.0), (1.0, 0.5), (4.0, 1.2))
    passes = [
        [measured("bench_slices[1]", a), measured("bench_slices[20]", b)] for a, b in slow_and_fast
    ]
    lines = ratios.table(passes).splitlines()[2:]
    assert lines == [
        "| g | 1 slice | 1.00 |  |  |  |",
        "|  | 20 slices | 0.30 (0.25 to 0.50) |  |  |  |",
    ]
    with pytest.raises(ValueError, match="different benchmarks"):
        ratios.table([passes[0], passes[0][:1]])


def test_passes_resume_and_a_failing_one_keeps_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark_passes, "PAGE", tmp_path / "page.md")
    begin, end = common.BEGIN, common.END
    (tmp_path / "page.md").write_text(f"# Title\n{begin}\nold\n{end}\nrest\n")
    monkeypatch.setattr(benchmark_passes, "PLOTS", tmp_path / "plots.png")
    times = iter((1.0, 2.0))

    def run(command: list[str], **_: object) -> SimpleNamespace:
        seconds = next(times, None)
        if seconds is None:
            return SimpleNamespace(returncode=1)
        found = [
            {"group": "by slices", "name": f"bench_slices[{n}]", "extra_info": {}}
            | {"stats": {"min": seconds * n}}
            for n in (1, 2)
        ]
        file = Path(command[-1].partition("=")[2])
        file.write_text(json.dumps({"benchmarks": found}))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    kept = ["--kept", str(tmp_path / "kept")]
    assert benchmark_passes.main([*kept, "--passes", "3"]) == 1
    assert "old" in (tmp_path / "page.md").read_text()
    times = iter((3.0,))
    assert benchmark_passes.main([*kept, "--passes", "3"]) == 0
    page = (tmp_path / "page.md").read_text()
    assert "3 passes on" in page
    assert "|  | 2 slices | 2.00 |" in page
    assert page.endswith(f"{end}\nrest\n")
    assert (tmp_path / "plots.png").exists()
    times = iter((5.0,))
    assert benchmark_passes.main([*kept, "--passes", "1", "--restart", "--print"]) == 0
    assert "1 passes on" in capsys.readouterr().out


def test_the_profile_of_grade_names_stages_and_functions(tmp_path, capfd):
    make_dataset(tmp_path / "data", Settings(1, 3, 0, "train", "explicit"))
    images = str(tmp_path / "data" / "train_images")
    assert profile_grade.main([images, "--functions", "5"]) == 0
    said = capfd.readouterr()
    assert "network sagittal" in said.err
    assert "List reduced from" in said.out
    assert profile_grade.main([str(tmp_path / "none")]) == 2


def test_a_failing_child_is_an_error_with_its_log(tmp_path):
    with pytest.raises(RuntimeError, match=r"ended with code 2\n(.*\n)*.*no-such-folder"):
        child.run(child.command, "prepare", "no-such-folder", "--out", str(tmp_path / "store"))


def test_peak_memory_of_a_child_covers_what_it_held_and_not_what_its_parent_holds(
    tmp_path, monkeypatch
):
    (tmp_path / "block.py").write_text(
        "def held(mib):\n    return lambda: b'x' * int(mib) * 2**20\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    paths = (str(tmp_path), os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    cost = child.run(importlib.import_module("block").held, "100")
    assert 95 <= cost["work_mib"] < 110
    assert cost["work_mib"] < cost["peak_mib"] < 0.5 * child.peak_mib()


def test_times_are_per_part(monkeypatch):
    cost = {"cpu_s": 6.0, "wall_s": 3.0, "work_mib": 5.0, "peak_mib": 70.0}
    monkeypatch.setattr(child, "run", lambda *_: cost)
    taken = []

    def pedantic(once: Callable[[], None], *, setup: Callable[[], None]) -> None:
        setup()
        cpu, wall = child.cpu_s(), child.wall_s()
        once()
        taken.append((child.cpu_s() - cpu, child.wall_s() - wall))

    benchmark = SimpleNamespace(pedantic=pedantic, extra_info={})
    child.measure(benchmark, child.command, "prepare", per=3)
    assert taken == [(2.0, 1.0)]
    assert benchmark.extra_info == {"per": 3, "peak_mib": 70.0, "work_mib": 5.0}


def test_augmented_samples_of_both_libraries_have_one_form():
    ours, other = bench_augment.lumbargrade(3, 64)(0).image, bench_augment.torchio(3, 64)(0)
    assert ours.shape == tuple(other.shape[1:]) == (3, 64, 64)
    assert ours.dtype == np.uint8
    assert other.dtype == torch.uint8


@pytest.mark.parametrize("trains", [False, True])
def test_the_literal_network_is_ours_by_value(trains):
    batch = literal.batch_of(3, 64)
    kinds = ("ours", "literal", "0.5", "least") if trains else ("ours", "literal")
    ours, *others = (literal.work_of(k, trains, batch, "pvt_v2_b0")(batch) for k in kinds)
    for other in others:
        for part in ("grade", "log_grade", "xy", "z"):
            torch.testing.assert_close(
                getattr(ours, part), getattr(other, part), atol=1e-4, rtol=1e-3
            )


def test_repeated_studies_have_the_same_images_under_other_numbers(tmp_path):
    data = tmp_path / "data"
    images = data / "test_images" / "5" / "6"
    images.mkdir(parents=True)
    (images / "1.dcm").write_text("x")
    header = "study_id,series_id,series_description\n"
    (data / "test_series_descriptions.csv").write_text(header + "5,6,Sagittal T1\n")
    out = studies.repeat_studies(data, tmp_path / "out", 3)
    table = (out / "test_series_descriptions.csv").read_text().splitlines()
    assert len(set(table)) == 4
    for row in table[1:]:
        study, series, kind = row.split(",")
        assert kind == "Sagittal T1"
        assert re.fullmatch(r"\d*5", study)
        assert (out / "test_images" / study / series / "1.dcm").read_text() == "x"


def out_of_fold(path: Path, store: VolumeStore, share: float, first: int) -> None:
    """Write predictions that give the true grade this probability, from a target on."""
    recipe = f"cpu-small/{path.parent.name}"
    predictions = []
    for study, grades in store.grades.items():
        source = (ModelSource(recipe, store.folds[study]),)
        findings = {}
        for target in FINDINGS[first:]:
            p = np.full(3, (1 - share) / 2)
            p[grades.get(target, 0)] = share
            findings[target] = Finding(target, tuple(p), sources=source)
        predictions.append(StudyPrediction(str(study), findings, source))
    path.parent.mkdir()
    write_predictions(path, predictions, store.folds, store.grades)
    folds = set(store.folds.values())
    models = tuple(ModelRecord("model", recipe, fold, "0" * 64) for fold in folds)
    write_oof_record(path, OofRecord(FORMAT, fold_fingerprint(store.folds), False, models))


def test_results_are_judged_from_what_the_commands_left(tmp_path, monkeypatch):
    make_dataset(tmp_path / "data", Settings(12, 5, 0, "train", "explicit"))
    prepare(tmp_path / "data", tmp_path / "store")
    store = VolumeStore.open(tmp_path / "store")
    out_of_fold(tmp_path / "one-stage" / "oof.csv", store, 0.4, 1)
    out_of_fold(tmp_path / "two-stage" / "oof.csv", store, 0.8, 0)
    monkeypatch.setattr(results, "RESAMPLES", 20)
    monkeypatch.setattr(results, "without_views", lambda runs: {"header": ["x"], "cells": []})
    found = results.judge(tmp_path, sorted(set(store.folds.values())))
    missing = FINDINGS[0]
    assert found["filled"]["one stage"] == sum(missing in g for g in store.grades.values())
    assert found["filled"]["two stages"] == 0
    two = found["systems"]["two stages"]["subarticular stenosis"]
    assert two["value"] == pytest.approx(-np.log(0.8))
    assert found["systems"]["blend"]["official score"]["value"] < 0.5
    gain = found["gains"]["one stage - two stages"]["subarticular stenosis"]
    assert gain["low"] == pytest.approx(np.log(2))
    text = results.tables({**found, "made": 12, "seed": 5, "folds": "0,1"})
    assert "| subarticular stenosis |" in text
    assert "0.223 (0.223, 0.223)" in text
    for heading in ("## The run", "## Scores", "## Differences", "## Without a view"):
        assert heading in text
        assert heading in results.DOCUMENT.read_text()
