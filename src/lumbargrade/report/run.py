"""Pictures of a training run: learning curves, and a few validation series after each epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.files.tables import read_table
from lumbargrade.files.writing import atomic_path
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.task import Row
from lumbargrade.report.drawing import (
    RGB,
    draw_series,
    predicted_marks,
    save_image,
    series_shown,
    true_marks,
)


class EpochPictures:
    """Draws the same validation series after each epoch, so that progress can be leafed through.

    Args:
        store: volumes.
        folder: the run's folder; pictures go to ``epochs/001.png`` in it.
        count: how many series.
    """

    def __init__(self, store: VolumeStore, folder: Path, count: int) -> None:
        self.store = store
        self.folder = folder / "epochs"
        self.count = count

    def __call__(
        self,
        epoch: int,
        rows: Sequence[Row],
        predictions: Sequence[StudyPrediction],
    ) -> None:
        """Draw the first series of the fold, one below the other."""
        lines: list[RGB] = []
        for row, prediction in zip(rows, predictions, strict=True):
            for series in series_shown(row, prediction):
                if len(lines) < self.count:
                    volume = self.store.volume(row.study_id, series)
                    marks = predicted_marks(prediction, series)
                    lines.append(draw_series(volume, marks, true_marks(row, series), most=2))
        if not lines:
            return
        width = max(line.shape[1] for line in lines)
        padded = [np.pad(v, ((0, 4), (0, width - v.shape[1]), (0, 0))) for v in lines]
        save_image(self.folder / f"{epoch:03d}.png", np.concatenate(padded))


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

    rows = [row.cells for row in read_table(metrics)]

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
