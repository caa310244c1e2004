"""The points of one condition in one series as arrays: what the checks look at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.vocabulary import TARGETS, Condition, Side, Target
from lumbargrade.lsdc.corrections import Correction, Fix
from lumbargrade.lsdc.rows import LabelledPoint

#: Instances by which a sagittal point may lie beyond all others of its side.
STRAY = 3


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

    study_id: int
    series_id: int
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


def chains_of(condition: Condition, points: Iterable[ChainPoint]) -> list[Chain]:
    """All series with a point of a condition, by ids."""
    targets = TARGETS[condition]
    place = {t: i for i, t in enumerate(targets)}
    found: dict[tuple[int, int], list[ChainPoint]] = defaultdict(list)
    for point in points:
        if point.target.condition is condition:
            found[point.study_id, point.series_id].append(point)
    chains = []
    for (study, series), mine in sorted(found.items()):
        xy, instances = np.full((len(targets), 2), np.nan), np.full(len(targets), np.nan)
        for p in mine:
            xy[place[p.target]] = p.x, p.y
            instances[place[p.target]] = p.instance_number
        chains.append(Chain(study, series, condition, xy, instances))
    return chains
