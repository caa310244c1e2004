"""What the tasks have in common that look at levels one by one, in crops of several series."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lumbargrade.config import Recipe
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.geometry import apply_homography
from lumbargrade.domain.reasons import joined, no_point, no_series, no_slice
from lumbargrade.domain.views import LevelCut
from lumbargrade.domain.vocabulary import TARGETS, Condition, Level, SeriesKind, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.lsdc.point_file import PlacedPoint, read_points, refuse_seen
from lumbargrade.lsdc.rows import KIND_OF
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.inference import locate
from lumbargrade.models.task import LossTerms, SeriesPrediction, chunks, file_digests
from lumbargrade.sampling.crops import Crop
from lumbargrade.sampling.guides import GuidePoint
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


class StudyTask(ABC):
    """A task whose network sees crops around the levels of a study.

    Crops are cut around guide points: labels, or the out-of-fold points of a first stage
    (``data.points``) in training, and what the first stage finds in prediction.

    Args:
        recipe: the experiment.

    Raises:
        UsageError: if the recipe's class weights do not fit, or it names a mean shape.
    """

    #: Conditions whose targets are looked at.
    shown: ClassVar[tuple[Condition, ...]]
    #: Kinds of series that crops are cut from.
    views: ClassVar[tuple[SeriesKind, ...]]

    def __init__(self, recipe: Recipe) -> None:
        if len(recipe.loss.class_weights) != 3:
            raise UsageError(f"{recipe.name}: loss.class_weights needs 3 numbers, one per grade")
        if recipe.data.mean_shape:
            raise UsageError(
                f"{recipe.name}: data.mean_shape {recipe.data.mean_shape!r}: only tasks that see "
                "a whole sagittal series align points to a mean shape; leave it out"
            )
        self.recipe = recipe

    @property
    def conditions(self) -> tuple[Condition, ...]:
        return self.shown

    @property
    def kinds(self) -> tuple[SeriesKind, ...]:
        return self.views

    @property
    def flips(self) -> bool:
        """Mirror symmetry is built in: the mirrored study gives the same, mirrored."""
        return False

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(t for c in self.shown for t in TARGETS[c])

    @abstractmethod
    def build_network(self, pretrained: bool | None = None) -> nn.Module:
        """A fresh network; ``pretrained`` None does as the recipe says."""

    def read_files(self) -> dict[str, str]:
        """Digests of the recipe's files. (The points are read with the rows.)"""
        return file_digests(self.recipe.data)

    def rows(self, store: VolumeStore, folds: Collection[int] | None = None) -> list[StudyRow]:
        """Studies with a grade and a point to start from, of all folds or of some.

        Raises:
            BadTable: if the file of points cannot be read.
            UsageError: if a point comes from a model that has seen its study.
        """
        predicted: dict[int, dict[Target, PlacedPoint]] = {}
        if self.recipe.data.points:
            path = Path(self.recipe.data.points)
            predicted = read_points(path)
            refuse_seen(predicted, store.folds, path)
        return self._rows(store, folds, predicted)

    def labelled_rows(
        self, store: VolumeStore, folds: Collection[int] | None = None
    ) -> list[StudyRow]:
        """The same around labels, whatever points the recipe was trained with."""
        return self._rows(store, folds, {})

    def _rows(
        self,
        store: VolumeStore,
        folds: Collection[int] | None,
        predicted: Mapping[int, Mapping[Target, PlacedPoint]],
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
        guides: Sequence[GuidePoint],
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
                t: float(np.linalg.norm(np.subtract(p.patient, middle)))
                for t, p in row.truth.items()
                if (t.condition, t.side) == (target.condition, target.side)
            }
            if locate_in(crop, truth.voxel) is None or away[target] > min(away.values()):
                grades[i] = -1
        return grades

    @abstractmethod
    def collate(self, samples: Sequence[StudySample]) -> Any:
        """Samples to a batch."""

    @abstractmethod
    def forward(self, network: nn.Module, batch: Any) -> Any:
        """A network's output for a batch."""

    @abstractmethod
    def loss(self, output: Any, batch: Any) -> LossTerms:
        """The training loss of a batch."""

    @abstractmethod
    def predict_samples(
        self, network: nn.Module, samples: Sequence[StudySample], device: torch.device
    ) -> list[SeriesPrediction]:
        """Predictions of samples by a network in eval mode."""

    def predict_rows(
        self,
        network: nn.Module,
        store: VolumeStore,
        rows: Sequence[StudyRow],
        *,
        device: torch.device | None = None,
        flip: bool = False,
        batch_size: int = 4,
    ) -> list[SeriesPrediction]:
        """Predict rows of a store, a few at a time so that memory stays flat."""
        found: list[SeriesPrediction] = []
        for chunk in chunks(rows, batch_size):
            samples = [self.sample(store, row) for row in chunk]
            found += self.predict_samples(network, samples, device or torch.device("cpu"))
        return found

    def predict_study(
        self,
        network: nn.Module,
        study_id: str,
        volumes: Sequence[Volume],
        guides: Sequence[GuidePoint],
        *,
        device: torch.device,
    ) -> SeriesPrediction:
        """Predict one study of any origin around the points of a first stage.

        A target that no view shows is absent, with the reason of each view.
        """
        sample = self.sample_of(self._unlabelled(study_id), volumes, guides)
        (found,) = self.predict_samples(network, [sample], device)
        there = {v.kind for v in volumes}
        absent = {t: self._not_shown(t, sample.crops, there) for t in self.targets}
        return replace(found, study_id=study_id, absent={t: r for t, r in absent.items() if r})

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

    def cuts(
        self, volumes: Sequence[Volume], guides: Sequence[GuidePoint]
    ) -> tuple[LevelCut | None, ...]:
        """How the axial series cut each level; None where a level has no point."""
        return cut_study(volumes, guides, self.recipe.crop, kinds=(SeriesKind.AXIAL_T2,)).cuts

    def _unlabelled(self, study_id: str) -> StudyRow:
        number = int(study_id) if study_id.isdecimal() else -1
        grades = np.full(len(self.targets), -1, np.int8)
        return StudyRow(number, -1, (), self.targets, grades, {}, ())

    @abstractmethod
    def evaluate(
        self, rows: Sequence[StudyRow], predictions: Sequence[SeriesPrediction]
    ) -> dict[str, float]:
        """Scores of predictions against labels; ``score`` is what training minimises."""

    def notes(
        self,
        network: nn.Module,
        store: VolumeStore,
        rows: Sequence[StudyRow],
        *,
        device: torch.device | None = None,
    ) -> dict[str, Any]:
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


def placed(
    study_id: str,
    targets: tuple[Target, ...],
    probabilities: NDArray[np.float64],
    places: Sequence[tuple[str, tuple[float, float, float]] | None],
    volumes: Mapping[str, Volume],
) -> SeriesPrediction:
    """A prediction from each target's probabilities and its series and voxel."""
    voxels = np.full((len(targets), 3), np.nan)
    patient = np.full((len(targets), 3), np.nan)
    instances = np.full(len(targets), -1, np.int64)
    series = [""] * len(targets)
    for i, place in enumerate(places):
        if place is None:
            continue
        series[i], voxels[i] = place[0], place[1]
        patient[i : i + 1], instances[i : i + 1] = locate(volumes[series[i]], voxels[i : i + 1])
    return SeriesPrediction(
        study_id, "", targets, probabilities, voxels, patient, instances, tuple(series)
    )
