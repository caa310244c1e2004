"""The overview of many studies: pages of bounded length, tables in order, little memory."""

from __future__ import annotations

import csv
import errno
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.report import overview_page
from lumbargrade.report.overview import Overview, StudyEntry


def graded(study: str) -> GradedStudy:
    found = {t: Finding(t, (0.6, 0.3, 0.1)) for t in FINDINGS}
    return GradedStudy(StudyPrediction(study, found), (), False, "x")


def test_studies_added_in_any_order_are_listed_in_order_and_once(tmp_path: Path) -> None:
    overview = Overview(tmp_path)
    for folder in ("c", "a", "b", "a"):
        overview.add(StudyEntry.of(folder, graded(f"study {folder}")))
    summary = overview.finish(["a", "b", "lost", "c"], (), ())
    assert [line.folder for line in summary.graded] == ["a", "b", "c"]
    with (tmp_path / "findings.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [r["folder"] for r in rows] == ["a"] * 25 + ["b"] * 25 + ["c"] * 25
    assert [r["finding"] for r in rows] == [t.column for t in FINDINGS] * 3
    assert not (tmp_path / "measurements.csv").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"index.html", "findings.csv", "summary.json"}


def test_a_long_overview_has_several_pages_and_a_shorter_one_removes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview_page, "PAGE_ROWS", 2)
    names = [f"s{i}" for i in range(5)]
    for count, pages in ((5, ["index-2.html", "index-3.html"]), (3, ["index-2.html"])):
        overview = Overview(tmp_path)
        for name in names[:count]:
            overview.add(StudyEntry.of(name, graded(name)))
        overview.finish(names, [Problem("broken", study="lost")], ())
        assert sorted(p.name for p in tmp_path.glob("index-*.html")) == pages
        first = (tmp_path / "index.html").read_text(encoding="utf-8")
        assert [f'href="{n}/report.html"' in first for n in names[:3]] == [True, True, False]
        assert all(f'href="{page}"' in first for page in pages)
        second = (tmp_path / "index-2.html").read_text(encoding="utf-8")
        assert 'href="s2/report.html"' in second
        assert 'href="index.html"' in second
        assert "broken" in first
        assert "broken" not in second
        assert len(json.loads((tmp_path / "summary.json").read_text())["studies"]) == count


def test_a_study_takes_a_few_kilobytes_of_memory_until_the_end(tmp_path: Path) -> None:
    overview = Overview(tmp_path)
    entry = StudyEntry.of("0", graded("0"))
    assert len(entry.findings) > 1000
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for i in range(500):
            line = replace(entry.line, folder=str(i))
            overview.add(replace(entry, line=line, findings=f"{i}{entry.findings}"))
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert kept / 500 < 1000
    assert len(overview.finish([str(i) for i in range(500)], (), ()).graded) == 500


def test_a_full_disk_hides_no_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lumbargrade.report.overview.write_json", full)
    why = Problem("the results cannot be written", study="anna")
    assert Overview(tmp_path).finish(["anna"], [why], []).failed == (why,)
