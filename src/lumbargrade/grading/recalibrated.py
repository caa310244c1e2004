"""Models whose probabilities are calibrated by a local calibration file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.calibration_file import LocalCalibration, read_calibration
from lumbargrade.grading.members import Member
from lumbargrade.grading.predictor import Predictor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recalibrated:
    """Another predictor, with the calibrations of a file in place of its own (a `Predictor`).

    Attributes:
        base: the models.
        local: calibrations; a condition without one stays as ``base`` has it.
    """

    base: Predictor
    local: LocalCalibration

    @property
    def members(self) -> Sequence[Member]:
        return self.base.members

    @property
    def kinds(self) -> set[SeriesKind]:
        return self.base.kinds

    @property
    def flip(self) -> bool:
        return self.base.flip

    @property
    def calibrated(self) -> bool:
        return self.base.calibrated or bool(self.local.conditions)

    def predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        return self.local.apply(self.base.predict(study_id, volumes))

    def fingerprint(self) -> str:
        return f"{self.base.fingerprint()}\n{self.local!r}"


def recalibrated(base: Predictor, path: Path | None) -> Predictor:
    """The predictor with a calibration file applied, or as it is without one.

    A file that was fitted to results of other recipes is used all the same, with a warning: only
    the user knows whether one stands for the other.

    Raises:
        UsageError: if the file cannot be used.
    """
    if path is None:
        return base
    local = read_calibration(path)
    ours = tuple(sorted({m.meta.recipe.name for m in base.members}))
    if local.recipes and local.recipes != ours:
        log.warning(
            "%s was fitted to results of %s, not of %s: its calibration may not hold",
            path,
            ", ".join(local.recipes),
            ", ".join(ours),
        )
    for condition, one in local.conditions.items():
        log.info("%s calibrated on %d studies (%s)", condition.value, one.studies, path)
    return Recalibrated(base, local)
