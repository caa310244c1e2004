"""The records of an audit: the points of a series as arrays, and a suspect with its corrections."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.ids import id_order
from lumbargrade.domain.vocabulary import TARGETS, Condition, Level, Side, Target
from lumbargrade.lsdc.corrections import Correction, Fix
from lumbargrade.lsdc.rows import LabelledPoint

#: Instances by which a sagittal point may lie beyond all others of its side.
STRAY = 3


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
    study_id: str
    series_id: str | None
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


class ChainPoint(LabelledPoint, Protocol):
    """A labelled point with its place in the image."""

    @property
    def instance_number(self) -> int: ...
    @property
    def x(self) -> float: ...
    @property
    def y(self) -> float: ...


@dataclass(frozen=True)
class Chain:
    """The five points (ten where a condition has sides) of a condition in a series.

    Attributes:
        study_id, series_id: whose.
        condition: what they mark.
        xy: (P, 2) pixels in the order of ``TARGETS[condition]``; NaN where there is no point.
        instances: (P,) instance numbers; NaN where there is no point.
    """

    study_id: str
    series_id: str
    condition: Condition
    xy: FloatArray
    instances: FloatArray

    @property
    def targets(self) -> tuple[Target, ...]:
        return TARGETS[self.condition]

    @cached_property
    def there(self) -> NDArray[np.intp]:
        """Indices of the targets that have a point."""
        return np.flatnonzero(np.isfinite(self.xy).all(axis=1))

    @cached_property
    def marked(self) -> frozenset[Target]:
        """The targets that have a point."""
        return frozenset(self.targets[i] for i in self.there)

    def side(self, side: Side | None) -> NDArray[np.intp]:
        """Indices of the targets of a side, top to bottom."""
        return np.flatnonzero([t.side is side for t in self.targets])

    def marked_on(self, side: Side | None) -> list[int]:
        """Indices of the targets of a side that have a point, top to bottom."""
        return [i for i in self.side(side).tolist() if i in self.there]

    @property
    def sides(self) -> tuple[Side | None, ...]:
        return tuple(Side) if self.condition.sided else (None,)

    @property
    def spacing(self) -> float:
        """A first guess of pixels per spacing: between discs; axial, between left and right."""
        xy = self.xy
        with np.errstate(invalid="ignore"):
            if self.condition is Condition.SUBARTICULAR:
                gaps = np.abs(np.subtract(*(xy[self.side(side), 0] for side in Side)))
            else:
                gaps = np.abs(np.concatenate([np.diff(xy[self.side(s), 1]) for s in self.sides]))
        known = gaps[np.isfinite(gaps)]
        return float(np.median(known)) if len(known) else float("nan")

    def likely_instance(self, i: int) -> int | None:
        """The slice that a point would lie on, or None where the others do not tell.

        Sagittal, the middle one of its side's others; axial, that of the other side's point.
        """
        if self.condition is Condition.SUBARTICULAR:
            among = [self.targets.index(self.targets[i].mirror())]
        else:
            among = [j for j in self.side(self.targets[i].side).tolist() if j != i]
        known = np.sort(self.instances[among][np.isfinite(self.instances[among])])
        return int(known[(len(known) - 1) // 2]) if len(known) else None

    def nearby_instance(self, i: int) -> float:
        """The slice of point ``i``; where it lies far from that of its side's others, theirs."""
        own, likely = float(self.instances[i]), self.likely_instance(i)
        return own if likely is None or abs(likely - own) < STRAY else float(likely)

    def correction(self, fix: Fix, i: int, xy: ArrayLike, instance: float) -> Correction:
        """A correction of point ``i``."""
        x, y = np.round(np.asarray(xy, float), 2).tolist()
        ids = self.study_id, self.series_id
        return Correction(fix, *ids, int(instance), self.targets[i], x, y)

    def suspect(
        self,
        check: Check,
        which: Iterable[int],
        score: float,
        reason: str,
        corrections: Iterable[Correction] = (),
    ) -> Suspect:
        """A suspect of this series; ``which`` are the indices of the labels in question."""
        targets = tuple(self.targets[i] for i in which)
        ids = self.study_id, self.series_id
        return Suspect(check, *ids, targets, float(score), reason, tuple(corrections))

    def exchanged(self, levels: Iterable[int]) -> tuple[list[int], list[Correction]]:
        """Left and right of some levels named the other way: their indices, and the moves."""
        left, right = self.side(Side.LEFT), self.side(Side.RIGHT)
        pairs = [(int(left[k]), int(right[k])) for k in levels]
        swaps = sorted([*pairs, *((j, i) for i, j in pairs)])
        moves = [self.correction(Fix.MOVE, i, self.xy[j], self.instances[j]) for i, j in swaps]
        return [i for i, _ in swaps], moves


def chains_of(condition: Condition, points: Iterable[ChainPoint]) -> list[Chain]:
    """All series with a point of a condition, by ids."""
    targets = TARGETS[condition]
    place = {t: i for i, t in enumerate(targets)}
    found: dict[tuple[str, str], list[ChainPoint]] = defaultdict(list)
    for point in points:
        if point.target.condition is condition:
            found[point.study_id, point.series_id].append(point)
    chains = []
    for (study, series), mine in sorted(found.items(), key=lambda item: [*map(id_order, item[0])]):
        xy, instances = np.full((len(targets), 2), np.nan), np.full(len(targets), np.nan)
        for p in mine:
            xy[place[p.target]] = p.x, p.y
            instances[place[p.target]] = p.instance_number
        chains.append(Chain(study, series, condition, xy, instances))
    return chains


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
    return sorted(
        suspects,
        key=lambda s: (-s.score, id_order(s.study_id), id_order(s.series_id or ""), s.check),
    )
