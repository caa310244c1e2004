"""Tables, plots and the cost model of ``benchmarks.scaling``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from benchmarks.common import ROOT, markdown_table, number, ratio, with_figures

from lumbargrade.files.writing import write_text

if TYPE_CHECKING:
    from benchmarks.scaling import Run

PAGE = ROOT / "docs" / "scaling.md"
PLOT = ROOT / "docs" / "images" / "scaling.png"

#: Studies of the example in the cost model.
MANY = 1_000_000

_COLOURS = ("#1f5fa8", "#c4561f", "#3c8a4e", "#7a4ba0")

Line = tuple[str, int]


def lines(runs: Sequence[Run]) -> dict[Line, list[Run]]:
    """Runs by launcher and number of workers, each in the order of studies."""
    found: dict[Line, list[Run]] = {}
    for run in sorted(runs, key=lambda r: (r.launcher, r.workers, r.studies)):
        found.setdefault((run.launcher, run.workers), []).append(run)
    return found


def slope(runs: Sequence[Run], name: str) -> tuple[float, float]:
    """Start and cost per study of a straight line through the runs.

    Raises:
        ValueError: if there are fewer than two numbers of studies.
    """
    studies = [run.studies for run in runs]
    if len(set(studies)) < 2:
        raise ValueError("a line needs two numbers of studies; give more to --studies")
    per, start = np.polyfit(studies, [getattr(run, name) for run in runs], 1)
    return float(start), float(per)


def tables(runs: Sequence[Run], *, wall: bool = True) -> str:
    """Every run, the growth with the number of studies, and the cost of a study, in Markdown.

    Args:
        runs: what was measured.
        wall: whether wall time says anything.
    """
    parts = [_run_table(runs, wall=wall)]
    grown = {key: row for key, row in lines(runs).items() if len({r.studies for r in row}) > 1}
    if grown:
        parts += [_growth_table(grown), _cost_table(runs, grown)]
    return "\n\n".join(parts)


def _name(line: Line) -> str:
    launcher, workers = line
    if line == ("local", 1):
        return "one process"
    where = "processes" if launcher == "local" else "Ray workers"
    return f"{workers} {where if workers > 1 else where.removesuffix('s')}"


def _run_table(runs: Sequence[Run], *, wall: bool) -> str:
    header = ["grade", "studies", "CPU s / study", "driver MiB", "worker MiB"]
    cells = []
    for line, row in lines(runs).items():
        for run in row:
            cell = [_name(line), str(run.studies), number(run.cpu_s / run.studies)]
            cell += [number(run.driver_mib), number(run.worker_mib)]
            cells.append([*cell, *([number(run.wall_s / run.studies)] if wall else [])])
    return markdown_table([*header, *(["wall s / study"] if wall else [])], cells)


def _growth_table(grown: dict[Line, list[Run]]) -> str:
    header = (
        *("grade", "studies, times", "CPU, times", "driver KiB / further study"),
        "second run, CPU ms / study",
    )
    cells = []
    for line, row in grown.items():
        first, last = row[0], row[-1]
        cells.append(
            [
                *(_name(line), number(last.studies / first.studies)),
                number(last.cpu_s / first.cpu_s),
                number(slope(row, "driver_mib")[1] * 1024),
                number(slope(row, "again_cpu_s")[1] * 1000),
            ]
        )
    return markdown_table(header, cells)


def costs(runs: Sequence[Run], row: Sequence[Run]) -> dict[str, float]:
    """Constants of the cost model, per study.

    Args:
        runs: all runs, for the sizes of files.
        row: runs with one number of workers, for CPU time.
    """
    studies = sum(run.studies for run in runs)
    return {
        "cpu_s": slope(row, "cpu_s")[1],
        "start_s": slope(row, "cpu_s")[0],
        "input_mb": sum(run.input_bytes for run in runs) / studies / 1e6,
        "input_files": sum(run.input_files for run in runs) / studies,
        "result_mb": sum(run.result_bytes for run in runs) / studies / 1e6,
        "result_files": sum(run.result_files for run in runs) / studies,
        "overview_kb": sum(run.overview_bytes for run in runs) / studies / 1e3,
    }


def _cost_table(runs: Sequence[Run], grown: dict[Line, list[Run]]) -> str:
    c = costs(runs, next(iter(grown.values())))
    many = MANY / 1e6
    rows = [
        ("CPU", f"c = {number(c['cpu_s'])} s", f"{number(MANY * c['cpu_s'] / 3600)} core hours"),
        ("images read", f"i = {number(c['input_mb'])} MB", f"{number(c['input_mb'] * many)} TB"),
        (
            "results written",
            f"r = {number(c['result_mb'])} MB",
            f"{number(c['result_mb'] * many)} TB",
        ),
        (
            "files read (GET)",
            f"f = {number(c['input_files'])}",
            f"{number(c['input_files'] * many)} million",
        ),
        (
            "files written (PUT)",
            f"p = {number(c['result_files'])}",
            f"{number(c['result_files'] * many)} million",
        ),
        ("overview", f"{number(c['overview_kb'])} kB", f"{number(c['overview_kb'] * many)} GB"),
    ]
    return markdown_table(("", "per study", f"for {MANY:,} studies"), [list(row) for row in rows])


def efficiency(runs: Sequence[Run]) -> dict[str, list[tuple[int, float, float]]]:
    """(workers, efficiency in wall time, CPU per study against the fewest workers), by launcher.

    The runs with the most studies that all numbers of workers have are compared.
    """
    found: dict[str, list[tuple[int, float, float]]] = {}
    for launcher in dict.fromkeys(run.launcher for run in runs):
        mine = [run for run in runs if run.launcher == launcher]
        workers = sorted({run.workers for run in mine})
        common = set.intersection(*({r.studies for r in mine if r.workers == w} for w in workers))
        if len(workers) < 2 or not common:
            continue
        row = [r for r in mine if r.studies == max(common)]
        row.sort(key=lambda r: r.workers)
        base = row[0]
        found[launcher] = [
            (r.workers, base.wall_s * base.workers / (r.wall_s * r.workers), r.cpu_s / base.cpu_s)
            for r in row
        ]
    return found


def draw(runs: Sequence[Run], out: Path, *, wall: bool = True) -> None:
    """Plot time and memory against studies, and efficiency against workers."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4))
    for colour, (line, row) in zip(_COLOURS * len(runs), lines(runs).items(), strict=False):
        studies = [run.studies for run in row]
        cpu = [run.cpu_s for run in row]
        left.plot(studies, cpu, "o-", color=colour, label=_name(line), markersize=4)
        ends = np.array([studies[0], studies[-1]])
        left.plot(ends, cpu[0] / studies[0] * ends, "--", color="#888888", linewidth=0.8)
        drivers, workers = [r.driver_mib for r in row], [r.worker_mib for r in row]
        middle.plot(studies, drivers, "o-", color=colour, label=f"{_name(line)}: driver")
        if line != ("local", 1):
            middle.plot(studies, workers, "s:", color=colour, label=f"{_name(line)}: a worker")
    for colour, (launcher, points) in zip(_COLOURS, efficiency(runs).items(), strict=False):
        counts, times, cpu = zip(*points, strict=True)
        if wall:
            right.plot(counts, times, "o-", color=colour, label=f"{launcher}: wall time")
        right.plot(counts, [1 / c for c in cpu], "s:", color=colour, label=f"{launcher}: CPU time")
        right.set_xticks(counts)
    left.set_ylabel("CPU seconds")
    middle.set_ylabel("peak memory, MiB")
    right.set_ylabel("efficiency")
    left.set_title("dashed: in proportion to the studies", fontsize=8)
    for axis, what in ((left, "studies"), (middle, "studies"), (right, "workers")):
        axis.set_xlabel(what)
        axis.set_ylim(bottom=0)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=7, frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    plt.close(figure)


def write_page(runs: Sequence[Run], machine: str, *, wall: bool = True) -> None:
    """Rewrite the figures of docs/scaling.md."""
    busy = "" if wall else " Other work used the machine at the same time."
    shown = [f"Measured on {machine}{busy}", tables(runs, wall=wall)]
    for launcher, points in efficiency(runs).items():
        workers, times, cpu = points[-1]
        said = f"efficiency {ratio(times)} in wall time; " if wall else ""
        names = [_name((launcher, count)) for count in (workers, points[0][0])]
        shown.append(f"{' against '.join(names)}: {said}CPU time {ratio(cpu)} times.")
    write_text(PAGE, with_figures(PAGE, "\n\n".join(shown)))
    draw(runs, PLOT, wall=wall)
