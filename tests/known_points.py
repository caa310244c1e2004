"""A first stage that knows the labels of a store: it puts every point where it is marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lumbargrade.config import ViewName
from lumbargrade.domain.vocabulary import Condition, SeriesKind
from lumbargrade.grading.members import Member
from lumbargrade.inference.base import Arrays, Engine
from lumbargrade.inference.model_folder import ModelMeta
from lumbargrade.inference.series import SeriesInference, SeriesScores
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.sampling.series import Sample
from small_models import small_recipe

#: What the points of a view are.
CONDITIONS: dict[ViewName, Condition] = {
    "sagittal_t1": Condition.FORAMINAL,
    "sagittal_t2": Condition.CANAL,
}


class NoEngine:
    """An engine that is never asked."""

    name = "none"

    def run(self, inputs: Arrays) -> Arrays:
        raise AssertionError("asked all the same")


class KnownPoints(SeriesInference):
    """Reads the points of a series off the labels of its store; grades nothing."""

    def __init__(self, store: VolumeStore, view: ViewName) -> None:
        condition, kind = CONDITIONS[view], SeriesKind[view.upper()]
        recipe = small_recipe("keypoints", view)
        super().__init__(recipe, condition, kind, "3d", graded=False)
        self.known = {(r.study_id, r.series_id): r.points for r in store.rows(condition)}

    def run(self, engine: Engine, sample: Sample, *, flip: bool = False) -> SeriesScores:
        voxels = self.known[sample.study_id, sample.series_id].astype(np.float64)
        points = sample.maps.from_native(voxels)
        return SeriesScores(np.full((len(self.targets), 3), np.nan), points[:, :2], points[:, 2])


def known_guide(store: VolumeStore, view: ViewName, **meta: Any) -> Member:
    """A guide that places the foramina (T1) or the canal (T2) of the store's studies."""
    known = KnownPoints(store, view)
    return Member(Path(f"known-{view}"), ModelMeta(known.recipe, **meta), known, NoEngine())
