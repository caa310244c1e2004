"""Correction of canal probabilities for the any-severe part of the official score.

The score uses the largest severe probability over the levels as the probability that any level is
severe. This is too small if several levels may be severe. Only a study's highest level counts in
this part, so only that level is raised; raising it makes the canal's own part worse. Out-of-fold
predictions decide whether the two parts improve together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from lumbargrade.domain.vocabulary import Grade
from lumbargrade.scoring.local import OFFICIAL_CLIP, any_severe, local_score
from lumbargrade.scoring.resampling import held_out_parts

Floats = NDArray[np.float64]


class Rule(StrEnum):
    """How a study's highest severe probability is raised, simplest rule first.

    none: it is not raised.
    union: to 1 - (1 - highest) * product over the other levels of (1 - p) ** strength. Strength 1
        treats the levels as independent, strength 0 raises nothing.
    shift: its odds are multiplied by exp(strength).
    """

    NONE = "none"
    UNION = "union"
    SHIFT = "shift"


_LIMITS = {Rule.UNION: 1.0, Rule.SHIFT: 4.0}


@dataclass(frozen=True, slots=True)
class AnySevere:
    """A correction: a rule and its strength; the default changes nothing.

    The raised probability increases with every level's severe probability, and a study's highest
    level remains the highest.
    """

    rule: Rule = Rule.NONE
    strength: float = 0.0

    def __post_init__(self) -> None:
        limit = _LIMITS.get(self.rule, 0.0)
        if not 0 <= self.strength <= limit:
            raise ValueError(
                f"any-severe strength {self.strength} of rule {self.rule}: give 0 to {limit}"
            )

    def apply(self, probabilities: ArrayLike) -> Floats:
        """Return corrected canal probabilities, (S, L, 3).

        The other grades of a raised level shrink in proportion.

        Args:
            probabilities: (S, L, 3) by study and level; nan where missing.
        """
        p = np.array(probabilities, float)
        severe = np.where(np.isfinite(p[..., 2]), p[..., 2], -np.inf)
        rows = np.arange(len(p))
        top = severe.argmax(axis=1)
        highest = severe[rows, top]
        rows, top, highest = (v[(highest >= 0) & (highest < 1)] for v in (rows, top, highest))
        raised = self._raised(highest, severe[rows], top)
        p[rows, top] *= ((1 - raised) / (1 - highest))[:, None]
        p[rows, top, 2] = raised
        return p

    def _raised(self, highest: Floats, severe: Floats, top: NDArray[np.int_]) -> Floats:
        if self.rule is Rule.UNION:
            rest = np.where(np.isfinite(severe), 1 - severe, 1.0)
            rest[np.arange(len(top)), top] = 1.0
            return np.asarray(1 - (1 - highest) * rest.prod(axis=1) ** self.strength, float)
        if self.rule is Rule.SHIFT:
            odds = highest * np.exp(self.strength)
            return np.asarray(odds / (1 - highest + odds), float)
        return highest


@dataclass(frozen=True)
class CanalParts:
    """The two parts of the official score that use canal probabilities.

    Attributes:
        canal: weighted log loss of the levels.
        any_severe: any-severe loss, the binary loss of each study's highest level.
    """

    canal: float
    any_severe: float

    @property
    def mean(self) -> float:
        return (self.canal + self.any_severe) / 2


@dataclass(frozen=True)
class AnySevereChoice:
    """The chosen correction and its cross-validated losses.

    Attributes:
        correction: the chosen correction; the default if `nested` is not better than `before`.
        before: losses without a correction.
        held_out: rule -> losses on studies that it was not fitted to; the rule with the lowest
            mean is chosen.
        nested: losses on studies that were used neither to choose nor to fit the rule; None with
            fewer than two studies.
    """

    correction: AnySevere
    before: CanalParts
    held_out: Mapping[Rule, CanalParts]
    nested: CanalParts | None


def canal_parts(probabilities: ArrayLike, grades: ArrayLike) -> CanalParts:
    """Return both parts as the official score computes them; nan if nothing is graded.

    Args:
        probabilities: (S, L, 3) by study and level; nan where missing. Missing levels are excluded.
        grades: (S, L) 0 to 2, or -1 where not graded.
    """
    p, y = np.asarray(probabilities, float), np.asarray(grades, int)
    y = np.where(np.isfinite(p).all(axis=2), y, -1)
    known = y >= 0
    canal = local_score(p[known], y[known], OFFICIAL_CLIP).weighted
    return CanalParts(canal, any_severe(p[..., Grade.SEVERE], y, official=True))


def fit_any_severe(rule: Rule, probabilities: ArrayLike, grades: ArrayLike) -> AnySevere:
    """Fit the strength of a rule: it minimises the mean of both parts (see `canal_parts`)."""
    if rule is Rule.NONE:
        return AnySevere()

    def mean(strength: float) -> float:
        corrected = AnySevere(rule, strength).apply(probabilities)
        return canal_parts(corrected, grades).mean

    found = minimize_scalar(mean, bounds=(0.0, _LIMITS[rule]), method="bounded")
    better = found.fun < mean(0.0)
    return AnySevere(rule, float(found.x) if better else 0.0)


def choose_any_severe(
    probabilities: ArrayLike, grades: ArrayLike, studies: ArrayLike, folds: ArrayLike
) -> AnySevereChoice:
    """Choose a rule by cross-validation, then fit it to all studies.

    Args:
        probabilities: (S, L, 3) out-of-fold canal probabilities; nan where missing.
        grades: (S, L) 0 to 2, or -1 where not graded.
        studies: (S,) study ids.
        folds: (S,) their folds.
    """
    p, y = np.asarray(probabilities, float), np.asarray(grades, int)
    s, f = np.asarray(studies), np.asarray(folds)
    rule, held_out = _choose(p, y, s, f)
    parts = held_out_parts(s, f)
    corrected = p.copy()
    for out in parts:
        inner, _ = _choose(p[~out], y[~out], s[~out], f[~out])
        corrected[out] = fit_any_severe(inner, p[~out], y[~out]).apply(p[out])
    before = canal_parts(p, y)
    nested = canal_parts(corrected, y) if parts else None
    helps = nested is not None and nested.mean < before.mean
    correction = fit_any_severe(rule, p, y) if helps else AnySevere()
    return AnySevereChoice(correction, before, held_out, nested)


def _choose(
    p: Floats, y: NDArray[np.int_], studies: NDArray[np.generic], folds: NDArray[np.generic]
) -> tuple[Rule, dict[Rule, CanalParts]]:
    parts = held_out_parts(studies, folds)
    if not parts:
        return Rule.NONE, {}
    found = {}
    for rule in Rule:
        corrected = np.empty_like(p)
        for out in parts:
            corrected[out] = fit_any_severe(rule, p[~out], y[~out]).apply(p[out])
        found[rule] = canal_parts(corrected, y)
    return min(found, key=lambda rule: found[rule].mean), found
