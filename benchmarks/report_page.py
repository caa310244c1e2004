"""What the page of a study (`report.html`) weighs and costs.

``python -m benchmarks.report_page STUDY...`` grades each study with the starter, writes its page,
and prints the size of the page, the CPU seconds of grading and of writing, and how soon Chromium
shows the page (median of five openings; empty without Playwright or Chromium).
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import markdown_table, number

from lumbargrade.dicom.study import read_study
from lumbargrade.grading.graded import GradedStudy, SeriesLine
from lumbargrade.grading.study import grade_study
from lumbargrade.report.study import sections_of
from lumbargrade.report.study_page import write_report
from lumbargrade.report.wording import default_wording

_OPENINGS = 5


def cpu(work: Callable[[], Any]) -> tuple[Any, float]:
    """What some work returns, and its CPU seconds."""
    start = time.process_time()
    return work(), time.process_time() - start


def opening(page: Path) -> float | None:
    """Median seconds from the start of loading to a page that can be used."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if chromium is None:
        return None
    seconds = []
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, chromium_sandbox=False)
        for _ in range(_OPENINGS):
            tab = browser.new_page()
            start = time.perf_counter()
            tab.goto(page.as_uri())
            tab.wait_for_selector("html.ready")
            seconds.append(time.perf_counter() - start)
            tab.close()
        browser.close()
    return statistics.median(seconds)


def row(path: str, page: Path) -> list[str]:
    """Measure one study."""
    study = read_study(path)
    grade_study(study)  # imports and the opening of networks are not what is measured
    prediction, grading = cpu(lambda: grade_study(study))
    lines = tuple(SeriesLine.of(volume) for volume in study.volumes)
    graded = GradedStudy(prediction, lines, False, "benchmark", "phantoms only")

    def write() -> None:
        write_report(page, study, graded, sections_of(graded), default_wording())

    write()
    writing = statistics.median(cpu(write)[1] for _ in range(_OPENINGS))
    seen = opening(page)
    return [
        str(sum(len(v.slices) for v in study.volumes)),
        number(page.stat().st_size / 1e6),
        number(grading),
        number(writing),
        number(writing / grading),
        "" if seen is None else number(seen),
    ]


def main() -> int:
    """Measure and print."""
    if not sys.argv[1:]:
        print(__doc__)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        rows = [row(path, Path(folder, "report.html")) for path in sys.argv[1:]]
    header = ["slices", "MB", "grading, CPU s", "page, CPU s", "ratio", "usable after, s"]
    print(markdown_table(header, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
