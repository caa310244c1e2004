"""Plots of cost against work: time and memory by studies, slices, image size or workers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from benchmarks.ratios import Benchmark, amount, groups, seconds
from matplotlib.axes import Axes


def draw(passes: Sequence[Sequence[Benchmark]], out: Path) -> None:
    """Draw a row for every group whose benchmarks differ by an amount of work.

    Points are passes; the line joins their medians. The dashed line is a cost in proportion to
    the work, through the smallest amount.

    Raises:
        ValueError: if there is no such group.
    """
    chosen = {
        name: rows
        for name, rows in groups(passes).items()
        if len(rows) > 1 and all(amount(row[0]) for row in rows)
    }
    if not chosen:
        raise ValueError("no benchmark names an amount of work")
    figure, axes = plt.subplots(len(chosen), 2, figsize=(9, 2.8 * len(chosen)), squeeze=False)
    for (name, rows), (left, right) in zip(chosen.items(), axes, strict=True):
        work = [amount(row[0]) or 0 for row in rows]
        per = [[float(one["extra_info"].get("per", 1)) for one in row] for row in rows]
        times = [
            [seconds(one) * parts for one, parts in zip(row, mine, strict=True)]
            for row, mine in zip(rows, per, strict=True)
        ]
        left.set_title(name.replace("`", ""), loc="left", fontsize=9)
        _curve(left, work, times, "seconds", proportional="workers" not in name)
        memory = [[one["extra_info"].get("peak_mib") for one in row] for row in rows]
        if all(value for row in memory for value in row):
            _curve(right, work, memory, "peak memory, MiB", proportional=False)
        else:
            right.set_visible(False)
        for axis in (left, right):
            axis.set_xlabel(name.rpartition("by ")[2], fontsize=8)
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    plt.close(figure)


def _curve(
    axis: Axes,
    work: Sequence[int],
    values: Sequence[Sequence[float]],
    what: str,
    *,
    proportional: bool,
) -> None:
    middle = [float(np.median(row)) for row in values]
    axis.plot(work, middle, color="#1f5fa8", linewidth=1.2)
    for at, row in zip(work, values, strict=True):
        axis.plot([at] * len(row), row, ".", color="#1f5fa8", markersize=5)
    if proportional:
        ends = np.array([min(work), max(work)])
        axis.plot(ends, middle[0] / work[0] * ends, "--", color="#888888", linewidth=0.8)
    axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
    axis.set_ylabel(what, fontsize=8)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
