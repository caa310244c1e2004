"""A first stage that knows the labels of a store: it puts every point where it is marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from lumbargrade.config import ViewName
from lumbargrade.grading.members import Member
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.checkpoint import ModelMeta
from lumbargrade.models.keypoints import SagittalKeypoints
from lumbargrade.models.series_task import Batch, SeriesScores
from small_models import small_recipe


class KnownPoints(SagittalKeypoints):
    """Reads the points of a series off the labels of its store; grades nothing."""

    def __init__(self, store: VolumeStore, view: ViewName) -> None:
        super().__init__(small_recipe("keypoints", view))
        self.known = {(r.study_id, r.series_id): r.points for r in store.rows(self.condition)}

    def run(self, network: nn.Module, batch: Batch, *, flip: bool = False) -> SeriesScores:
        xy, z = [], []
        for sample in batch.samples:
            voxels = self.known[sample.study_id, sample.series_id].astype(np.float64)
            points = sample.maps.from_native(voxels)
            xy.append(points[:, :2])
            z.append(points[:, 2])
        nothing = np.full((len(xy), len(self.targets), 3), np.nan)
        return SeriesScores(nothing, np.array(xy), np.array(z))


def known_guide(store: VolumeStore, view: ViewName, **meta: Any) -> Member:
    """A guide that places the foramina (T1) or the canal (T2) of the store's studies."""
    task = KnownPoints(store, view)
    return Member(Path(f"known-{view}"), ModelMeta(task.recipe, **meta), task, nn.Identity())
