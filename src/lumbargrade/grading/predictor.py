"""What predicts a study: the interface of models, and the calibration of your own on top."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from lumbargrade.domain.findings import ModelSource, StudyPrediction
from lumbargrade.domain.reasons import no_model
from lumbargrade.domain.vocabulary import FINDINGS, Condition, SeriesKind
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.calibration_file import LocalCalibration, read_calibration
from lumbargrade.scoring.fill import Constants

log = logging.getLogger(__name__)


@runtime_checkable
class Predictor(Protocol):
    """Opened models that predict a study together: the starter, or models that you trained."""

    @property
    def sources(self) -> Sequence[ModelSource]:
        """Every model that grades."""

    @property
    def conditions(self) -> set[Condition]:
        """The conditions that the models grade."""

    @property
    def kinds(self) -> set[SeriesKind]:
        """Kinds of series that the models use."""

    @property
    def flips(self) -> bool:
        """Whether predictions of any model are averaged with those of mirrored volumes."""

    @property
    def calibrated(self) -> bool:
        """Whether findings also have calibrated probabilities."""

    @property
    def about(self) -> str:
        """What a reader of the results must know of the models; empty if nothing."""

    def predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        """Predict a study.

        Targets that the models should grade but cannot are absent with a reason. Targets that no
        model grades are neither graded nor absent (see `explained`).
        """

    def fingerprint(self) -> str:
        """Return a text that changes if the models or their combination change."""


@dataclass(frozen=True)
class SubmissionModels:
    """Opened models for a submission.

    Attributes:
        predictor: predicts a study.
        constants: what absent findings are filled with (`scoring.fill.training_fill`).
        corrected: adapts a prediction to the official score.
    """

    predictor: Predictor
    constants: Constants
    corrected: Callable[[StudyPrediction], StudyPrediction]


@dataclass(frozen=True)
class Recalibrated:
    """A predictor whose calibrations are replaced by those of a file (a `Predictor`).

    Attributes:
        base: the predictor.
        local: calibrations; conditions without one are left as in ``base``.
    """

    base: Predictor
    local: LocalCalibration

    @property
    def sources(self) -> Sequence[ModelSource]:
        return self.base.sources

    @property
    def conditions(self) -> set[Condition]:
        return self.base.conditions

    @property
    def kinds(self) -> set[SeriesKind]:
        return self.base.kinds

    @property
    def flips(self) -> bool:
        return self.base.flips

    @property
    def calibrated(self) -> bool:
        return self.base.calibrated or bool(self.local.conditions)

    @property
    def about(self) -> str:
        return self.base.about

    def predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        return self.local.apply(self.base.predict(study_id, volumes))

    def fingerprint(self) -> str:
        return f"{self.base.fingerprint()}\n{self.local!r}"


def recalibrated(base: Predictor, path: Path | None) -> Predictor:
    """Apply a calibration file to a predictor; without a file, return the predictor unchanged.

    A file that was fitted to results of other recipes is used with a warning, because only the user
    knows whether the recipes are comparable.

    Raises:
        UsageError: if the file cannot be used.
    """
    if path is None:
        return base
    local = read_calibration(path)
    ours = tuple(sorted({source.recipe for source in base.sources}))
    if local.recipes and local.recipes != ours:
        log.warning(
            "%s was fitted to results of %s, not of %s: its calibration may be wrong",
            path,
            ", ".join(local.recipes),
            ", ".join(ours),
        )
    for condition, entry in local.conditions.items():
        log.info("%s calibrated on %d studies (%s)", condition.value, entry.studies, path)
    return Recalibrated(base, local)


def explained(prediction: StudyPrediction, conditions: Collection[Condition]) -> StudyPrediction:
    """Give every target that is neither graded nor absent a reason for being absent.

    Args:
        prediction: the prediction of all models together.
        conditions: what the models grade.
    """
    unknown = [t for t in FINDINGS if t not in prediction.findings and t not in prediction.absent]
    reasons = {
        t: "the models gave no result for it"
        if t.condition in conditions
        else no_model(t.condition)
        for t in unknown
    }
    return prediction.without(reasons)
