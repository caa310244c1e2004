"""From out-of-fold files to a blend: weights, calibration, any-severe correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.vocabulary import TARGETS, Condition
from lumbargrade.prediction.blend import FORMAT, Blend, BlendMember, ConditionBlend, Measured
from lumbargrade.prediction.oof import (
    ConditionTable,
    OofMember,
    condition_table,
    require_same_folds,
)
from lumbargrade.scoring.any_severe import AnySevere, AnySevereChoice, choose_any_severe
from lumbargrade.scoring.blending import WeightChoice, choose_weights
from lumbargrade.scoring.calibration_choice import CalibrationChoice, choose_calibration
from lumbargrade.scoring.fixed_weights import FixedWeights


@dataclass(frozen=True)
class ConditionFit:
    """What was found for one condition.

    Attributes:
        members: names of those that grade it.
        weights: with losses per member, in that order.
        calibration: of the blend's probabilities.
        spare: members without weight that predict what no member with weight does.
    """

    members: tuple[str, ...]
    weights: WeightChoice
    calibration: CalibrationChoice
    spare: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlendFit:
    """A blend with everything that was measured on the way.

    Attributes:
        members: the out-of-fold files.
        conditions: those that a member grades and that have true grades.
        any_severe: correction of the canal; None where no member grades it.
    """

    members: tuple[OofMember, ...]
    conditions: Mapping[Condition, ConditionFit]
    any_severe: AnySevereChoice | None

    def blend(self) -> Blend:
        """What a blend file holds of it."""
        correction = AnySevere() if self.any_severe is None else self.any_severe.correction
        return Blend(
            format=FORMAT,
            folds=self.members[0].record.folds,
            members=tuple(
                BlendMember(m.name, m.record.flip, m.record.models, m.record.guides)
                for m in self.members
            ),
            conditions={c: _condition_blend(fit) for c, fit in self.conditions.items()},
            any_severe=correction,
        )


def fit_blend(members: Sequence[OofMember], fixed: FixedWeights | None = None) -> BlendFit:
    """Fit a blend to out-of-fold predictions.

    Args:
        members: out-of-fold files; a member may lack conditions or single findings.
        fixed: conditions whose weights are given.

    Raises:
        UsageError: if the files are of other folds, one name, or without any true grade.
        BadTable: if they disagree on a fold or a true grade.
    """
    require_same_folds(members)
    fits: dict[Condition, ConditionFit] = {}
    any_severe = None
    for condition in Condition:
        table = condition_table(members, condition)
        if table is None or not (table.grades >= 0).any():
            continue
        given = (fixed or {}).get(condition)
        weights = choose_weights(
            table.probabilities,
            table.grades,
            table.studies,
            table.folds,
            None if given is None else _of_those_present(given, members, table, condition),
        )
        known = table.grades >= 0
        calibration = choose_calibration(
            weights.mixed[known], table.grades[known], table.studies[known], table.folds[known]
        )
        spare = _spare(table, weights.weights)
        fits[condition] = ConditionFit(table.names, weights, calibration, spare)
        if condition is Condition.CANAL:
            any_severe = choose_any_severe(*by_level(table, weights.mixed))
    if not fits:
        raise UsageError("no true grades in the out-of-fold files, so there is nothing to fit to")
    return BlendFit(tuple(members), fits, any_severe)


def by_level(
    table: ConditionTable, mixed: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int_], NDArray[np.str_], NDArray[np.int_]]:
    """Canal rows by study and level.

    Returns:
        Probabilities (S, 5, 3), nan where missing; grades (S, 5), -1 where not graded; study ids
        (S,); folds (S,).
    """
    levels = {t: n for n, t in enumerate(TARGETS[Condition.CANAL])}
    studies, first, number = np.unique(table.studies, return_index=True, return_inverse=True)
    probabilities = np.full((len(studies), len(levels), 3), np.nan)
    grades = np.full((len(studies), len(levels)), -1)
    column = [levels[target] for _, target in table.keys]
    probabilities[number, column] = mixed
    grades[number, column] = table.grades
    return probabilities, grades, studies, table.folds[first]


def _of_those_present(
    given: Sequence[float],
    members: Sequence[OofMember],
    table: ConditionTable,
    condition: Condition,
) -> list[float]:
    by_name = dict(zip((m.name for m in members), given, strict=True))
    weights = [by_name[name] for name in table.names]
    if sum(weights) <= 0:
        raise UsageError(f"{condition}: no weight is left for {', '.join(table.names)}")
    return weights


def _spare(table: ConditionTable, weights: Sequence[float]) -> tuple[str, ...]:
    present: NDArray[np.bool_] = np.isfinite(table.probabilities[..., 0])
    lacking = ~present[[w > 0 for w in weights]].any(axis=0)
    return tuple(
        name
        for name, weight, mine in zip(table.names, weights, present, strict=True)
        if weight == 0 and (mine & lacking).any()
    )


def _condition_blend(fit: ConditionFit) -> ConditionBlend:
    def named(values: Sequence[float]) -> dict[str, float]:
        return dict(zip(fit.members, values, strict=True))

    return ConditionBlend(
        weights=named(fit.weights.weights),
        origin=fit.weights.origin,
        calibration=fit.calibration.calibration,
        measured=Measured(
            findings=fit.calibration.findings,
            members=named(fit.weights.members),
            blend=fit.weights.blend,
            log_loss=fit.calibration.before,
            calibrated=fit.calibration.nested,
        ),
        spare=fit.spare,
    )
