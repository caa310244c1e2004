"""Pictures of a few validation series after each epoch, true beside predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lumbargrade.domain.findings import StudyPrediction
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
