"""Records of an audit: the points of a series as arrays, and suspects with their corrections."""

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

#: A sagittal point this many instances beyond all other points of its side is suspect.
STRAY = 3


class Check(StrEnum):
    """A check. Tables show its value, the page shows :attr:`words`."""

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
    Check.SHIFT: "named one level off",
    Check.SIDES: "left and right mixed up",
    Check.INSTANCE: "on an unlikely slice",
    Check.BOUNDS: "outside its image",
    Check.SERIES: "on an unexpected series",
    Check.PATIENT: "contradicts other series",
    Check.MISSING: "points missing",
    Check.GRADE: "grade that models contradict",
}


@dataclass(frozen=True)
class Suspect:
    """Labels of one series or study that are probably wrong, reviewed together.

    Attributes:
        check: which check found it.
        study_id: the study.
        series_id: the series, or None for a grade, which belongs to the whole study.
        targets: the suspect labels, all of one condition.
        score: 1 is the limit of the check; a higher score is more suspicious. Scores of different
            checks are only roughly comparable.
        reason: one sentence for the reviewer.
        corrections: the proposed corrections; empty if none can be derived.
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
        """The targets as text, levels grouped by side: ``left L1/L2, L2/L3``."""
        by_side: dict[str, list[str]] = {}
        for t in self.targets:
            by_side.setdefault(t.side or "", []).append(t.level.label)
        every = {
            side: "all levels" if len(ls) == len(Level) else ", ".join(ls)
            for side, ls in by_side.items()
        }
        return "; ".join(f"{side} {levels}".strip() for side, levels in every.items())


class ChainPoint(LabelledPoint, Protocol):
    """A labelled point with its position in the image."""

    @property
    def instance_number(self) -> int: ...
    @property
    def x(self) -> float: ...
    @property
    def y(self) -> float: ...


@dataclass(frozen=True)
class Chain:
    """The points of a condition in a series: five, or ten if the condition has sides.

    Attributes:
        study_id, series_id: the series.
        condition: the condition.
        xy: (P, 2) pixels in the order of ``TARGETS[condition]``; NaN for a missing point.
        instances: (P,) instance numbers; NaN for a missing point.
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
        """Rough pixels per spacing: between discs, or on axial slices between left and right."""
        xy = self.xy
        with np.errstate(invalid="ignore"):
            if self.condition is Condition.SUBARTICULAR:
                gaps = np.abs(np.subtract(*(xy[self.side(side), 0] for side in Side)))
            else:
                gaps = np.abs(np.concatenate([np.diff(xy[self.side(s), 1]) for s in self.sides]))
        known = gaps[np.isfinite(gaps)]
        return float(np.median(known)) if len(known) else float("nan")

    def likely_instance(self, i: int) -> int | None:
        """The slice on which a point is expected, or None without other points to tell.

        Sagittal: the median slice of the other points of its side. Axial: the slice of the point on
        the other side.
        """
        if self.condition is Condition.SUBARTICULAR:
            among = [self.targets.index(self.targets[i].mirror())]
        else:
            among = [j for j in self.side(self.targets[i].side).tolist() if j != i]
        known = np.sort(self.instances[among][np.isfinite(self.instances[among])])
        return int(known[(len(known) - 1) // 2]) if len(known) else None

    def nearby_instance(self, i: int) -> float:
        """The slice of point ``i``, or the likely slice if the two are far apart."""
        own, likely = float(self.instances[i]), self.likely_instance(i)
        return own if likely is None or abs(likely - own) < STRAY else float(likely)

    def correction(self, fix: Fix, i: int, xy: ArrayLike, instance: float) -> Correction:
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
        """A suspect of this series; ``which`` are the indices of the suspect labels."""
        targets = tuple(self.targets[i] for i in which)
        ids = self.study_id, self.series_id
        return Suspect(check, *ids, targets, float(score), reason, tuple(corrections))

    def exchanged(self, levels: Iterable[int]) -> tuple[list[int], list[Correction]]:
        """Exchange left and right at some levels: the indices of their points, and the moves."""
        left, right = self.side(Side.LEFT), self.side(Side.RIGHT)
        pairs = [(int(left[k]), int(right[k])) for k in levels]
        swaps = sorted([*pairs, *((j, i) for i, j in pairs)])
        moves = [self.correction(Fix.MOVE, i, self.xy[j], self.instances[j]) for i, j in swaps]
        return [i for i, _ in swaps], moves


def chains_of(condition: Condition, points: Iterable[ChainPoint]) -> list[Chain]:
    """The chain of each series that has a point of the condition, sorted by ids."""
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
    """Choose corrections that do not conflict, by number of the suspect (from 1, in given order).

    No label is corrected twice: the corrections of a suspect are taken together or not at all.
    Wrong points come before missing points, because the position of a missing point is predicted
    from the others. If a whole row of a series may have wrong names and it is not known which row,
    no point is added to the series.
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
    """Sort by falling score; ties are sorted by ids, so that every run gives the same order."""
    return sorted(
        suspects,
        key=lambda s: (-s.score, id_order(s.study_id), id_order(s.series_id or ""), s.check),
    )
