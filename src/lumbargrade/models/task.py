"""The task interface that training, validation and grading use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lumbargrade.config import DATA_FILES, Recipe
from lumbargrade.domain.errors import BadInput, UsageError
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.upright import SliceMaps
from lumbargrade.domain.vocabulary import Condition, SeriesKind, Target
from lumbargrade.files.writing import sha256_of
from lumbargrade.inference.base import Engine, Inference
from lumbargrade.inference.registry import get_inference
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.scoring.local import local_score

#: Anything that JSON can hold, to be stored beside a model's weights.
Json = Mapping[str, "Json"] | Sequence["Json"] | str | float | int | bool | None


class Row(Protocol):
    """A labelled series or study, for training and validation."""

    @property
    def study_id(self) -> str: ...
    @property
    def key(self) -> tuple[str, ...]:
        """Study and series, or only the study."""

    @property
    def fold(self) -> int: ...
    @property
    def targets(self) -> tuple[Target, ...]: ...
    @property
    def grades(self) -> NDArray[np.int8]:
        """(P,), -1 if not graded."""

    @property
    def points(self) -> NDArray[np.floating]:
        """Labelled points (P, 3) in ``frame``, NaN if there is none."""

    @property
    def labelled(self) -> Sequence[Point]:
        """The labelled points, each in its series."""

    @property
    def frame(self) -> Literal["voxel", "patient"]:
        """Whether ``points`` are native voxels of one series or patient LPS mm."""


@dataclass(frozen=True, eq=False)
class SampleMeta:
    """Metadata of a sample.

    Attributes:
        study_id: the study.
        series_id: the series; empty for a sample of a whole study.
        maps: maps from input pixels and slices to native voxels of a series; None for a study.
    """

    study_id: str
    series_id: str = ""
    maps: SliceMaps | None = None


class TaskBatch(Protocol):
    """The interface of a batch that training uses."""

    @property
    def samples(self) -> list[SampleMeta]: ...
    @property
    def slices_seen(self) -> int:
        """Number of slices that encoders see."""

    def to(self, device: torch.device | str) -> Self:
        """Return the batch with its tensors on another device."""


@dataclass(frozen=True)
class LossTerms:
    """A loss and its parts.

    Attributes:
        total: the value that training minimises.
        parts: the unweighted parts by name.
        counts: numbers of points used, by name.
    """

    total: Tensor
    parts: dict[str, Tensor]
    counts: dict[str, int] = field(default_factory=dict)


RowT = TypeVar("RowT", bound=Row)
SampleT = TypeVar("SampleT")
BatchT = TypeVar("BatchT", bound=TaskBatch)
OutputT = TypeVar("OutputT")


class Task(ABC, Generic[RowT, SampleT, BatchT, OutputT]):
    """Rows, samples, network, loss, findings and score for a group of conditions.

    Args:
        recipe: the task's recipe.

    Raises:
        UsageError: if the recipe does not fit the task.
    """

    def __init__(self, recipe: Recipe) -> None:
        if len(recipe.loss.class_weights) != 3:
            raise UsageError(f"{recipe.name}: loss.class_weights needs 3 numbers, one per grade")
        self.recipe = recipe
        #: How predictions are made; it needs no torch.
        self.inference: Inference = get_inference(recipe)

    @property
    def needs_guides(self) -> bool:
        """Whether the network sees crops, so that it needs guide points of another task."""
        return self.inference.needs_guides

    @property
    def places_points(self) -> bool:
        """Whether points are found in the images, instead of returned as they were given."""
        return self.inference.places_points

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions that the task grades; empty if it only places points."""
        return self.inference.conditions

    @property
    def kinds(self) -> tuple[SeriesKind, ...]:
        """The kinds of series that the task uses."""
        return self.inference.kinds

    @property
    def targets(self) -> tuple[Target, ...]:
        """The P targets in the order of the network's outputs."""
        return self.inference.targets

    @property
    def flips(self) -> bool:
        """Whether predictions may be averaged with those of the mirrored study."""
        return self.inference.flips

    @abstractmethod
    def build_network(self, pretrained: bool | None = None) -> nn.Module:
        """Build an untrained network; ``pretrained`` None follows the recipe."""

    def read_files(self) -> dict[str, str]:
        """Read the files that only training needs, so that later changes to them have no effect.

        Returns:
            SHA-256 of each file, by the key of ``recipe.data`` that names it.

        Raises:
            BadInput: if a file cannot be used.
        """
        found = {}
        for key in DATA_FILES:
            if file := getattr(self.recipe.data, key):
                try:
                    found[key] = sha256_of(file)
                except OSError as error:
                    raise BadInput(f"data.{key}: {file}: {error.strerror}") from None
        return found

    @abstractmethod
    def rows(self, store: VolumeStore, folds: Collection[int] | None = None) -> list[RowT]:
        """Return the labelled rows of a store to train on, from all folds or some."""

    def rows_to_judge(
        self,
        store: VolumeStore,
        fold: int,
        guide_points: Mapping[str, Sequence[Point]] | None = None,
    ) -> list[RowT]:
        """Return the labelled rows on which a model of a fold is validated.

        Args:
            store: volumes and labels.
            fold: the fold.
            guide_points: study -> guide points for crops, from models that have not seen the study;
                None if they are not known yet.
        """
        return self.rows(store, {fold})

    @abstractmethod
    def sample(
        self, store: VolumeStore, row: RowT, rng: np.random.Generator | None = None
    ) -> SampleT:
        """Make one network input; it is augmented if ``rng`` is given."""

    @abstractmethod
    def collate(self, samples: Sequence[SampleT]) -> BatchT:
        """Join samples into a batch."""

    @abstractmethod
    def forward(self, network: nn.Module, batch: BatchT) -> OutputT:
        """Run the network on a batch and return its output."""

    @abstractmethod
    def loss(self, output: OutputT, batch: BatchT) -> LossTerms:
        """Compute the training loss of a batch."""

    @abstractmethod
    def outputs(self, network: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a network on the inputs of one series or study; see `inference`.

        Args:
            network: the network, on the device of its inputs.
            inputs: by name, as `inference` makes them.

        Returns:
            The outputs that `inference` decodes, by name.
        """

    @abstractmethod
    def predict_row(
        self, engine: Engine, store: VolumeStore, row: RowT, *, flip: bool = False
    ) -> StudyPrediction:
        """Predict a row of a store: a series, or a study around the guide points of its row."""

    def predict_rows(
        self, engine: Engine, store: VolumeStore, rows: Sequence[RowT], *, flip: bool = False
    ) -> list[StudyPrediction]:
        """Predict rows of a store, one after another."""
        return [self.predict_row(engine, store, row, flip=flip) for row in rows]

    def evaluate(
        self, rows: Sequence[RowT], predictions: Sequence[StudyPrediction]
    ) -> dict[str, float]:
        """Score predictions against labels; training keeps the epoch with the lowest ``score``.

        By default ``score`` is the weighted log loss; median errors of the points are added.
        """
        return {"score": weighted_log_loss(rows, predictions), **point_medians(rows, predictions)}

    def notes(self, engine: Engine, store: VolumeStore, rows: Sequence[RowT]) -> dict[str, Json]:
        """Return further information to store with a trained model."""
        return {}


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network; the CPU if it has no parameters."""
    return next((p.device for p in network.parameters()), torch.device("cpu"))


def weighted_log_loss(rows: Sequence[Row], predictions: Sequence[StudyPrediction]) -> float:
    """Return the weighted log loss over all grades that are both known and predicted."""
    grades = np.concatenate([row.grades for row in rows])
    pairs = zip(rows, predictions, strict=True)
    probabilities = np.concatenate([p.probability_rows(row.targets) for row, p in pairs])
    known = (grades >= 0) & np.isfinite(probabilities).all(axis=1)
    return float(local_score(probabilities[known], grades[known]).weighted)


def point_errors_of(
    rows: Sequence[Row], predictions: Sequence[StudyPrediction]
) -> NDArray[np.float64]:
    """Return predicted minus labelled points, if both are known, (N, 3) in the rows' frame."""
    found = [
        p.point_rows(row.targets, patient=row.frame == "patient") - row.points
        for row, p in zip(rows, predictions, strict=True)
    ]
    errors = np.concatenate(found)
    return np.asarray(errors[np.isfinite(errors).all(axis=1)])


def point_medians(rows: Sequence[Row], predictions: Sequence[StudyPrediction]) -> dict[str, float]:
    """Return the median absolute errors along x, y and z over labelled points that were found."""
    errors = np.abs(point_errors_of(rows, predictions))
    if not len(errors):
        return {}
    return dict(zip("xyz", map(float, np.median(errors, axis=0)), strict=True))
