"""Plots as PNG: learning curves of a run; kappa, reliability and confusion for a page."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lumbargrade.domain.vocabulary import Condition, Grade, plain_name
from lumbargrade.files.tables import read_table
from lumbargrade.files.writing import atomic_path
from lumbargrade.scoring.agreement import ALL, BY_LEVEL, HumanBand, Part
from lumbargrade.scoring.measures import ReliabilityBin

_STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
_COLORS = {Grade.NORMAL_MILD: "#2a86bf", Grade.MODERATE: "#a98d00", Grade.SEVERE: "#d4501f"}
#: Condition -> name of a set of probabilities -> grade -> bins.
Curves = Mapping[Condition, Mapping[str, Mapping[Grade, Sequence[ReliabilityBin]]]]


def _png(
    draw: Callable[[Any], None],
    size: tuple[float, float],
    style: Mapping[str, object],
    dpi: int = 130,
) -> bytes:
    """PNG of what ``draw`` puts on a matplotlib figure of ``size`` inches."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(dict(style)):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=dpi, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _data_uri(draw: Callable[[Any], None], size: tuple[float, float]) -> str:
    """The same as a data URI, for the picture of a page."""
    content = base64.b64encode(_png(draw, size, _STYLE)).decode("ascii")
    return f"data:image/png;base64,{content}"


def draw_curves(metrics: Path, out: Path, title: str = "") -> None:
    """Draw loss, validation score, loss parts and learning rate by epoch.

    Args:
        metrics: CSV with a row per epoch, as training writes it. If a restart
            (``train.restart_from``) sets the epoch back, the curves are broken there.
        out: the PNG, written atomically.
        title: heading.
    """
    rows = [row.cells for row in read_table(metrics)]

    def series(column: str) -> tuple[list[float], list[float]]:
        epochs, values = [0.0], [math.nan]
        for row in rows:
            if not row.get(column):
                continue
            if int(row["epoch"]) <= epochs[-1]:  # a restart: NaN breaks the line
                epochs.append(math.nan)
                values.append(math.nan)
            epochs.append(int(row["epoch"]))
            values.append(float(row[column]))
        return epochs[1:], values[1:]

    columns = [c for c in (rows[0] if rows else {}) if c.startswith("train_")]
    parts = [c for c in columns if c != "train_loss" and not c.startswith("train_n_")]

    def draw(figure: Any) -> None:
        axes = figure.subplots(2, 2)
        axes[0, 0].plot(*series("train_loss"), marker=".")
        axes[0, 0].set_title("training loss")
        axes[0, 1].plot(*series("val_score"), marker=".", color="tab:red")
        axes[0, 1].set_title("validation score (weighted log loss)")
        for part in parts:
            axes[1, 0].plot(*series(part), marker=".", label=part.removeprefix("train_"))
        axes[1, 0].set_title("loss parts")
        axes[1, 0].set_yscale("log")
        if parts:
            axes[1, 0].legend()
        axes[1, 1].plot(*series("lr"), color="tab:green")
        axes[1, 1].set_title("learning rate")
        for axis in axes[1]:
            axis.set_xlabel("epoch")
        figure.suptitle(title)

    style = {"font.size": 9, "axes.grid": True, "grid.alpha": 0.3}
    with atomic_path(out) as temporary:
        temporary.write_bytes(_png(draw, (9, 5.4), style, dpi=110))


def draw_reliability(curves: Curves) -> str:
    """A panel per condition and grade: observed share of the grade by predicted probability."""

    def draw(figure: Any) -> None:
        grid = figure.subplots(len(curves), len(Grade), squeeze=False)
        for axes, (condition, sets) in zip(grid, curves.items(), strict=True):
            for axis, grade in zip(axes, Grade, strict=True):
                axis.plot([0, 1], [0, 1], color="0.7", lw=1, zorder=0)
                for number, (name, by_grade) in enumerate(sets.items()):
                    label = name if len(sets) > 1 else None
                    _curve(axis, by_grade[grade], _COLORS[grade], label, second=number > 0)
                axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
                axis.set_title(f"{plain_name(condition)}: {grade.label.lower()}", fontsize=9)
                axis.grid(alpha=0.25)
                if len(sets) > 1:
                    axis.legend(frameon=False, loc="upper left")
        for axis in grid[-1]:
            axis.set_xlabel("predicted probability")
        for axis in grid[:, 0]:
            axis.set_ylabel("observed share")

    return _data_uri(draw, (9.6, 3.3 * len(curves)))


def _curve(
    axis: Any, bins: Sequence[ReliabilityBin], color: str, label: str | None, *, second: bool
) -> None:
    x, y = [b.predicted for b in bins], [b.observed for b in bins]
    # a percentile interval need not contain the estimate
    down = [max(0.0, b.observed - b.low) if np.isfinite(b.low) else 0.0 for b in bins]
    up = [max(0.0, b.high - b.observed) if np.isfinite(b.high) else 0.0 for b in bins]
    axis.errorbar(
        x,
        y,
        yerr=(down, up),
        color=color,
        ls="--" if second else "-",
        marker="s" if second else "o",
        mfc="white" if second else color,
        ms=4,
        lw=1.2,
        elinewidth=0.8,
        label=label,
    )


def draw_confusion(parts: Sequence[Part]) -> str:
    """A matrix per condition: counts, and their share of the reference grade as text and shade."""
    whole = [p for p in parts if p.by == ALL]

    def draw(figure: Any) -> None:
        labels = [g.label for g in Grade]
        for axis, part in zip(figure.subplots(1, len(whole), squeeze=False)[0], whole, strict=True):
            counts = np.array(part.agreement.confusion)
            share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
            for (i, j), n in np.ndenumerate(counts):
                text = f"{n}\n{share[i, j]:.0%}" if counts[i].sum() else "0"
                color = "white" if share[i, j] > 0.55 else "black"
                axis.text(j, i, text, ha="center", va="center", color=color)
            axis.set_xticks(range(len(labels)), labels)
            axis.set_yticks(range(len(labels)), labels, rotation=90, va="center")
            axis.set(xlabel="predicted", ylabel="true", title=plain_name(part.condition))

    return _data_uri(draw, (3.4 * len(whole), 3.5))


def draw_kappa(parts: Sequence[Part], bands: Sequence[HumanBand]) -> str:
    """Kappa of each condition and level with its interval; a band shows kappa between readers."""
    shown = [p for p in parts if p.by in (ALL, BY_LEVEL)]

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        for condition in dict.fromkeys(p.condition for p in shown):
            rows = [i for i, p in enumerate(shown) if p.condition is condition]
            top, bottom = rows[0] - 0.45, rows[-1] + 0.45
            for band in (b for b in bands if b.condition is condition):
                ends = [band.low, band.high]
                if band.low == band.high:
                    axis.plot(ends, [top, bottom], color="#8a6fb0", lw=1.5, ls=":", zorder=1)
                else:
                    axis.fill_betweenx([top, bottom], *ends, color="#8a6fb0", alpha=0.25, lw=0)
        for row, part in enumerate(shown):
            kappa = part.agreement.shown("kappa")
            color = "#1d5f8a" if part.by == ALL else "#6c9dbd"
            if np.isfinite(kappa.low):
                axis.plot([kappa.low, kappa.high], [row, row], color=color, lw=1.6)
            if np.isfinite(kappa.value):
                axis.plot(kappa.value, row, "o", color=color, ms=6 if part.by == ALL else 4.5)
            else:
                axis.text(0.01, row, kappa.note, va="center", fontsize=8, color="0.4")
        names = [plain_name(p.condition) if p.by == ALL else p.value for p in shown]
        axis.set_yticks(range(len(shown)), names)
        axis.set_ylim(len(shown) - 0.4, -0.6)
        lowest = min((p.agreement.shown("kappa").low for p in shown), default=0.0)
        axis.set_xlim(min(-0.05, lowest if np.isfinite(lowest) else 0.0), 1.03)
        axis.axvline(0, color="0.6", lw=0.8)
        axis.set_xlabel("kappa (quadratic weights for these results)")
        axis.grid(axis="x", alpha=0.25)

    return _data_uri(draw, (8.2, 1.1 + 0.27 * len(shown)))
