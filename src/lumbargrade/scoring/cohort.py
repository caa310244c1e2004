"""A cohort: predicted findings beside their true grades, and what could not be paired."""

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
    """N findings with what was predicted and what is true.

    Attributes:
        studies: (N,) study of each finding.
        targets: (N,) position of its target in ``FINDINGS``.
        probabilities: (N, 3) as the models gave them; rows sum to 1.
        grades: (N,) true grade, 0..2.
        calibrated: (N, 3) calibrated probabilities; nan where a finding has none.
    """

    studies: NDArray[np.str_]
    targets: NDArray[np.intp]
    probabilities: NDArray[np.float64]
    grades: NDArray[np.intp]
    calibrated: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.grades)

    def where(self, chosen: NDArray[np.bool_]) -> GradedFindings:
        """The findings for which ``chosen`` (N,) is True."""
        return GradedFindings(
            self.studies[chosen],
            self.targets[chosen],
            self.probabilities[chosen],
            self.grades[chosen],
            self.calibrated[chosen],
        )

    def of(self, condition: Condition) -> GradedFindings:
        wanted = np.array([t.condition is condition for t in FINDINGS])
        return self.where(wanted[self.targets])

    @property
    def is_calibrated(self) -> bool:
        """Whether every finding has calibrated probabilities."""
        return len(self) > 0 and bool(np.isfinite(self.calibrated).all())

    @property
    def study_codes(self) -> tuple[NDArray[np.intp], int]:
        """(N,) number of each finding's study, and how many studies there are."""
        names, codes = np.unique(self.studies, return_inverse=True)
        return codes.astype(np.intp), len(names)


@dataclass(frozen=True)
class Cohort:
    """Results paired with labels.

    Attributes:
        predicted: graded findings that a model predicted.
        not_graded: condition -> graded findings that the results name as absent.
        missing: condition -> graded findings of paired studies that the results do not have.
        paired: studies in both, in order of the labels.
        only_in_results, only_in_labels: studies in one of them only.
    """

    predicted: GradedFindings
    not_graded: Mapping[Condition, int]
    missing: Mapping[Condition, int]
    paired: tuple[str, ...]
    only_in_results: tuple[str, ...] = ()
    only_in_labels: tuple[str, ...] = ()

    @property
    def unpaired(self) -> int:
        return len(self.only_in_results) + len(self.only_in_labels)


def pair(
    predictions: Mapping[str, StudyPrediction],
    grades: Mapping[str, Mapping[Target, Grade]],
) -> Cohort:
    """Pair predictions with true grades by study and target.

    Args:
        predictions: study -> what was predicted, and what is absent.
        grades: study -> target -> true grade; a target without one is not graded.
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
    """All findings of several collections, one after the other."""
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
