"""Results as nouns: one graded finding with its place, and all that is predicted for a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.vocabulary import Grade, Target


@dataclass(frozen=True, slots=True)
class Place:
    """Where a finding lies in one series.

    Attributes:
        series_id: the series (LSDC series id, or SeriesInstanceUID for other data).
        instance_number: instance of the slice nearest to the point.
        x, y: column and row in pixels of that instance (pixel centres at integers).
        z: slice coordinate in the volume (fractional slice index).
        patient: the point in patient LPS millimetres, or None where no geometry is known.
    """

    series_id: str
    instance_number: int
    x: float
    y: float
    z: float
    patient: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model that took part in a prediction, and the folds whose studies it has not seen."""

    recipe: str
    fold: int
    validation_fold_only: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """One of the 25 findings.

    Attributes:
        target: what was graded.
        probabilities: of normal/mild, moderate, severe; they sum to 1.
        place: where it was seen, or None when nothing located it.
        filled: True when no model predicted it and training prevalence stands in.
        sources: every model that took part in it.
    """

    target: Target
    probabilities: tuple[float, float, float]
    place: Place | None = None
    filled: bool = False
    sources: tuple[ModelSource, ...] = ()

    def __post_init__(self) -> None:
        p = np.asarray(self.probabilities)
        if p.shape != (3,) or not np.isfinite(p).all() or (p < 0).any() or abs(p.sum() - 1) > 1e-4:
            raise ValueError(f"{self.target.column}: not a distribution: {self.probabilities}")

    @property
    def grade(self) -> Grade:
        """The most probable grade."""
        return Grade(int(np.argmax(self.probabilities)))


@dataclass(frozen=True, slots=True)
class StudyPrediction:
    """All findings of one study, with where they came from.

    Attributes:
        study_id: the study.
        findings: by target; may lack targets that no model predicts.
        sources: every model that took part.
        problems: what was wrong with the study's images.
    """

    study_id: str
    findings: Mapping[Target, Finding]
    sources: tuple[ModelSource, ...] = ()
    problems: tuple[Problem, ...] = field(default=())
