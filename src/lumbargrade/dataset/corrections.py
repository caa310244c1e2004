"""Which series and studies are left out of training, read from a data file with reasons."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from lumbargrade.domain.vocabulary import Condition


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One entry of ``data/excluded.toml``.

    Attributes:
        condition: whose rows it concerns.
        reason: why.
        published: whether the published runs left it out too.
        series, study: what is left out; one of the two is given.
    """

    condition: Condition
    reason: str
    published: bool
    series: int | None = None
    study: int | None = None

    def covers(self, condition: Condition, study_id: int, series_id: int) -> bool:
        """Whether a training row of this series is left out."""
        if condition is not self.condition:
            return False
        return series_id == self.series or study_id == self.study


@cache
def exclusions() -> tuple[Exclusion, ...]:
    """All exclusions, in the order of the data file."""
    text = (resources.files("lumbargrade.dataset") / "data" / "excluded.toml").read_text("utf-8")
    return tuple(
        Exclusion(**{**entry, "condition": Condition(entry["condition"])})
        for entry in tomllib.loads(text)["excluded"]
    )


def is_excluded(
    condition: Condition, study_id: int, series_id: int, *, include_wrong_left_points: bool = False
) -> bool:
    """Whether a series gives no training row for a condition.

    Args:
        include_wrong_left_points: keep what the published runs meant to leave out and did not.
    """
    return any(
        e.covers(condition, study_id, series_id) and (e.published or not include_wrong_left_points)
        for e in exclusions()
    )
