"""The interface of inference: a network that runs somewhere, and what to make of its numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from lumbargrade.config import Recipe
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.geometry import triple
from lumbargrade.domain.point import Point
from lumbargrade.domain.reasons import not_finite
from lumbargrade.domain.vocabulary import Condition, SeriesKind, Target
from lumbargrade.domain.volume import Volume

#: Mask pixels per input pixel: ``x_mask = x_input / MASK_STRIDE``.
MASK_STRIDE = 4

#: Inputs or outputs of a network, by name.
Arrays = Mapping[str, NDArray[Any]]


class Engine(Protocol):
    """A network that is ready to run: in torch, ONNX Runtime or OpenVINO."""

    @property
    def name(self) -> str:
        """What runs the network, in words for the result's metadata."""

    def run(self, inputs: Arrays) -> Arrays:
        """Run the network on one series or study; names and shapes depend on the task."""


class Inference(ABC):
    """Make a network's inputs and decode its outputs, without torch.

    Args:
        recipe: the recipe that the network was trained with.

    Raises:
        UsageError: if the recipe does not fit its task.
    """

    #: Whether the network sees crops, so that it needs guide points of another task.
    needs_guides: ClassVar[bool]
    #: Whether points are found in the images, instead of returned as they were given.
    places_points: ClassVar[bool] = True

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    @property
    @abstractmethod
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions that the network grades; empty if it only places points."""

    @property
    @abstractmethod
    def kinds(self) -> tuple[SeriesKind, ...]:
        """The kinds of series that are used."""

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
    def predict(
        self,
        engine: Engine,
        study_id: str,
        volumes: Sequence[Volume],
        guide_points: Sequence[Point] = (),
        *,
        flip: bool = False,
    ) -> list[StudyPrediction]:
        """Predict a study.

        Args:
            engine: runs the network.
            study_id: the study.
            volumes: its series; those of other kinds are ignored.
            guide_points: guide points for crops, for a network that needs them.
            flip: average with the mirrored series, for a network with `flips`.

        Returns:
            One prediction per series from networks of whole series, or one for the study.
        """

    def prediction(
        self, study_id: str, probabilities: NDArray[np.float64], points: Mapping[Target, Point]
    ) -> StudyPrediction:
        """Convert the network's numbers for a study to findings; see `as_prediction`."""
        grades = probabilities if self.conditions else None
        return as_prediction(self.recipe.name, study_id, self.targets, grades, points)


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
        probabilities: (P, 3); None if the network only places points.
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


def normalised(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Return probabilities (..., 3) in double precision, so that each row sums to 1."""
    values = np.asarray(probabilities, np.float64)
    return np.asarray(values / values.sum(axis=-1, keepdims=True))
