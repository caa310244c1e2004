"""Read and write calibration files (TOML) of `recalibrate` and `grade --calibration`.

Conditions that the file lacks are left unchanged: uncalibrated, or calibrated by the blend.
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

#: Version of the layout; bumped when older programs could misread a newer file.
FORMAT = 1

_KIND = "local calibration"
_HEADER = """\
# Written by `lumbargrade recalibrate`, for `lumbargrade grade --calibration`.
# before, after: log loss of your studies; after: with calibrations fitted to your other studies.
"""


@dataclass(frozen=True)
class FittedCalibration:
    """The calibration of one condition and the data it was fitted to.

    Attributes:
        calibration: calibration from the models' probabilities to frequencies.
        studies, findings: numbers of studies and findings it was fitted to.
        before: unweighted log loss of the probabilities shown before.
        after: cross-validated unweighted log loss of the calibrated probabilities.
    """

    calibration: Calibration
    studies: int
    findings: int
    before: float
    after: float


@dataclass(frozen=True)
class LocalCalibration:
    """Content of a calibration file.

    Attributes:
        conditions: calibrations by condition.
        recipes: sorted recipes of the models to whose results it was fitted; empty if unknown.
        lumbargrade: version of this package that wrote the file.
    """

    conditions: Mapping[Condition, FittedCalibration]
    recipes: tuple[str, ...] = ()
    lumbargrade: str = __version__

    def apply(self, prediction: StudyPrediction) -> StudyPrediction:
        """Return the prediction with calibrated findings."""
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
    """The content as it is stored."""

    kind: str = _KIND
    format: int = FORMAT


def write_calibration(path: Path, local: LocalCalibration) -> None:
    """Write a calibration file atomically."""
    import tomli_w

    content = _Content(**vars(local))
    write_text(path, f"{_HEADER}\n{tomli_w.dumps(plain(content))}")


def read_calibration(path: Path) -> LocalCalibration:
    """Read a file that :func:`write_calibration` wrote.

    Raises:
        UsageError: if the file is missing, of another kind or format, or has wrong keys.
    """
    if not path.is_file():
        raise UsageError(
            f"{path}: no calibration file there (`lumbargrade recalibrate` writes one)"
        )
    data = read_plain(path)
    if data.get("kind") != _KIND or data.get("format") != FORMAT:
        raise UsageError(
            f"{path}: not a calibration file of format {FORMAT} (`lumbargrade recalibrate` writes "
            "one)"
        )
    content = structured(data, _Content, path, "calibration")
    return LocalCalibration(content.conditions, content.recipes, content.lumbargrade)
