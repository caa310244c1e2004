"""``submit``: CPU time per study and peak memory by the number of studies.

Two small untrained models, so that what is timed is everything but the size of a network.
``python -m benchmarks.submit`` prints the section of docs/benchmarks.md.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.common import (
    Row,
    Section,
    cost_against_work,
    main,
    progress,
    run_child,
    work_table,
)
from benchmarks.studies import make_studies, named, repeat_studies, save_untrained

RECIPES = ("cpu-small/canal", "cpu-small/foraminal")


def run(quick: bool = False) -> list[Row]:
    """One row per number of studies; every run is a process of its own."""
    base, repeats = (1, (1, 2)) if quick else (10, (1, 3, 10))
    found: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        progress(f"  making {named(base)} and two models")
        save_untrained(root / "models", RECIPES)
        data = make_studies(root / "data", base, split="test")
        sets = {base * n: repeat_studies(data, root / f"data{n}", n) for n in repeats}
        for studies, images in sets.items():
            progress(f"  {named(studies)}")
            options = ["--models", root / "models", "--device", "cpu", "--out", root / "out.csv"]
            found[studies] = run_child("benchmarks.child", "submit", images, *options)
    return [
        {
            "studies": studies,
            "ms": 1e3 * cost["cpu_seconds"] / studies,
            "peak_mib": cost["peak_mib"],
            "work_mib": cost["work_mib"],
        }
        for studies, cost in found.items()
    ]


def sections(rows: list[Row]) -> list[Section]:
    """One table."""
    return [
        Section(
            "`submit` by number of studies",
            cost_against_work(rows),
            named(rows[0]["studies"]),
            "Two untrained `cpu-small` models, canal and foraminal, the latter with its mirrored "
            "volume; DICOM to submission in a process of its own, whose start is not counted; "
            "*the work's* memory is what it holds more than after its "
            "imports. The studies are ten phantom "
            "studies (RLE), listed again and again.",
            *work_table(rows),
        )
    ]


if __name__ == "__main__":
    main("benchmarks.submit", run, sections)
