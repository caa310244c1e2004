"""The file `recalibrate` writes and `grade --calibration` reads: calibrations by condition, TOML.

A condition that the file does not have stays as it was: uncalibrated, or calibrated by the blend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lumbargrade import __version__
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.files.structures import plain, read_plain, structured
from lumbargrade.files.writing import write_text
from lumbargrade.scoring.calibration import Calibration

#: Version of the layout; raised when older programs could misread a newer file.
FORMAT = 1

_KIND = "local calibration"
_HEADER = """\
# Written by `lumbargrade recalibrate`, for `lumbargrade grade --calibration`.
# before and after: log loss of the fitted set, after by calibrations fitted to other studies of it.
"""


@dataclass(frozen=True)
class FittedCalibration:
    """The calibration of one condition, and what it was fitted to.

    Attributes:
        calibration: from the models' own probabilities to frequencies.
        studies, findings: how many it was fitted to.
        before: unweighted log loss of what was shown before.
        after: the same, cross-validated.
    """

    calibration: Calibration
    studies: int
    findings: int
    before: float
    after: float


@dataclass(frozen=True)
class LocalCalibration:
    """What stands in a calibration file.

    Attributes:
        conditions: those to calibrate.
        recipes: of the models whose results it was fitted to, sorted; empty where not known.
        lumbargrade: version of this package that wrote it.
    """

    conditions: Mapping[Condition, FittedCalibration]
    recipes: tuple[str, ...] = ()
    lumbargrade: str = __version__

    def apply(self, prediction: StudyPrediction) -> StudyPrediction:
        """The prediction with its findings calibrated."""
        findings = {t: self._applied(f) for t, f in prediction.findings.items()}
        return replace(prediction, findings=findings)

    def _applied(self, finding: Finding) -> Finding:
        fitted = self.conditions.get(finding.target.condition)
        if fitted is None:
            return finding
        a, b, c = fitted.calibration.apply(np.array(finding.probabilities)).tolist()
        return replace(finding, calibrated=(a, b, c))


@dataclass(frozen=True)
class _Content(LocalCalibration):
    """The keys of the file."""

    kind: str = _KIND
    format: int = FORMAT


def write_calibration(path: Path, local: LocalCalibration) -> None:
    """Write a calibration file atomically."""
    import tomli_w

    content = _Content(**vars(local))
    write_text(path, f"{_HEADER}\n{tomli_w.dumps(plain(content))}")


def read_calibration(path: Path) -> LocalCalibration:
    """What :func:`write_calibration` wrote.

    Raises:
        UsageError: if it is not there, not such a file, of another format, or has unknown or
            wrong keys.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no calibration file (`lumbargrade recalibrate` writes one)")
    data = read_plain(path)
    if data.get("kind") != _KIND or data.get("format") != FORMAT:
        raise UsageError(
            f"{path}: not a calibration file of format {FORMAT} (`lumbargrade recalibrate` writes "
            "one)"
        )
    content = structured(data, _Content, path, "calibration")
    return LocalCalibration(content.conditions, content.recipes, content.lumbargrade)
