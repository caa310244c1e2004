"""The benchmarks compare like with like, and their page says what their rows say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import (  # noqa: E402
    augment,
    common,
    network,
    phantom,
    prepare,
    reading,
    run_all,
    stages,
    studies,
    submit,
)

MODULES = {
    "reading": reading,
    "prepare": prepare,
    "augment": augment,
    "network": network,
    "submit": submit,
    "stages": stages,
    "phantom": phantom,
}


def work_rows(**more: object) -> list[common.Row]:
    return [
        {"studies": 10, "ms": 200.0, "peak_mib": 100.0, "work_mib": 20.0, **more},
        {"studies": 100, "ms": 100.0, "peak_mib": 105.0, "work_mib": 25.0, **more},
    ]


def fake_rows() -> dict[str, list[common.Row]]:
    ms = {"ours": 30.0, "pydicom": 10.0, "SimpleITK": 60.0, "pydicom to volume": 40.0}
    case = {"shape": [15, 320, 320], "peak_mib": 1000.0, "step_mib": 400.0, "difference": 2e-6}
    seconds = dict(zip(network.CASES, (1.0, 2.0, 3.0, 4.5, 3.0), strict=True))
    return {
        "reading": [
            {"slices": 20, "side": 512, "syntax": s, "ms": ms} for s in ("explicit", "RLE")
        ],
        "prepare": [
            *work_rows(benchmark=prepare.BY_STUDIES, workers=1),
            {**work_rows()[1], "benchmark": prepare.BY_WORKERS, "workers": 1, "wall_ms": 100.0},
            {**work_rows()[1], "benchmark": prepare.BY_WORKERS, "workers": 2, "wall_ms": 50.0},
            {"benchmark": prepare.AGAIN, "ms": 200.0},
            {"benchmark": prepare.AGAIN, "ms": 2.0},
            {"benchmark": prepare.READ, "case": "store", "ms": 0.5, "disk_mib": 3.0},
            {"benchmark": prepare.READ, "case": "npz", "ms": 20.0, "disk_mib": 2.0},
        ],
        "augment": [
            {"shape": [15, 320, 320], "case": augment.OURS, "ms": 5.0},
            {"shape": [15, 320, 320], "case": augment.TORCHIO, "ms": 50.0},
        ],
        "network": [{**case, "case": n, "seconds": s} for n, s in seconds.items()],
        "submit": work_rows(),
        "stages": [
            {"system": s, "studies": 20, "ms": ms, "peak_mib": peak, "work_mib": 100.0}
            for s, ms, peak in zip(stages.SYSTEMS, (500, 1000, 800), (900, 1000, 1100), strict=True)
        ],
        "phantom": [
            {"case": phantom.OURS, "s": 1.0, "slices": 60},
            {"case": phantom.BARE, "s": 0.1, "slices": 60},
        ],
    }


SAYS = {
    "reading": [
        "3.0 times slower than bare pydicom",
        "2.0 times faster than SimpleITK",
        "| 0.75 |",
    ],
    "prepare": [
        "cost 0.50 times as much",
        "2 workers are 2.0 times faster than 1 worker on 100 studies, in a run that got 2.0 cores",
        "0.010 of the time",
        "40.0 times faster than compressed npz files and takes 1.50 times",
    ],
    "augment": ["10.0 times faster than TorchIO: 200 samples", "| 0.10 |"],
    "network": ["2.0 times faster than the literal one", "1.5 times slower than", "as fast as the"],
    "stages": ["take 0.80 of the CPU time per study and 1.10 of the peak memory"],
    "submit": ["changes by +5 MiB: memory stays flat", "| 10 | 200 | 1.00 | 100 | 1.00 | 20.0 |"],
    "phantom": ["60 slices", "10.0 times slower than only writing noise", "| 0.100 | 1.00 |"],
}


@pytest.mark.parametrize("name", MODULES)
def test_a_section_says_what_its_rows_say(name):
    found = MODULES[name].sections(fake_rows()[name])
    texts = [s.markdown(f"python -m benchmarks.{name}") for s in found]
    whole = " ".join("\n".join(texts).split())
    for words in SAYS[name]:
        assert words in whole
    for section, text in zip(found, texts, strict=True):
        assert text.startswith(f"## {section.title}\n")
        assert f"`python -m benchmarks.{name}`" in text
        assert "Baseline: " in text
        lines = [line for line in text.splitlines() if line.startswith("|")]
        assert len(lines) == 2 + len(section.cells)
        assert len({line.count("|") for line in lines}) == 1
        assert max(len(line) for line in text.splitlines() if line not in lines) <= 100


def test_the_page_holds_every_benchmark_and_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    page = tmp_path / "benchmarks.md"
    rows = fake_rows()
    monkeypatch.setattr(run_all, "measure", lambda name, quick: rows[name])
    assert run_all.main(["--out", str(page)]) == 0
    text = page.read_text()
    for name in run_all.BENCHMARKS:
        assert f"`python -m benchmarks.{name}`" in text
    assert f"torch {torch.__version__.split('+')[0]}" in text
    assert str(ROOT) not in text

    def fails(name: str, quick: bool) -> list[common.Row]:
        if name == "submit":
            raise RuntimeError("no")
        return rows[name]

    monkeypatch.setattr(run_all, "measure", fails)
    with pytest.raises(RuntimeError, match="no"):
        run_all.main(["--out", str(page)])
    assert page.read_text() == text
    assert list(tmp_path.iterdir()) == [page]


def test_every_benchmark_of_the_folder_is_in_the_page():
    modules = {p.stem for p in (ROOT / "benchmarks").glob("*.py")}
    helpers = {"common", "studies", "child", "run_all", "results", "gpu"}
    assert modules - helpers == set(run_all.BENCHMARKS) == set(MODULES)


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.5, "2.0 times faster than it"),
        (0.8, "25 % faster than it"),
        (0.99, "as fast as it"),
        (1.1, "10 % slower than it"),
        (3.0, "3.0 times slower than it"),
    ],
)
def test_slower_and_faster_are_said_in_words(share, words):
    assert common.against(share, "it") == words


def test_memory_that_grows_is_called_growing():
    first, last = work_rows()
    assert "memory grows" in common.cost_against_work([first, {**last, "peak_mib": 110.0}])


def test_functions_take_turns_in_both_orders():
    calls = []
    work = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = common.take_turns(work, 2)
    assert "".join(calls) == "baabba"
    assert {name: len(s) for name, s in seconds.items()} == {"a": 2, "b": 2}


def test_a_failing_child_is_an_error_with_its_log():
    with pytest.raises(RuntimeError, match="No module named"):
        common.run_child("benchmarks.absent")


def test_peak_memory_of_a_child_covers_what_it_held_and_not_what_its_parent_holds():
    code = (
        "from benchmarks.common import held_mib, peak_mib; before = peak_mib();"
        "block = b'x' * (100 * 2**20); del block; print(before, peak_mib(), held_mib())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    before, peak, held = map(float, done.stdout.split())
    assert before < 0.5 * common.peak_mib()
    assert peak >= before + 95
    assert held < peak


def test_reading_runs_and_its_readers_agree():
    rows = reading.run(quick=True)
    assert [r["syntax"] for r in rows] == list(reading.SYNTAXES)
    assert all(min(r["ms"].values()) > 0 for r in rows)


def test_augmented_samples_of_both_libraries_have_one_form():
    ours, other = augment.ours(3, 64)(0).image, augment.torchio(3, 64)(0)
    assert ours.shape == tuple(other.shape[1:]) == (3, 64, 64)
    assert ours.dtype == np.uint8
    assert other.dtype == torch.uint8


@pytest.mark.parametrize("trains", [False, True])
def test_the_literal_network_is_ours_by_value(trains):
    batch = network.batch_of(3, 64)
    kinds = ("ours", "literal", "checkpointed") if trains else ("ours", "literal")
    ours, *others = (network.work_of(k, trains, "pvt_v2_b0")(batch) for k in kinds)
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
