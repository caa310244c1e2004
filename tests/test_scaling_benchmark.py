"""The benchmark of many studies: copies are studies of their own, and figures follow from runs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import scaling_report  # noqa: E402
from benchmarks.scaling import Run, make_images  # noqa: E402

from lumbargrade.dicom.find import find_studies  # noqa: E402
from lumbargrade.dicom.study import read_found  # noqa: E402


def test_copies_of_a_study_are_studies_of_their_own_with_the_same_images(tmp_path: Path) -> None:
    images = make_images(tmp_path, 3, 1)
    assert make_images(tmp_path, 3, 1) == images  # what is there is kept
    found = find_studies([images])
    assert not found.problems
    assert len({s.study_id for s in found.studies}) == 3
    first, *others = (read_found(s) for s in found.studies)
    for other in others:
        assert len({*(v.study_id for v in other.volumes), first.study_id}) == 2
        for volume, same in zip(other.volumes, first.volumes, strict=True):
            assert (volume.pixels == same.pixels).all()


RUN = Run(
    launcher="local",
    workers=1,
    studies=10,
    wall_s=12.0,
    cpu_s=22.0,
    again_cpu_s=3.0,
    driver_mib=400.0,
    worker_mib=400.0,
    input_files=500,
    input_bytes=100_000_000,
    result_files=120,
    result_bytes=7_000_000,
    overview_bytes=300_000,
)
#: 2 s per study and 2 s of start; two workers are 1.6 times as fast and need 10 s to start.
RUNS = [
    RUN,
    replace(
        RUN,
        studies=40,
        wall_s=48.0,
        cpu_s=82.0,
        again_cpu_s=6.0,
        input_files=2000,
        input_bytes=400_000_000,
        result_files=480,
        result_bytes=28_000_000,
        overview_bytes=1_200_000,
    ),
    replace(RUN, workers=2, driver_mib=160.0, wall_s=9.0, cpu_s=30.0),
    replace(RUN, workers=2, studies=40, driver_mib=163.0, wall_s=30.0, cpu_s=90.0),
]


def test_cost_and_efficiency_follow_from_the_runs() -> None:
    cost = scaling_report.costs(RUNS[:2], RUNS[:2])
    assert cost["cpu_s"] == pytest.approx(2.0)
    assert cost["start_s"] == pytest.approx(2.0)
    assert (cost["input_mb"], cost["input_files"], cost["result_files"]) == (10, 50, 12)
    assert scaling_report.slope(RUNS[2:], "driver_mib")[1] == pytest.approx(0.1)
    ((_, alone, _), (workers, wall, cpu)) = scaling_report.efficiency(RUNS)["local"]
    assert (alone, workers) == (1, 2)
    assert wall == pytest.approx(48 / 60)
    assert cpu == pytest.approx(90 / 82)
    with pytest.raises(ValueError, match="--studies"):
        scaling_report.slope(RUNS[:1], "cpu_s")


def test_tables_plots_and_the_page_show_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, plot = tmp_path / "scaling.md", tmp_path / "scaling.png"
    page.write_text(scaling_report.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(scaling_report, "PAGE", page)
    monkeypatch.setattr(scaling_report, "PLOT", plot)
    scaling_report.write_page(RUNS, "a machine.")
    text = page.read_text(encoding="utf-8")
    assert "| CPU | c = 2.00 s | 556 core hours |" in text
    assert "| 2 processes | 4.00 | 3.00 | 102 |" in text
    assert "efficiency 0.80 in wall time; CPU time 1.10 times" in text
    assert plot.stat().st_size > 10_000
    scaling_report.write_page(RUNS, "a machine.", wall=False)
    assert "wall s" not in page.read_text(encoding="utf-8").partition("figures: begin")[2]
