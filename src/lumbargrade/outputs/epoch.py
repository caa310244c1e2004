"""Pictures of a few validation series after each epoch, true beside predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lumbargrade.dataset.rows import SeriesRow
from lumbargrade.dataset.store import VolumeStore
from lumbargrade.outputs.marks import predicted_marks, true_marks
from lumbargrade.outputs.overlay import draw_series, save_image
from lumbargrade.tasks.inference import SeriesPrediction


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
        self, epoch: int, rows: Sequence[SeriesRow], predictions: Sequence[SeriesPrediction]
    ) -> None:
        """Draw the first series of the fold, one below the other."""
        lines = []
        for row, prediction in list(zip(rows, predictions, strict=True))[: self.count]:
            volume = self.store.volume(row.study_id, row.series_id)
            marks = predicted_marks(prediction)
            lines.append(draw_series(volume, marks, true_marks(row), most=2))
        width = max(line.shape[1] for line in lines)
        padded = [np.pad(v, ((0, 4), (0, width - v.shape[1]), (0, 0))) for v in lines]
        save_image(self.folder / f"{epoch:03d}.png", np.concatenate(padded))
