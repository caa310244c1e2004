"""The task interface that training, validation and grading use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Literal, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lumbargrade.config import DATA_FILES, Recipe
from lumbargrade.domain.errors import BadInput, UsageError
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.geometry import triple
from lumbargrade.domain.point import Point
from lumbargrade.domain.reasons import not_finite
from lumbargrade.domain.upright import SliceMaps
from lumbargrade.domain.vocabulary import Condition, SeriesKind, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.files.writing import sha256_of
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.scoring.local import local_score

#: Mask pixels per input pixel: ``x_mask = x_input / MASK_STRIDE``.
MASK_STRIDE = 4

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

    #: Whether the task sees crops, so that it needs guide points of another task.
    needs_guides: ClassVar[bool]
    #: Whether the task finds points in the images itself, instead of returning its guide points.
    places_points: ClassVar[bool] = True

    def __init__(self, recipe: Recipe) -> None:
        if len(recipe.loss.class_weights) != 3:
            raise UsageError(f"{recipe.name}: loss.class_weights needs 3 numbers, one per grade")
        self.recipe = recipe

    @property
    @abstractmethod
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions that the task grades; empty if it only places points."""

    @property
    @abstractmethod
    def kinds(self) -> tuple[SeriesKind, ...]:
        """The kinds of series that the task uses."""

    @property
    @abstractmethod
    def targets(self) -> tuple[Target, ...]:
        """The P targets in the order of the network's outputs."""

    @property
    def mirrors(self) -> bool:
        """Whether the network has separate left and right outputs, which a mirrored study swaps."""
        return False

    @property
    def flips(self) -> bool:
        """Whether predictions may be averaged with those of the mirrored study."""
        return False

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
    def predict(
        self,
        network: nn.Module,
        study_id: str,
        volumes: Sequence[Volume],
        guide_points: Sequence[Point] = (),
        *,
        flip: bool = False,
    ) -> list[StudyPrediction]:
        """Predict a study with a network in eval mode.

        Args:
            network: the network, on its device.
            study_id: the study.
            volumes: its series; those of other kinds are ignored.
            guide_points: guide points for crops, for a task that needs them.
            flip: average with the mirrored series, for a task with `flips`.

        Returns:
            One prediction per series from tasks on whole series, or one for the study.
        """

    @abstractmethod
    def predict_chunk(
        self, network: nn.Module, store: VolumeStore, rows: Sequence[RowT], *, flip: bool
    ) -> list[StudyPrediction]:
        """Predict some rows of a store in one batch."""

    def prediction(
        self, study_id: str, probabilities: NDArray[np.float64], points: Mapping[Target, Point]
    ) -> StudyPrediction:
        """Convert the network's numbers for a study to findings; see `as_prediction`."""
        grades = probabilities if self.conditions else None
        return as_prediction(self.recipe.name, study_id, self.targets, grades, points)

    def predict_rows(
        self,
        network: nn.Module,
        store: VolumeStore,
        rows: Sequence[RowT],
        *,
        flip: bool = False,
        batch_size: int = 4,
    ) -> list[StudyPrediction]:
        """Predict rows of a store with a network in eval mode, ``batch_size`` at a time."""
        return [
            prediction
            for chunk in chunks(rows, batch_size)
            for prediction in self.predict_chunk(network, store, chunk, flip=flip)
        ]

    def evaluate(
        self, rows: Sequence[RowT], predictions: Sequence[StudyPrediction]
    ) -> dict[str, float]:
        """Score predictions against labels; training keeps the epoch with the lowest ``score``.

        By default ``score`` is the weighted log loss; median errors of the points are added.
        """
        return {"score": weighted_log_loss(rows, predictions), **point_medians(rows, predictions)}

    def notes(
        self, network: nn.Module, store: VolumeStore, rows: Sequence[RowT]
    ) -> dict[str, Json]:
        """Return further information to store with a trained model."""
        return {}


def chunks(rows: Sequence[RowT], size: int) -> Iterator[Sequence[RowT]]:
    """Yield rows in chunks of ``size``."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network; the CPU if it has no parameters."""
    return next((p.device for p in network.parameters()), torch.device("cpu"))


def as_prediction(
    model: str,
    study_id: str,
    targets: Sequence[Target],
    probabilities: NDArray[np.float64] | None,
    points: Mapping[Target, Point],
) -> StudyPrediction:
    """Convert a network's numbers to findings.

    Targets with NaN probabilities are absent because the output is not finite; a task may replace
    this reason by a better one.

    Args:
        model: name of the recipe, for the reason.
        study_id: the study.
        targets: the targets in the order of the network's outputs.
        probabilities: (P, 3); None if the task only places points.
        points: where targets were found.
    """
    if probabilities is None:
        return StudyPrediction(study_id, {}, points=points)
    findings, absent = {}, {}
    for target, values in zip(targets, probabilities, strict=True):
        if np.isfinite(values).all():
            findings[target] = Finding(target, triple(values), points.get(target))
        else:
            absent[target] = not_finite(model)
    return StudyPrediction(study_id, findings, absent=absent, points=points)


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
