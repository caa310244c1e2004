"""What `submit` and `grade` ask for a study's prediction: models averaged, or a blend of such."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.members import Member
from lumbargrade.grading.stages import predict_study
from lumbargrade.models.checkpoint import MODEL_WEIGHTS


@runtime_checkable
class Predictor(Protocol):
    """Loaded models that predict a study together."""

    @property
    def members(self) -> Sequence[Member]:
        """Every model that grades, each once."""

    @property
    def kinds(self) -> set[SeriesKind]:
        """Kinds of series that are looked at."""

    @property
    def flip(self) -> bool:
        """Whether predictions are averaged with the mirrored volumes where a model allows it."""

    @property
    def calibrated(self) -> bool:
        """Whether findings carry calibrated probabilities too."""

    def predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        """What the models say of a study.

        What they would grade and cannot is absent with the reason; what none of them grades is
        neither graded nor absent (`pipeline.explained`).
        """

    def fingerprint(self) -> str:
        """Changes when the models or how they are combined do."""


@dataclass(frozen=True)
class Ensemble:
    """Models that are averaged.

    Attributes:
        members: of any task; each sees the series of its kinds.
        flip: average with the mirrored volume where the model allows it (`Member.flips`).
        guides: models that place points and grade nothing.
    """

    members: Sequence[Member]
    flip: bool = True
    guides: Sequence[Member] = ()

    calibrated = False

    @property
    def kinds(self) -> set[SeriesKind]:
        return {kind for m in (*self.members, *self.guides) for kind in m.task.kinds}

    def predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        return predict_study(study_id, volumes, self.members, flip=self.flip, guides=self.guides)

    def fingerprint(self) -> str:
        groups = (self.members, self.guides)
        parts = (files_fingerprint(m.path for m in group) for group in groups)
        flips = ",".join(str(self.flip and m.flips) for group in groups for m in group)
        return "|".join((flips, *parts))


def files_fingerprint(models: Iterable[Path]) -> str:
    """Of model folders, by place, size and time of their weights."""
    parts = []
    for path in models:
        weights = (path / MODEL_WEIGHTS).resolve()
        status = weights.stat()
        parts.append(f"{weights}|{status.st_size}|{status.st_mtime_ns}")
    return hashlib.sha256(os.fsencode("\n".join(parts))).hexdigest()
