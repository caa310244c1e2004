"""What a task is: the one interface that training and prediction know."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from lumbargrade.config import Recipe
from lumbargrade.dataset.rows import SeriesRow
from lumbargrade.dataset.samples import Sample
from lumbargrade.dataset.store import VolumeStore
from lumbargrade.domain.vocabulary import Condition, SeriesKind, Target
from lumbargrade.networks.output import OneStageOutput
from lumbargrade.tasks.batch import Batch, SampleMeta

__all__ = ["Batch", "LossTerms", "SampleMeta", "SeriesScores", "Task"]


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


@dataclass(frozen=True, eq=False)
class SeriesScores:
    """What a network says of a batch, as numbers.

    Attributes:
        probabilities: float64 (B, P, 3), each row sums to 1.
        xy: float64 (B, P, 2) input pixels.
        z: float64 (B, P) slice index in the volume.
    """

    probabilities: NDArray[np.float64]
    xy: NDArray[np.float64]
    z: NDArray[np.float64]


class Task(Protocol):
    """All that one group of conditions needs: rows, samples, network, loss, decoding, score."""

    @property
    def recipe(self) -> Recipe:
        """The experiment."""

    @property
    def condition(self) -> Condition:
        """What is graded."""

    @property
    def kind(self) -> SeriesKind:
        """The kind of series it is seen in."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """P targets in the order of the network's outputs."""

    def build_network(self, pretrained: bool | None = None) -> nn.Module:
        """A fresh network; ``pretrained`` None does as the recipe says."""

    def rows(self, store: VolumeStore, folds: Collection[int] | None = None) -> list[SeriesRow]:
        """Labelled series of a store, of all folds or of some."""

    def sample(
        self, store: VolumeStore, row: SeriesRow, rng: np.random.Generator | None = None
    ) -> Sample:
        """One network input; augmented where a source of randomness is given."""

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Samples to a batch."""

    def loss(self, output: OneStageOutput, batch: Batch) -> LossTerms:
        """The training loss of a batch."""

    def decode(self, output: OneStageOutput, batch: Batch) -> SeriesScores:
        """A network's output as numbers."""

    def predict(self, network: nn.Module, batch: Batch, *, flip: bool = False) -> SeriesScores:
        """Run a network (in eval mode); with ``flip``, average with the mirrored volumes."""

    def score(self, probabilities: NDArray[np.floating], grades: NDArray[np.integer]) -> float:
        """Weighted log loss of (..., 3) against grades (...,), -1 left out; lower is better."""
