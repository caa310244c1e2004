"""What the tasks have in common that look at levels one by one, in crops of several series."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lumbargrade.config import Recipe
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.geometry import apply_homography
from lumbargrade.domain.point import NOWHERE, Point
from lumbargrade.domain.reasons import joined, no_point, no_series, no_slice
from lumbargrade.domain.vocabulary import KIND_OF, TARGETS, Condition, Level, SeriesKind, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.lsdc.point_file import PointRow, read_points, refuse_seen
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.task import MASK_STRIDE, BatchT, Json, OutputT, Task, locate
from lumbargrade.sampling.crops import Crop
from lumbargrade.sampling.study import StudyCrops, cut_study, draw_crops
from lumbargrade.sampling.study_rows import DEFAULT_JITTER, StudyRow, study_rows


@dataclass(frozen=True, eq=False)
class StudySample:
    """One study as a network sees it.

    Attributes:
        study_id: where it comes from; -1 where it is no number.
        crops: crops of every view.
        grades: int8 (P,), -1 where not graded.
        truth: (P, 3) labelled points, patient LPS mm; NaN where there is none.
        volumes: the series, by id.
    """

    study_id: int
    crops: StudyCrops
    grades: NDArray[np.int8]
    truth: NDArray[np.float64]
    volumes: Mapping[str, Volume]

    def point_in(self, kind: SeriesKind, place: int, target: int) -> NDArray[np.float64] | None:
        """A target's labelled point in pixels and slice of a crop; None where it is outside."""
        crop = self.crops.views[kind][place]
        if not crop.valid.any() or not np.isfinite(self.truth[target]).all():
            return None
        return locate_in(crop, self.volumes[crop.series_id].from_patient(self.truth[target]))


class StudyTask(Task[StudyRow, StudySample, BatchT, OutputT]):
    """A task whose network sees crops around the levels of a study.

    Crops are cut around guide points: labels, or the out-of-fold points of a first stage
    (``data.points``) in training, and what the first stage finds in prediction.

    Args:
        recipe: the experiment.

    Raises:
        UsageError: if the recipe's class weights do not fit, or it names a mean shape.
    """

    needs_guides: ClassVar[bool] = True
    #: Conditions whose targets are looked at.
    shown: ClassVar[tuple[Condition, ...]]
    #: Kinds of series that crops are cut from.
    views: ClassVar[tuple[SeriesKind, ...]]

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        if recipe.data.mean_shape:
            raise UsageError(
                f"{recipe.name}: data.mean_shape {recipe.data.mean_shape!r}: only tasks that see "
                "a whole sagittal series align points to a mean shape; leave it out"
            )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        return self.shown

    @property
    def kinds(self) -> tuple[SeriesKind, ...]:
        return self.views

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(t for c in self.shown for t in TARGETS[c])

    def rows(self, store: VolumeStore, folds: Collection[int] | None = None) -> list[StudyRow]:
        """Studies with a grade and a point to start from, of all folds or of some.

        Raises:
            BadTable: if the file of points cannot be read.
            UsageError: if a point comes from a model that has seen its study.
        """
        predicted: dict[int, dict[Target, PointRow]] = {}
        if self.recipe.data.points:
            path = Path(self.recipe.data.points)
            predicted = read_points(path)
            refuse_seen(predicted, store.folds, path)
        return self._rows(store, folds, predicted)

    def rows_to_judge(
        self,
        store: VolumeStore,
        fold: int,
        guides: Mapping[int, Sequence[Point]] | None = None,
    ) -> list[StudyRow]:
        """Rows of a fold, with crops around ``guides`` alone, never around labels.

        The points that the model was trained with may be elsewhere, and are not needed.
        """
        rows = self._rows(store, {fold}, {})
        if guides is None:
            return rows
        return [
            replace(row, guides=tuple(guides.get(row.study_id, ())), guided_by_labels=False)
            for row in rows
        ]

    def _rows(
        self,
        store: VolumeStore,
        folds: Collection[int] | None,
        predicted: Mapping[int, Mapping[Target, PointRow]],
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
        """One network input; augmented where a source of randomness is given."""
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
        """A sample from volumes and guide points; ``dropped`` views are taken away."""
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
        """Grades that a crop can be trained with: not those of a level the guide missed.

        A first stage that counts from the wrong disc puts the crops of a label on another level;
        what is seen there says nothing of that label. A sagittal crop shows the next level too, so
        the label must also be the nearest to its middle.
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

    @abstractmethod
    def predict_samples(
        self, network: nn.Module, samples: Sequence[StudySample]
    ) -> list[StudyPrediction]:
        """Predictions of samples by a network in eval mode."""

    def predict_chunk(
        self, network: nn.Module, store: VolumeStore, rows: Sequence[StudyRow], *, flip: bool
    ) -> list[StudyPrediction]:
        """Predict a few rows of a store in one batch."""
        return self.predict_samples(network, [self.sample(store, row) for row in rows])

    def predict(
        self,
        network: nn.Module,
        study_id: str,
        volumes: Sequence[Volume],
        guides: Sequence[Point] = (),
        *,
        flip: bool = False,
    ) -> list[StudyPrediction]:
        """What a network finds in crops around the points of a first stage.

        A target that no view shows is absent, with the reason of each view.
        """
        sample = self.sample_of(self._unlabelled(study_id), volumes, guides)
        (found,) = self.predict_samples(network, [sample])
        there = {v.kind for v in volumes}
        unseen = {t: self._not_shown(t, sample.crops, there) for t in self.targets}
        found = replace(found, study_id=study_id)
        return [found.without({t: why for t, why in unseen.items() if why and self.conditions})]

    def _not_shown(
        self, target: Target, crops: StudyCrops, there: Collection[SeriesKind | None]
    ) -> str:
        """Why no view shows a target; empty where one does."""
        level = tuple(Level).index(target.level)
        sides = [place_of(target)] if target.side else [level, level + len(Level)]
        reasons = []
        for kind in self.kinds:
            cut = crops.cuts[level] if kind is SeriesKind.AXIAL_T2 else None
            if crops.covered[kind][sides].any():
                return ""
            if kind not in there:
                reasons.append(no_series([kind]))
            elif cut is not None and not cut.covered:
                reasons.append(no_slice(target.level, cut))
            else:
                reasons.append(no_point(target.level, kind))
        return joined(reasons)

    def _unlabelled(self, study_id: str) -> StudyRow:
        number = int(study_id) if study_id.isdecimal() else -1
        grades = np.full(len(self.targets), -1, np.int8)
        return StudyRow(number, -1, (), self.targets, grades, {}, ())

    def notes(
        self, network: nn.Module, store: VolumeStore, rows: Sequence[StudyRow]
    ) -> dict[str, Json]:
        """How the validation studies were guided: labels know more than a first stage does."""
        labelled = sum(row.guided_by_labels for row in rows)
        return {
            "validated_around_labels": labelled,
            "validated_around_predictions": len(rows) - labelled,
        }


def place_of(target: Target) -> int:
    """Which of a view's ten crops shows a target (the left one for a target without a side)."""
    return TARGETS[target.condition].index(target)


def locate_in(
    crop: Crop, voxel: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """A native voxel of a crop's series in pixels and slice of the crop; None where outside."""
    x, y, z = voxel
    away = np.where(crop.valid, np.abs(crop.zs - z), np.inf)
    at = int(away.argmin())
    if not away[at] <= 0.5:
        return None
    u, v = apply_homography(np.linalg.inv(crop.to_native[at]), np.array([x, y]))
    size = crop.image.shape[-1]
    inside = -0.5 <= u <= size - 0.5 and -0.5 <= v <= size - 0.5
    return np.array([u, v, float(at)]) if inside else None


def native_voxel(crop: Crop, x: float, y: float, at: int) -> tuple[float, float, float]:
    """A pixel of slice ``at`` of a crop as native voxel of its series."""
    u, v = apply_homography(crop.to_native[at], np.array([x, y]))
    return float(u), float(v), float(crop.zs[at])


def _middle_of(crop: Crop, volume: Volume) -> NDArray[np.float64]:
    """The middle of a crop, patient LPS mm."""
    centre = (crop.image.shape[-1] - 1) / 2
    return volume.to_patient(native_voxel(crop, centre, centre, len(crop.zs) // 2))


def found_in(
    crop: Crop, target: Target, xyz: Sequence[float], volumes: Mapping[str, Volume]
) -> dict[Target, Point]:
    """A point that a network found in a crop, in the series that the crop is cut from.

    Args:
        crop: with at least one slice.
        target: what was found.
        xyz: mask pixels and slice of the crop; the nearest slice that is there counts.
        volumes: the study's series, by id.
    """
    x, y, z = xyz
    there = np.flatnonzero(crop.valid)
    at = int(there[np.abs(there - z).argmin()])
    voxel = native_voxel(crop, x * MASK_STRIDE, y * MASK_STRIDE, at)
    return locate(volumes[crop.series_id], [target], np.array([voxel]))
