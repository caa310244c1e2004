"""What a task is: the one interface that training and prediction know."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lumbargrade.config import DATA_FILES, DataConfig, Recipe
from lumbargrade.domain.errors import BadInput
from lumbargrade.domain.upright import SliceMaps
from lumbargrade.domain.vocabulary import Condition, SeriesKind, Target
from lumbargrade.files.writing import sha256_of
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.sampling.series import Sample
from lumbargrade.scoring.local import local_score

#: Mask pixels per input pixel: ``x_mask = x_input / MASK_STRIDE``.
MASK_STRIDE = 4


@dataclass(frozen=True, eq=False)
class SampleMeta:
    """What is known of a sample beside its tensors.

    Attributes:
        study_id, series_id: where it comes from.
        maps: of one series, input pixels and slices to native voxels; None for a study.
    """

    study_id: int
    series_id: int
    maps: SliceMaps | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples with P targets each.

    Attributes:
        slices: uint8 (sum of counts, S, S), sample after sample.
        counts: slices of each sample.
        xy: float32 (B, P, 2) mask pixels; 0 where not annotated.
        z: float32 (B, P) slice index; 0 where not annotated.
        annotated: bool (B, P).
        grade: int64 (B, P), -1 where not graded.
        samples: one per sample.
    """

    slices: Tensor
    counts: list[int]
    xy: Tensor
    z: Tensor
    annotated: Tensor
    grade: Tensor
    samples: list[SampleMeta]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on another device."""
        return replace(
            self,
            slices=self.slices.to(device, non_blocking=True),
            xy=self.xy.to(device),
            z=self.z.to(device),
            annotated=self.annotated.to(device),
            grade=self.grade.to(device),
        )


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of any slice counts; nothing is padded."""
    points = np.nan_to_num(np.stack([s.points for s in samples]))
    annotated = np.stack([s.annotated for s in samples])
    points[~annotated] = 0
    return Batch(
        slices=torch.from_numpy(np.concatenate([s.image for s in samples])),
        counts=[len(s.image) for s in samples],
        xy=torch.from_numpy(points[..., :2] / MASK_STRIDE),
        z=torch.from_numpy(np.ascontiguousarray(points[..., 2])),
        annotated=torch.from_numpy(annotated),
        grade=torch.from_numpy(np.stack([s.grades for s in samples]).astype(np.int64)),
        samples=[SampleMeta(s.study_id, s.series_id, s.maps) for s in samples],
    )


Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LossTerms:
    """A loss and what it is made of.

    Attributes:
        total: what is minimised.
        parts: each part by name, before its weight.
        counts: how many points took part, by name.
    """

    total: Tensor
    parts: dict[str, Tensor]
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SeriesPrediction:
    """What one network (or an average of networks) says of one series, or of a study's series.

    Attributes:
        study_id, series_id: the series; ``series_id`` is empty where targets lie in several.
        targets: what was graded, (P,).
        probabilities: (P, 3); NaN where nothing is said of a target.
        voxels: (P, 3) native x, y in pixels and z slice coordinate; NaN where it has no place.
        patient: (P, 3) LPS mm.
        instances: (P,) instance number of the nearest slice; -1 where it has no place.
        series: series of each target's place, where they differ.
        absent: why nothing is said of a target, where the task knows (`domain.reasons`).
    """

    study_id: str
    series_id: str
    targets: tuple[Target, ...]
    probabilities: Floats
    voxels: Floats
    patient: Floats
    instances: NDArray[np.int64]
    series: tuple[str, ...] = ()
    absent: Mapping[Target, str] = field(default_factory=dict)

    def series_of(self, index: int) -> str:
        """The series in which a target's place lies."""
        return self.series[index] if self.series else self.series_id


class Row(Protocol):
    """What training and scoring know of a row: a series, or a study, with its grades."""

    @property
    def study_id(self) -> int: ...
    @property
    def series_id(self) -> int: ...
    @property
    def fold(self) -> int: ...
    @property
    def targets(self) -> tuple[Target, ...]: ...
    @property
    def grades(self) -> NDArray[np.int8]: ...
    @property
    def points(self) -> NDArray[Any]:
        """(P, 3), NaN where there is none."""


class TaskBatch(Protocol):
    """What training knows of a batch."""

    @property
    def samples(self) -> list[SampleMeta]: ...

    def to(self, device: torch.device | str) -> Any:
        """The same batch with its tensors on another device."""


class Task(Protocol):
    """All that one group of conditions needs: rows, samples, network, loss, decoding, score."""

    @property
    def recipe(self) -> Recipe:
        """The experiment."""

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What is graded; empty for a task that only places points."""

    @property
    def kinds(self) -> tuple[SeriesKind, ...]:
        """The kinds of series it looks at."""

    @property
    def flips(self) -> bool:
        """Whether predictions are averaged with those of the mirrored study."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """P targets in the order of the network's outputs."""

    def build_network(self, pretrained: bool | None = None) -> nn.Module:
        """A fresh network; ``pretrained`` None does as the recipe says."""

    def read_files(self) -> dict[str, str]:
        """Read the files that only training needs, once, so that a later change has no effect.

        Returns:
            Keys of ``recipe.data`` that name a file -> sha256 of its content.

        Raises:
            BadInput: if a file cannot be used.
        """

    def rows(self, store: VolumeStore, folds: Collection[int] | None = None) -> list[Any]:
        """Labelled rows of a store, of all folds or of some."""

    def sample(self, store: VolumeStore, row: Any, rng: np.random.Generator | None = None) -> Any:
        """One network input; augmented where a source of randomness is given."""

    def collate(self, samples: Sequence[Any]) -> Any:
        """Samples to a batch."""

    def forward(self, network: nn.Module, batch: Any) -> Any:
        """A network's output for a batch."""

    def loss(self, output: Any, batch: Any) -> LossTerms:
        """The training loss of a batch."""

    def predict_rows(
        self,
        network: nn.Module,
        store: VolumeStore,
        rows: Sequence[Any],
        *,
        device: torch.device | None = None,
        flip: bool = False,
        batch_size: int = 4,
    ) -> list[SeriesPrediction]:
        """Predict rows of a store with a network in eval mode, a few at a time."""

    def evaluate(
        self, rows: Sequence[Any], predictions: Sequence[SeriesPrediction]
    ) -> dict[str, float]:
        """Scores of predictions against labels; ``score`` is what training minimises."""

    def notes(
        self,
        network: nn.Module,
        store: VolumeStore,
        rows: Sequence[Any],
        *,
        device: torch.device | None = None,
    ) -> dict[str, Any]:
        """What is worth keeping beside a trained model, as plain JSON data."""


def file_digests(data: DataConfig) -> dict[str, str]:
    """Keys of a recipe's ``data`` that name a file -> sha256 of the file's content.

    Raises:
        BadInput: if a file cannot be read.
    """
    found = {}
    for key in DATA_FILES:
        if file := getattr(data, key):
            try:
                found[key] = sha256_of(file)
            except OSError as error:
                raise BadInput(f"data.{key}: {file}: {error.strerror}") from None
    return found


def chunks(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Rows a few at a time."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def score_predictions(
    rows: Sequence[Row], predictions: Sequence[SeriesPrediction]
) -> dict[str, float]:
    """Local score and point errors of predictions against the labels of their rows.

    Returns:
        ``score`` (weighted log loss), ``x``, ``y`` and ``z`` (median absolute errors, in the unit
        of the rows' points: native pixels and slices, or patient mm).
    """
    grades = np.concatenate([row.grades for row in rows])
    probabilities = np.concatenate([p.probabilities for p in predictions])
    known = (grades >= 0) & np.isfinite(probabilities).all(axis=1)
    result = {"score": float(local_score(probabilities[known], grades[known]).weighted)}
    return result | point_medians(rows, predictions)


def point_medians(rows: Sequence[Row], predictions: Sequence[SeriesPrediction]) -> dict[str, float]:
    """Median absolute errors along x, y and z over labelled points that were placed."""
    found = [p.patient if p.series else p.voxels for p in predictions]
    error = np.abs(np.concatenate(found) - np.concatenate([row.points for row in rows]))
    placed = error[np.isfinite(error).all(axis=1)]
    if not len(placed):
        return {}
    return dict(zip("xyz", map(float, np.median(placed, axis=0)), strict=True))
