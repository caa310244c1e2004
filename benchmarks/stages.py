"""One stage and two stages: CPU time per study and peak memory of ``submit``.

Untrained ``cpu-small`` models, so what is timed is reading, cropping and the networks themselves.
``python -m benchmarks.stages`` prints the section of docs/benchmarks.md.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.common import Row, Section, main, number, progress, ratio, run_child
from benchmarks.studies import make_studies, named, save_untrained

#: System -> its recipes.
SYSTEMS = {
    "one stage, sagittal": ("cpu-small/foraminal", "cpu-small/canal"),
    "one stage, all 25": ("cpu-small/foraminal", "cpu-small/canal", "cpu-small/subarticular"),
    "two stages": ("cpu-small/keypoints-t1", "cpu-small/keypoints-t2", "cpu-small/two-stage"),
}


def run(quick: bool = False) -> list[Row]:
    """One row per system; every run is a process of its own."""
    studies = 2 if quick else 20
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        progress(f"  making {named(studies)} and models")
        data = make_studies(root / "data", studies, split="test")
        for system, recipes in SYSTEMS.items():
            progress(f"  {system}")
            models = root / system
            save_untrained(models, recipes)
            options = ["--models", models, "--device", "cpu", "--out", root / "out.csv"]
            cost = run_child("benchmarks.child", "submit", data, *options)
            rows.append(
                {
                    "system": system,
                    "studies": studies,
                    "ms": 1e3 * cost["cpu_seconds"] / studies,
                    "peak_mib": cost["peak_mib"],
                    "work_mib": cost["work_mib"],
                }
            )
    return rows


def sections(rows: list[Row]) -> list[Section]:
    """One table."""
    first, last = rows[1], rows[-1]
    shows = (
        f"Two stages take {ratio(last['ms'] / first['ms'])} of the CPU time per study and "
        f"{ratio(last['peak_mib'] / first['peak_mib'])} of the peak memory of one stage that "
        "grades the same 25 findings."
    )
    cells = [
        [
            row["system"],
            number(row["ms"]),
            ratio(row["ms"] / first["ms"]),
            number(row["peak_mib"]),
            ratio(row["peak_mib"] / first["peak_mib"]),
            number(row["work_mib"]),
        ]
        for row in rows
    ]
    return [
        Section(
            "One stage and two",
            shows,
            first["system"],
            f"`submit` on {named(first['studies'])} with one untrained `cpu-small` model per "
            "recipe, foraminal and T1 keypoints with their mirrored volume; DICOM to submission in "
            "a process of its own, whose start is not counted.",
            ["system", "CPU ms per study", "ratio", "peak MiB", "ratio", "of it the work's"],
            cells,
        )
    ]


if __name__ == "__main__":
    main("benchmarks.stages", run, sections)
