"""Learning curves of a run as a picture."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from lumbargrade.domain.files import atomic_path


def draw_curves(metrics: Path, out: Path, title: str = "") -> None:
    """Draw loss, validation score, loss parts and learning rate by epoch.

    Args:
        metrics: CSV with a row per epoch, as the trainer writes it. Where a restart
            (``train.restart_from``) sets the epoch back, curves are interrupted.
        out: PNG.
        title: heading.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with metrics.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))

    def series(column: str) -> tuple[list[float], list[float]]:
        epochs, values = [0.0], [math.nan]
        for row in rows:
            if not row.get(column):
                continue
            if int(row["epoch"]) <= epochs[-1]:  # a restart went back: the line is broken there
                epochs.append(math.nan)
                values.append(math.nan)
            epochs.append(int(row["epoch"]))
            values.append(float(row[column]))
        return epochs[1:], values[1:]

    columns = [c for c in (rows[0] if rows else {}) if c.startswith("train_")]
    parts = [c for c in columns if c != "train_loss" and not c.startswith("train_n_")]
    with mpl.rc_context({"font.size": 9, "axes.grid": True, "grid.alpha": 0.3}):
        figure = Figure(figsize=(9, 5.4), layout="constrained")
        FigureCanvasAgg(figure)
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
        with atomic_path(out) as temporary:
            figure.savefig(temporary, dpi=110)
