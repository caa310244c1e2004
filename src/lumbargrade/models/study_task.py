"""Base class of tasks whose network sees crops around the levels of a study."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.geometry import apply_homography
from lumbargrade.domain.point import NOWHERE, Point
from lumbargrade.domain.vocabulary import KIND_OF, SeriesKind, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.inference.base import Engine
from lumbargrade.inference.crops import CropInference, native_voxel, place_of
from lumbargrade.lsdc.point_file import PointRow, read_points, refuse_seen
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.task import BatchT, Json, OutputT, Task
from lumbargrade.sampling.crops import Crop
from lumbargrade.sampling.study import StudyCrops, cut_study, draw_crops
from lumbargrade.sampling.study_rows import DEFAULT_JITTER, StudyRow, study_rows


@dataclass(frozen=True, eq=False)
class StudySample:
    """Crops and labels of one study.

    Attributes:
        study_id: the study.
        crops: crops of every view.
        grades: int8 (P,), -1 if not graded.
        truth: (P, 3) labelled points, patient LPS mm; NaN if there is none.
        volumes: the series, by id.
    """

    study_id: str
    crops: StudyCrops
    grades: NDArray[np.int8]
    truth: NDArray[np.float64]
    volumes: Mapping[str, Volume]

    def point_in(self, kind: SeriesKind, place: int, target: int) -> NDArray[np.float64] | None:
        """Return a target's labelled point in pixels and slice of a crop; None if outside."""
        crop = self.crops.views[kind][place]
        if not crop.valid.any() or not np.isfinite(self.truth[target]).all():
            return None
        return locate_in(crop, self.volumes[crop.series_id].from_patient(self.truth[target]))


class StudyTask(Task[StudyRow, StudySample, BatchT, OutputT]):
    """A task whose network sees crops around the levels of a study.

    Crops are cut around guide points. In training these are labels or the out-of-fold points of a
    first stage (``data.points``); in prediction they are the points that the first stage finds.

    Args:
        recipe: the task's recipe.

    Raises:
        UsageError: if the recipe does not have three class weights, or names a mean shape.
    """

    inference: CropInference

    def rows(self, store: VolumeStore, folds: Collection[int] | None = None) -> list[StudyRow]:
        """Return the studies with a grade and a guide point, from all folds or some.

        Raises:
            BadTable: if the file of points cannot be read.
            UsageError: if a point comes from a model that has seen its study.
        """
        predicted: dict[str, dict[Target, PointRow]] = {}
        if self.recipe.data.points:
            path = Path(self.recipe.data.points)
            predicted = read_points(path)
            refuse_seen(predicted, store.folds, path)
        return self._rows(store, folds, predicted)

    def rows_to_judge(
        self,
        store: VolumeStore,
        fold: int,
        guide_points: Mapping[str, Sequence[Point]] | None = None,
    ) -> list[StudyRow]:
        """Return the rows of a fold with ``guide_points`` as their only guide points, never labels.

        The file of points that the model was trained with is not needed.
        """
        rows = self._rows(store, {fold}, {})
        if guide_points is None:
            return rows
        return [
            replace(row, guides=tuple(guide_points.get(row.study_id, ())), guided_by_labels=False)
            for row in rows
        ]

    def _rows(
        self,
        store: VolumeStore,
        folds: Collection[int] | None,
        predicted: Mapping[str, Mapping[Target, PointRow]],
    ) -> list[StudyRow]:
        rows = study_rows(
            store,
            self.targets,
            predicted,
            include_wrong_left_points=self.recipe.data.include_wrong_left_points,
        )
        wanted = set(self.kinds)
        rows = [r for r in rows if wanted & {s.kind for s in r.series}]
        return [row for row in rows if folds is None or row.fold in folds]

    def sample(
        self, store: VolumeStore, row: StudyRow, rng: np.random.Generator | None = None
    ) -> StudySample:
        """Make one network input; it is augmented if ``rng`` is given."""
        volumes = [
            store.volume(s.study_id, s.series_id)
            for s in row.series
            if s.kind.sagittal or SeriesKind.AXIAL_T2 in self.kinds
        ]
        return self.sample_of(row, volumes, row.guides, rng, self._jitter(row))

    def _jitter(self, row: StudyRow) -> tuple[float, float, float]:
        fixed = self.recipe.augment.jitter_mm
        return (fixed, fixed, fixed) if fixed else row.jitter

    def sample_of(
        self,
        row: StudyRow,
        volumes: Sequence[Volume],
        guides: Sequence[Point],
        rng: np.random.Generator | None = None,
        jitter: tuple[float, float, float] = (DEFAULT_JITTER,) * 3,
        dropped: Collection[SeriesKind] = (),
    ) -> StudySample:
        """Make a sample from volumes and guide points, without the ``dropped`` views."""
        draw = None
        if rng is not None:
            draw = draw_crops(rng, self.recipe.augment, jitter, self.kinds)
        shown = [v for v in volumes if v.kind not in set(dropped)]
        crops = cut_study(shown, guides, self.recipe.crop, kinds=self.kinds, draw=draw)
        by_id = {v.series_id: v for v in volumes}
        grades = row.grades if rng is None else self._trainable(row, crops, by_id)
        return StudySample(row.study_id, crops, grades, row.points, by_id)

    def _trainable(
        self, row: StudyRow, crops: StudyCrops, volumes: Mapping[str, Volume]
    ) -> NDArray[np.int8]:
        """Return the grades to train with; those of levels that the guide missed become -1.

        If a first stage counts from the wrong disc, the crop of a label shows another level, so its
        image does not fit the label. A sagittal crop shows the next level too, so the label must
        also be the one nearest to the centre of the crop.
        """
        grades = row.grades.copy()
        for i, target in enumerate(row.targets):
            truth = row.truth.get(target)
            if truth is None:
                continue
            crop = crops.views[KIND_OF[target.condition]][place_of(target)]
            if crop.series_id != truth.series_id:
                continue
            middle = _middle_of(crop, volumes[crop.series_id])
            away = {
                t: float(np.linalg.norm(np.subtract(p.patient or NOWHERE, middle)))
                for t, p in row.truth.items()
                if (t.condition, t.side) == (target.condition, target.side)
            }
            if locate_in(crop, truth.voxel) is None or away[target] > min(away.values()):
                grades[i] = -1
        return grades

    def predict_row(
        self, engine: Engine, store: VolumeStore, row: StudyRow, *, flip: bool = False
    ) -> StudyPrediction:
        """Predict the study of a row."""
        return self.predict_sample(engine, self.sample(store, row))

    def predict_sample(self, engine: Engine, sample: StudySample) -> StudyPrediction:
        """Predict a study from its crops; the labels are not used."""
        return self.inference.predict_crops(engine, sample.study_id, sample.crops, sample.volumes)

    def notes(
        self, engine: Engine, store: VolumeStore, rows: Sequence[StudyRow]
    ) -> dict[str, Json]:
        """Count the validation studies by the origin of their guide points.

        Scores around labels are better than those around the points of a first stage.
        """
        labelled = sum(row.guided_by_labels for row in rows)
        return {
            "validated_around_labels": labelled,
            "validated_around_predictions": len(rows) - labelled,
        }


def locate_in(
    crop: Crop, voxel: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Convert a native voxel of a crop's series to pixels and slice of the crop, or None."""
    x, y, z = voxel
    away = np.where(crop.valid, np.abs(crop.zs - z), np.inf)
    at = int(away.argmin())
    if not away[at] <= 0.5:
        return None
    u, v = apply_homography(np.linalg.inv(crop.to_native[at]), np.array([x, y]))
    size = crop.image.shape[-1]
    inside = -0.5 <= u <= size - 0.5 and -0.5 <= v <= size - 0.5
    return np.array([u, v, float(at)]) if inside else None


def _middle_of(crop: Crop, volume: Volume) -> NDArray[np.float64]:
    """Return the centre of a crop, patient LPS mm."""
    centre = (crop.image.shape[-1] - 1) / 2
    return volume.to_patient(native_voxel(crop, centre, centre, len(crop.zs) // 2))
