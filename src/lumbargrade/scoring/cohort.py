"""A cohort: predicted findings paired with reference grades, and what could not be paired."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Grade, Target

_POSITION = {target: i for i, target in enumerate(FINDINGS)}


@dataclass(frozen=True)
class GradedFindings:
    """N predicted findings with their reference grades.

    Attributes:
        studies: (N,) study id of each finding.
        targets: (N,) index of its target in ``FINDINGS``.
        probabilities: (N, 3) uncalibrated; rows add up to 1.
        grades: (N,) reference grade, 0 to 2.
        calibrated: (N, 3) calibrated probabilities; nan if a finding has none.
    """

    studies: NDArray[np.str_]
    targets: NDArray[np.intp]
    probabilities: NDArray[np.float64]
    grades: NDArray[np.intp]
    calibrated: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.grades)

    def where(self, chosen: NDArray[np.bool_]) -> GradedFindings:
        """Return the findings for which ``chosen`` (N,) is True."""
        return GradedFindings(
            self.studies[chosen],
            self.targets[chosen],
            self.probabilities[chosen],
            self.grades[chosen],
            self.calibrated[chosen],
        )

    def of(self, condition: Condition) -> GradedFindings:
        """Return the findings of a condition."""
        wanted = np.array([t.condition is condition for t in FINDINGS])
        return self.where(wanted[self.targets])

    @property
    def is_calibrated(self) -> bool:
        """Whether every finding has calibrated probabilities."""
        return len(self) > 0 and bool(np.isfinite(self.calibrated).all())

    @property
    def study_codes(self) -> tuple[NDArray[np.intp], int]:
        """(N,) index of each finding's study, and the number of studies."""
        names, codes = np.unique(self.studies, return_inverse=True)
        return codes.astype(np.intp), len(names)


@dataclass(frozen=True)
class Cohort:
    """Results paired with reference grades.

    Attributes:
        predicted: findings with a prediction and a reference grade.
        not_graded: condition -> number of findings with a reference grade that the results report
            as absent.
        missing: condition -> number of findings with a reference grade in paired studies that the
            results do not contain.
        paired: studies in both, in the order of the reference grades.
        only_in_results, only_in_labels: studies that have only predictions or only grades.
    """

    predicted: GradedFindings
    not_graded: Mapping[Condition, int]
    missing: Mapping[Condition, int]
    paired: tuple[str, ...]
    only_in_results: tuple[str, ...] = ()
    only_in_labels: tuple[str, ...] = ()

    @property
    def unpaired(self) -> int:
        """Number of studies that are not in both."""
        return len(self.only_in_results) + len(self.only_in_labels)


def pair(
    predictions: Mapping[str, StudyPrediction],
    grades: Mapping[str, Mapping[Target, Grade]],
) -> Cohort:
    """Pair predictions with reference grades by study and target.

    Args:
        predictions: study -> its findings, graded or absent.
        grades: study -> target -> reference grade; ungraded targets are absent.
    """
    predicted: list[tuple[str, Finding, Grade]] = []
    not_graded: Counter[Condition] = Counter()
    missing: Counter[Condition] = Counter()
    paired = tuple(study for study in grades if study in predictions)
    for study in paired:
        found = predictions[study]
        for target, grade in grades[study].items():
            if target in found.findings:
                predicted.append((study, found.findings[target], grade))
            elif target in found.absent:
                not_graded[target.condition] += 1
            else:
                missing[target.condition] += 1
    return Cohort(
        predicted=_arrays(predicted),
        not_graded=dict(not_graded),
        missing=dict(missing),
        paired=paired,
        only_in_results=tuple(s for s in predictions if s not in grades),
        only_in_labels=tuple(s for s in grades if s not in predictions),
    )


def joined(parts: Iterable[GradedFindings]) -> GradedFindings:
    """Concatenate findings."""
    listed = list(parts)
    return GradedFindings(
        np.concatenate([p.studies for p in listed]),
        np.concatenate([p.targets for p in listed]),
        np.concatenate([p.probabilities for p in listed]),
        np.concatenate([p.grades for p in listed]),
        np.concatenate([p.calibrated for p in listed]),
    )


def _arrays(rows: list[tuple[str, Finding, Grade]]) -> GradedFindings:
    none = (np.nan,) * len(Grade)
    calibrated = [f.calibrated or none for _, f, _ in rows]
    return GradedFindings(
        studies=np.array([study for study, _, _ in rows], dtype=np.str_),
        targets=np.array([_POSITION[f.target] for _, f, _ in rows], dtype=np.intp),
        probabilities=np.array([f.probabilities for _, f, _ in rows], float).reshape(-1, 3),
        grades=np.array([int(g) for _, _, g in rows], dtype=np.intp),
        calibrated=np.array(calibrated, float).reshape(-1, 3),
    )
