"""Inference of networks that see crops around the levels of a study."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lumbargrade.config import Recipe
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.geometry import FloatArray, apply_homography
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import KIND_OF, TARGETS, Condition, SeriesKind, Target
from lumbargrade.domain.volume import Volume, locate
from lumbargrade.files.timing import stage
from lumbargrade.inference.base import MASK_STRIDE, Arrays, Engine, Inference, normalised
from lumbargrade.inference.peaks import peak_index
from lumbargrade.sampling.crops import Crop
from lumbargrade.sampling.study import StudyCrops, cut_study

#: Points are read within this many mask pixels of a heatmap's peak, unless the recipe sets it.
PEAK_RADIUS = 2


class CropInference(Inference):
    """Inference of a network that sees crops around guide points.

    Args:
        recipe: the recipe that the network was trained with.

    Raises:
        UsageError: if the recipe names a mean shape, which only tasks on whole series use.
    """

    needs_guides: ClassVar[bool] = True
    #: Conditions whose targets the crops show.
    shown: ClassVar[tuple[Condition, ...]]
    #: Kinds of series that crops are cut from.
    views: ClassVar[tuple[SeriesKind, ...]]

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        if recipe.data.mean_shape:
            raise UsageError(
                f"{recipe.name}: data.mean_shape {recipe.data.mean_shape!r} is only for tasks that "
                "see a whole sagittal series; remove it from the recipe"
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

    def predict(
        self,
        engine: Engine,
        study_id: str,
        volumes: Sequence[Volume],
        guide_points: Sequence[Point] = (),
        *,
        flip: bool = False,
    ) -> list[StudyPrediction]:
        """Predict a study from crops around the points of a first stage.

        A target that no view shows is absent, with the reason of each view.
        """
        with stage("cut the crops"):
            crops = cut_study(volumes, guide_points, self.recipe.crop, kinds=self.views)
        found = self.predict_crops(engine, study_id, crops, {v.series_id: v for v in volumes})
        there = {v.kind for v in volumes}
        unseen = {t: crops.why_unseen(t, there) for t in self.targets}
        return [found.without({t: why for t, why in unseen.items() if why and self.conditions})]

    @abstractmethod
    def predict_crops(
        self, engine: Engine, study_id: str, crops: StudyCrops, volumes: Mapping[str, Volume]
    ) -> StudyPrediction:
        """Predict a study whose crops have been cut.

        Args:
            engine: runs the network.
            study_id: the study.
            crops: crops of all `views`.
            volumes: the study's series, by id.
        """


class RecessInference(CropInference):
    """Inference of a network that finds and grades each recess in a crop of axial slices.

    Inputs are ``slices``, uint8 (N, D, S, S), and ``valid``, bool (N, D), of the N crops with a
    valid slice. Outputs are ``grade`` (N, 3) probabilities, ``xy`` (N, 2) mask pixels, ``z`` (N,)
    slice, and ``heatmaps`` (N, D, h, w) if points are read from peaks.

    Args:
        recipe: the recipe that the network was trained with.
        graded: whether recesses are graded too.
    """

    shown = (Condition.SUBARTICULAR,)
    views = (SeriesKind.AXIAL_T2,)

    def __init__(self, recipe: Recipe, *, graded: bool = True) -> None:
        super().__init__(recipe)
        self._graded = graded

    @property
    def conditions(self) -> tuple[Condition, ...]:
        return self.shown if self._graded else ()

    def predict_crops(
        self, engine: Engine, study_id: str, crops: StudyCrops, volumes: Mapping[str, Volume]
    ) -> StudyPrediction:
        """Predict a study; a level that no axial slice cuts gets neither grade nor point."""
        (kind,) = self.views
        places = np.flatnonzero(crops.covered[kind]).tolist()
        probabilities = np.full((len(self.targets), 3), np.nan)
        points: dict[Target, Point] = {}
        if places:
            outputs = engine.run(self.inputs(crops))
            probabilities[places] = normalised(outputs["grade"])
            for place, xyz in zip(places, self.points(outputs), strict=True):
                crop = crops.views[kind][place]
                points |= found_in(crop, self.targets[place], xyz.tolist(), volumes)
        return self.prediction(study_id, probabilities, points)

    def inputs(self, crops: StudyCrops) -> dict[str, NDArray[Any]]:
        """Return the network's inputs for the crops that have a valid slice; at least one has."""
        (kind,) = self.views
        shown = crops.covered[kind]
        return {"slices": crops.images(kind)[shown], "valid": crops.valid(kind)[shown]}

    def points(self, outputs: Arrays) -> FloatArray:
        """Return the point of each crop (N, 3), mask pixels and slice."""
        if radius := self.recipe.network.peak_radius:
            return peak_index(outputs["heatmaps"], radius)
        return np.concatenate([outputs["xy"], outputs["z"][:, None]], axis=1).astype(np.float64)


class LevelInference(CropInference):
    """Inference of the second stage, which grades all findings from crops of all views.

    Inputs are, for every kind of series, ten crops (left L1/L2 to L5/S1, then right) and which of
    their slices are valid (`input_names`). Outputs are the probabilities of each condition
    (`output_names`); ``heatmaps`` of each kind (`heatmap_name`), (1, 10, D, h, w), are optional and
    give the points. A view that is absent has no weight.
    """

    places_points: ClassVar[bool] = False
    shown = tuple(Condition)
    views = tuple(SeriesKind)

    def predict_crops(
        self, engine: Engine, study_id: str, crops: StudyCrops, volumes: Mapping[str, Volume]
    ) -> StudyPrediction:
        """Predict a study; a level that no view shows gets no grade."""
        outputs = engine.run(level_inputs(crops))
        parts = []
        for condition, name in zip(self.shown, output_names(), strict=True):
            rows = normalised(outputs[name][0])
            seen = [bool(crops.seen_in(target)) for target in TARGETS[condition]]
            parts.append(np.where(np.array(seen)[:, None], rows, np.nan))
        points = self._found(crops, volumes, outputs)
        return self.prediction(study_id, np.concatenate(parts), points)

    def _found(
        self, crops: StudyCrops, volumes: Mapping[str, Volume], outputs: Arrays
    ) -> dict[Target, Point]:
        """Return each target's point in the view of its condition."""
        radius = self.recipe.network.peak_radius or PEAK_RADIUS
        points: dict[Target, Point] = {}
        for condition in self.shown:
            kind = KIND_OF[condition]
            heatmaps = outputs.get(heatmap_name(kind))
            if heatmaps is None:
                continue
            peaks = peak_index(heatmaps[0], radius)
            for target in TARGETS[condition]:
                place = place_of(target)
                crop = crops.views[kind][place]
                if crop.valid.any():
                    points |= found_in(crop, target, peaks[place].tolist(), volumes)
        return points


def level_inputs(crops: StudyCrops) -> dict[str, NDArray[Any]]:
    """Return the inputs of the second stage for the crops of a study."""
    values: list[NDArray[Any]] = [crops.images(k)[None] for k in SeriesKind]
    values += [crops.valid(k)[None] for k in SeriesKind]
    return dict(zip(input_names(), values, strict=True))


def input_names() -> tuple[str, ...]:
    """Return the names of the second stage's inputs.

    First come the crops of each kind of series, uint8 (1, 10, D, S, S), then their valid slices,
    bool (1, 10, D).
    """
    kinds = [kind.name.lower() for kind in SeriesKind]
    return (*kinds, *(f"{kind}_valid" for kind in kinds))


def output_names() -> tuple[str, ...]:
    """Return the names of its probabilities, (1, 5, 3), (1, 10, 3) and (1, 10, 3)."""
    return tuple(condition.name.lower() for condition in Condition)


def heatmap_name(kind: SeriesKind) -> str:
    """Return the name of the heatmaps of a kind of series, (1, 10, D, h, w)."""
    return f"{kind.name.lower()}_heatmaps"


def place_of(target: Target) -> int:
    """Return which of a view's ten crops shows a target (the left one if it has no side)."""
    return TARGETS[target.condition].index(target)


def native_voxel(crop: Crop, x: float, y: float, at: int) -> tuple[float, float, float]:
    """Convert a pixel of slice ``at`` of a crop to a native voxel of its series."""
    u, v = apply_homography(crop.to_native[at], np.array([x, y]))
    return float(u), float(v), float(crop.zs[at])


def found_in(
    crop: Crop, target: Target, xyz: Sequence[float], volumes: Mapping[str, Volume]
) -> dict[Target, Point]:
    """Convert a point that a network found in a crop to a point of the crop's series.

    Args:
        crop: a crop with at least one slice.
        target: the target of the point.
        xyz: mask pixels and slice of the crop; the nearest valid slice is used.
        volumes: the study's series, by id.
    """
    x, y, z = xyz
    there: NDArray[np.intp] = np.flatnonzero(crop.valid)
    at = int(there[np.abs(there - z).argmin()])
    voxel = native_voxel(crop, x * MASK_STRIDE, y * MASK_STRIDE, at)
    return locate(volumes[crop.series_id], [target], np.array([voxel]))
