"""Inference of networks that see a whole series of one kind.

The network's input is ``slices``, uint8 (D, S, S). Its outputs are ``grade`` (P, 3) probabilities,
``xy`` (P, 2) mask pixels and ``z`` (P,) slice. If points are read from peaks
(``network.peak_radius``), it also has ``heatmaps``: (P, D, h, w), or (P, h, w) if they are those of
one plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from lumbargrade.config import Recipe
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import TARGETS, Condition, SeriesKind, Side, Target, mirror
from lumbargrade.domain.volume import Volume, locate
from lumbargrade.inference.base import MASK_STRIDE, Arrays, Engine, Inference, normalised
from lumbargrade.inference.peaks import ordered_points
from lumbargrade.lsdc.rows import SeriesRow
from lumbargrade.sampling.series import Sample, make_sample


@dataclass(frozen=True, eq=False)
class SeriesScores:
    """A network's output for a series, as numbers.

    Attributes:
        probabilities: float64 (P, 3), each row sums to 1.
        xy: float64 (P, 2) input pixels.
        z: float64 (P,) slice index in the input.
    """

    probabilities: FloatArray
    xy: FloatArray
    z: FloatArray


class SeriesInference(Inference):
    """Inference of a network for whole series.

    Args:
        recipe: the recipe that the network was trained with.
        condition: the condition whose targets are found.
        kind: the kind of series.
        decoder: the decoder that the task needs.
        graded: whether targets are graded too.

    Raises:
        UsageError: if the recipe has another decoder.
    """

    needs_guides: ClassVar[bool] = False

    def __init__(
        self,
        recipe: Recipe,
        condition: Condition,
        kind: SeriesKind,
        decoder: Literal["2d", "3d"],
        *,
        graded: bool = True,
    ) -> None:
        super().__init__(recipe)
        if recipe.network.decoder != decoder:
            raise UsageError(
                f"{recipe.name}: the {recipe.task} task needs network.decoder {decoder!r}, "
                f"not {recipe.network.decoder!r}"
            )
        self.condition, self.kind, self._graded = condition, kind, graded

    @property
    def conditions(self) -> tuple[Condition, ...]:
        return (self.condition,) if self._graded else ()

    @property
    def kinds(self) -> tuple[SeriesKind, ...]:
        return (self.kind,)

    @property
    def targets(self) -> tuple[Target, ...]:
        return TARGETS[self.condition]

    @property
    def mirrors(self) -> bool:
        """Whether left and right are separate outputs."""
        return self.condition.sided

    @property
    def flips(self) -> bool:
        """Whether predictions may be averaged with those of the mirrored series.

        False if the condition has no sides, if the recipe does not want it, or if flips in training
        did not exchange left and right: the published runs never averaged such networks.
        """
        wanted = self.recipe.train.flip_prediction
        return self.mirrors and wanted and self.recipe.augment.flip_exchanges_sides

    def predict(
        self,
        engine: Engine,
        study_id: str,
        volumes: Sequence[Volume],
        guide_points: Sequence[Point] = (),
        *,
        flip: bool = False,
    ) -> list[StudyPrediction]:
        """Predict each series of the network's kind."""
        mine = [v for v in volumes if v.kind is self.kind]
        return [replace(self.predict_volume(engine, v, flip=flip), study_id=study_id) for v in mine]

    def predict_volume(
        self, engine: Engine, volume: Volume, *, flip: bool = False
    ) -> StudyPrediction:
        """Predict one series, of whatever kind it is."""
        sample = self.sample(volume)
        scores = self.run(engine, sample, flip=flip)
        inside = np.concatenate([scores.xy, scores.z[:, None]], axis=1)
        points = locate(volume, self.targets, sample.maps.to_native(inside))
        return self.prediction(volume.study_id, scores.probabilities, points)

    def sample(self, volume: Volume) -> Sample:
        """Make the network's input from a series."""
        count, data = len(self.targets), self.recipe.data
        unlabelled = SeriesRow(
            study_id=volume.study_id,
            series_id=volume.series_id,
            fold=-1,
            kind=self.kind,
            targets=self.targets,
            points=np.full((count, 3), np.nan, np.float32),
            grades=np.full(count, -1, np.int8),
        )
        return make_sample(volume, unlabelled, size=data.size, frame=data.frame)

    def run(self, engine: Engine, sample: Sample, *, flip: bool = False) -> SeriesScores:
        """Run a network on a series; with ``flip``, average with the mirrored series."""
        scores = self.decode(engine.run({"slices": sample.image}))
        if not flip:
            return scores
        reversed_slices = sample.image[::-1].copy()
        other = self.decode(engine.run({"slices": reversed_slices}))
        mirrored = self.undo_flip(other, len(sample.image))
        return SeriesScores(
            probabilities=(scores.probabilities + mirrored.probabilities) / 2,
            xy=(scores.xy + mirrored.xy) / 2,
            z=(scores.z + mirrored.z) / 2,
        )

    def decode(self, outputs: Arrays) -> SeriesScores:
        """Convert a network's outputs to numbers, with points in input pixels.

        Points are means of the heatmaps or, with ``network.peak_radius``, peaks that keep the
        levels in order (`lumbargrade.inference.peaks`).
        """
        xy, z = np.asarray(outputs["xy"], np.float64), np.asarray(outputs["z"], np.float64)
        if radius := self.recipe.network.peak_radius:
            points = ordered_points(outputs["heatmaps"], radius, self._chains)
            xy, z = points[:, :2], points[:, 2] if points.shape[1] == 3 else z
        return SeriesScores(normalised(outputs["grade"]), xy * MASK_STRIDE, z)

    @property
    def _chains(self) -> list[list[int]]:
        """Indices of the targets of each side, top to bottom."""
        chains: dict[Side | None, list[int]] = {}
        for i, target in enumerate(self.targets):
            chains.setdefault(target.side, []).append(i)
        return list(chains.values())

    def undo_flip(self, scores: SeriesScores, slices: int) -> SeriesScores:
        """Map scores of a series with reversed slices back to the original series.

        Slice z becomes D - 1 - z; x and y stay. Left and right are exchanged if the flips in
        training exchanged them (``augment.flip_exchanges_sides``), because such a network sees
        reversed slices as a mirrored patient. Other networks name the patient's true side in either
        slice order.
        """
        exchange = self.recipe.augment.flip_exchanges_sides
        order = list(mirror(self.targets)) if exchange else slice(None)
        return SeriesScores(
            probabilities=scores.probabilities[order],
            xy=scores.xy[order],
            z=slices - 1 - scores.z[order],
        )
