"""What an audit finds, as records: a suspect, and the corrections that it proposes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lumbargrade.domain.vocabulary import Condition, Level, Target
from lumbargrade.lsdc.corrections import Correction


class Check(StrEnum):
    """What was checked; the value stands in the CSV, :attr:`words` on the page."""

    SHAPE = "shape"
    ORDER = "order"
    SHIFT = "shift"
    SIDES = "sides"
    INSTANCE = "instance"
    BOUNDS = "bounds"
    SERIES = "series"
    PATIENT = "patient"
    MISSING = "missing"
    GRADE = "grade"

    @property
    def words(self) -> str:
        return _WORDS[self]


_WORDS = {
    Check.SHAPE: "does not fit the other points",
    Check.ORDER: "levels out of order",
    Check.SHIFT: "one level apart",
    Check.SIDES: "left and right",
    Check.INSTANCE: "instance number off",
    Check.BOUNDS: "outside its image",
    Check.SERIES: "on an unexpected series",
    Check.PATIENT: "axial against sagittal",
    Check.MISSING: "points missing",
    Check.GRADE: "grade that models contradict",
}


@dataclass(frozen=True)
class Suspect:
    """One thing that looks wrong, small enough to be looked at once.

    Attributes:
        check: which check found it.
        study_id: the study.
        series_id: the series, or None where a grade of the study is meant.
        targets: the labels in question, of one condition.
        score: how far beyond what its check lets pass: 1 is the limit. Comparable within a check,
            and roughly between checks.
        reason: one sentence for people.
        corrections: what would put it right, empty where no rule can know.
    """

    check: Check
    study_id: int
    series_id: int | None
    targets: tuple[Target, ...]
    score: float
    reason: str
    corrections: tuple[Correction, ...] = ()

    @property
    def condition(self) -> Condition:
        return self.targets[0].condition

    @property
    def names(self) -> str:
        """The targets for people: sides once, levels joined; ``left L1/L2, L2/L3``."""
        by_side: dict[str, list[str]] = {}
        for t in self.targets:
            by_side.setdefault(t.side or "", []).append(t.level.label)
        every = {
            side: "all levels" if len(ls) == len(Level) else ", ".join(ls)
            for side, ls in by_side.items()
        }
        return "; ".join(f"{side} {levels}".strip() for side, levels in every.items())


def settle(suspects: Sequence[Suspect]) -> dict[int, tuple[Correction, ...]]:
    """The corrections that go together, by number of the suspect (from 1, in the given order).

    No label is corrected twice. What puts a suspect right is taken whole or not at all; wrong
    points come before missing ones, since those are placed by the points that are there. Where a
    whole row may bear wrong names and nothing tells which, nothing is added to its series.
    """
    taken: set[object] = set()
    open_names = {
        s.series_id
        for s in suspects
        if s.check in (Check.SHIFT, Check.PATIENT) and not s.corrections
    }
    settled: dict[int, tuple[Correction, ...]] = {}
    numbered = enumerate(suspects, start=1)
    for number, suspect in sorted(numbered, key=lambda n: n[1].check is Check.MISSING):
        keys = {c.key for c in suspect.corrections}
        if suspect.check is Check.MISSING and suspect.series_id in open_names:
            continue
        if keys and not keys & taken:
            taken |= keys
            settled[number] = suspect.corrections
    return dict(sorted(settled.items()))


def ranked(suspects: Iterable[Suspect]) -> list[Suspect]:
    """The most suspicious first; ties in the order of the ids, so that runs agree."""
    return sorted(suspects, key=lambda s: (-s.score, s.study_id, s.series_id or 0, s.check))
