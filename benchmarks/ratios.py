"""The ratios of docs/benchmarks.md, from the passes that `benchmarks.passes` made.

A pass runs every benchmark once, the first of a group being its baseline. A ratio is taken within
a pass, so that what slows the machine for a while slows both. Shown is the median over the passes,
with the smallest and the largest if they differ in the digits that are shown.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.common import markdown_table, ratio

#: Figures beside the time, as ``extra_info`` names them -> heading.
EXTRA = {"peak_mib": "peak memory", "work_mib": "of it the work's", "disk_mib": "disk"}

#: A benchmark as pytest-benchmark stores it.
Benchmark = Mapping[str, Any]


def amount(benchmark: Benchmark) -> int | None:
    """The amount of work in a benchmark's name, as in ``bench_studies[10]``; None without one."""
    found = re.search(r"\[(\d+)\]$", benchmark["name"])
    return int(found[1]) if found else None


def label(benchmark: Benchmark) -> str:
    """A benchmark's name in the table."""
    name = str(benchmark["name"].split("[")[0].removeprefix("bench_").replace("_", " "))
    count = amount(benchmark)
    return name if count is None else f"{count} {name if count > 1 else name.removesuffix('s')}"


def groups(passes: Sequence[Sequence[Benchmark]]) -> dict[str, list[list[Benchmark]]]:
    """Group -> a list for each of its benchmarks, with its measurement in each pass.

    Groups and benchmarks are in the order in which they ran.

    Raises:
        ValueError: if the passes did not run the same benchmarks.
    """
    names = [[(b["group"], b["name"]) for b in one] for one in passes]
    if any(other != names[0] for other in names[1:]):
        raise ValueError("the passes ran different benchmarks; delete the old ones")
    found: dict[str, list[list[Benchmark]]] = {}
    for measured in zip(*passes, strict=True):
        found.setdefault(measured[0]["group"], []).append(list(measured))
    return found


def table(passes: Sequence[Sequence[Benchmark]]) -> str:
    """The table: one row for each benchmark."""
    cells = [
        [group if row is rows[0] else "", label(row[0]), *against(row, rows[0])]
        for group, rows in groups(passes).items()
        for row in rows
    ]
    return markdown_table(["", "", "time", *EXTRA.values()], cells, words=2)


def against(row: Sequence[Benchmark], baseline: Sequence[Benchmark]) -> list[str]:
    """Figures of a benchmark over those of its baseline; empty where there is none."""
    cells = [spread([seconds(a) / seconds(b) for a, b in zip(row, baseline, strict=True)])]
    for figure in EXTRA:
        pairs = zip(row, baseline, strict=True)
        values = [(a["extra_info"].get(figure), b["extra_info"].get(figure)) for a, b in pairs]
        cells.append(spread([mine / other for mine, other in values if mine and other]))
    return cells


def seconds(benchmark: Benchmark) -> float:
    """The time of a benchmark in its pass."""
    return float(benchmark["stats"]["min"])


def spread(values: Sequence[float]) -> str:
    """Median, and smallest to largest; empty without values."""
    if not values:
        return ""
    middle, low, high = map(ratio, (statistics.median(values), min(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"
