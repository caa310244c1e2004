"""Agreement by condition, and within each by level, side and any property of the studies."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.vocabulary import FINDINGS, Condition, Level, Side
from lumbargrade.scoring.agreement import Agreement, agreement
from lumbargrade.scoring.cohort import GradedFindings
from lumbargrade.scoring.resampling import RESAMPLES, SEED

#: Field -> value -> its studies: properties of studies such as vendor or field strength.
Groups = Mapping[str, Mapping[str, Collection[str]]]

OWN_PARTS = ALL, BY_LEVEL, BY_SIDE = "all", "level", "side"


@dataclass(frozen=True)
class Part:
    """Agreement on a part of the findings.

    Attributes:
        condition: what was graded.
        by: ``all``, ``level``, ``side`` or the name of a group.
        value: which level, side or group; empty for all.
        agreement: on the findings of the part.
    """

    condition: Condition
    by: str
    value: str
    agreement: Agreement


def break_down(
    graded: GradedFindings,
    groups: Groups | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Part]:
    """Agreement of every part that has a graded finding, conditions first, then their parts."""
    found = []
    for condition in Condition:
        mine = graded.of(condition)
        if not len(mine):
            continue
        for by, value, chosen in _parts(mine, condition, groups or {}):
            if chosen.any():
                part = agreement(mine.where(chosen), resamples=resamples, seed=seed)
                found.append(Part(condition, by, value, part))
    return found


def _parts(
    graded: GradedFindings, condition: Condition, groups: Groups
) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    yield ALL, "", np.ones(len(graded), bool)
    levels = np.array([t.level.value for t in FINDINGS])[graded.targets]
    for level in Level:
        yield BY_LEVEL, level.label, levels == level.value
    if condition.sided:
        sides = np.array([t.side.value if t.side else "" for t in FINDINGS])[graded.targets]
        for side in Side:
            yield BY_SIDE, side.value, sides == side.value
    for field, studies_of in groups.items():
        for value, studies in studies_of.items():
            yield field, value, np.isin(graded.studies, list(studies))
