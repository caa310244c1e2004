"""The table of ratios in docs/benchmarks.md.

``python -m benchmarks.ratios build/benchmarks.json`` prints it from the file that ``make bench``
writes. The first benchmark of a group is its baseline.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import markdown_table, ratio

#: Figures beside the time, as ``extra_info`` names them -> heading.
EXTRA = {"peak_mib": "peak memory", "work_mib": "of it the work's", "disk_mib": "disk"}


def label(benchmark: dict[str, Any]) -> str:
    """A benchmark's name in the table."""
    return str(benchmark["name"].split("[")[0].removeprefix("bench_").replace("_", " "))


def table(benchmarks: list[dict[str, Any]]) -> str:
    """The table: one row for each benchmark, in the order in which they ran."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for benchmark in benchmarks:
        groups.setdefault(benchmark["group"], []).append(benchmark)
    cells = [
        [name if row is rows[0] else "", label(row), *against(row, rows[0])]
        for name, rows in groups.items()
        for row in rows
    ]
    return markdown_table(["", "", "time", *EXTRA.values()], cells, words=2)


def against(row: dict[str, Any], baseline: dict[str, Any]) -> list[str]:
    """Figures of a benchmark over those of its baseline; empty where there is none."""
    cells = [ratio(row["stats"]["min"] / baseline["stats"]["min"])]
    for figure in EXTRA:
        mine, other = (b["extra_info"].get(figure) for b in (row, baseline))
        cells.append(ratio(mine / other) if mine and other else "")
    return cells


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["benchmarks"]))
