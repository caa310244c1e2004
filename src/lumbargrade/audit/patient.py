"""Rows of labels against each other in patient millimetres: axial and foraminal against canal.

All series of a study lie in one patient, so a level has one height, and left is left, whichever
series it was marked on. Needs the planes of the slices, so a store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lumbargrade.audit.chain import Chain, chains_of
from lumbargrade.audit.suspect import Check, Suspect
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.vocabulary import Condition, Level, Side, Target
from lumbargrade.lsdc.corrections import Fix
from lumbargrade.lsdc.store_tables import StoredPoint

#: Levels by which a point may stand above or below where the canal points put its level.
_APART = 0.6
#: Millimetres by which left must lie left of right; anything less cannot be two sides.
_LEFT_OF_RIGHT = 2.0

Places = Mapping[tuple[int, Target], FloatArray]


@dataclass(frozen=True)
class Spine:
    """The levels of a study in the patient.

    Attributes:
        places: (5, 3) LPS mm; NaN for a level without a point.
        down: (5, 3) unit vectors along the spine to the feet.
        spacing: mm from disc to disc.
    """

    places: FloatArray
    down: FloatArray
    spacing: float

    @classmethod
    def of(cls, places: FloatArray) -> Spine | None:
        """From the points of a row, or None with fewer than three."""
        known = np.flatnonzero(np.isfinite(places).all(axis=1))
        if len(known) < 3:
            return None
        steps = np.gradient(places[known], known, axis=0)
        spacing = float(np.median(np.linalg.norm(steps, axis=1)))
        if not spacing > 0:
            return None
        down = np.full_like(places, np.nan)
        down[known] = steps / np.linalg.norm(steps, axis=1, keepdims=True)
        return cls(places, down, spacing)

    def lower_by(self, places: FloatArray) -> FloatArray:
        """Levels by which points (5, 3) stand lower than the level they are named after, (5,)."""
        return np.asarray(((places - self.places) * self.down).sum(axis=1) / self.spacing)


def check_patient(
    points: Iterable[StoredPoint], doubted: Collection[tuple[int, Target]] = ()
) -> list[Suspect]:
    """Points at the height of another level, and sides exchanged.

    Where all the other series of a study stand against a canal point, that is the suspect.

    Args:
        points: of a store.
        doubted: (series id, target) of points that another check has found; nothing is held
            against them.
    """
    points = list(points)
    places = {
        (p.series_id, p.target): np.asarray(p.patient, float)
        for p in points
        if (p.series_id, p.target) not in doubted
    }
    chains = {c: chains_of(c, points) for c in Condition}
    others: dict[int, list[Chain]] = defaultdict(list)
    suspects: list[Suspect] = []
    for condition in (Condition.FORAMINAL, Condition.SUBARTICULAR):
        for chain in chains[condition]:
            others[chain.study_id].append(chain)
            suspects += _exchanged(chain, places)
    for chain in chains[Condition.CANAL]:
        spine = Spine.of(_row(chain, None, places))
        if spine is not None:
            suspects += _heights(chain, spine, others[chain.study_id], places)
    return suspects


def _row(chain: Chain, side: Side | None, places: Places) -> FloatArray:
    """(5, 3) LPS mm of a side, top to bottom; NaN where there is no place."""
    nowhere = np.full(3, np.nan)
    targets = [chain.targets[i] for i in chain.side(side)]
    return np.array([places.get((chain.series_id, t), nowhere) for t in targets])


def _heights(
    canal: Chain, spine: Spine, others: Sequence[Chain], places: Places
) -> Iterator[Suspect]:
    """Points at another level's height than their name: one suspect per series."""
    lower = []
    for chain in others:
        levels = np.full(len(chain.targets), np.nan)
        for side in chain.sides:
            levels[chain.side(side)] = spine.lower_by(_row(chain, side, places))
        lower.append(levels)
    blamed = _against_all(lower)
    if blamed:
        worst = max(blamed, key=lambda k: abs(blamed[k]))
        targets = tuple(canal.targets[k] for k in sorted(blamed))
        yield _suspect(canal, targets, canal.targets[worst], -blamed[worst], spine, "all others")
    for chain, levels in zip(others, lower, strict=True):
        off = [
            i
            for i in range(len(levels))
            if abs(levels[i]) >= _APART and i % len(Level) not in blamed
        ]
        if off:
            worst = max(off, key=lambda i: abs(float(levels[i])))
            targets = tuple(chain.targets[i] for i in off)
            by = float(levels[worst])
            yield _suspect(chain, targets, chain.targets[worst], by, spine, "the canal point")


def _against_all(lower: Sequence[FloatArray]) -> dict[int, float]:
    """Levels at which every point of two or more series stands off, one way: how far."""
    blamed = {}
    for k in range(len(Level)):
        each = [v[k :: len(Level)][np.isfinite(v[k :: len(Level)])] for v in lower]
        each = [v for v in each if len(v)]
        if len(each) < 2:
            continue
        every = np.concatenate(each)
        if (every >= _APART).all() or (every <= -_APART).all():
            blamed[k] = float(np.median(every))
    return blamed


def _suspect(
    chain: Chain, targets: tuple[Target, ...], worst: Target, by: float, spine: Spine, than: str
) -> Suspect:
    where = "below" if by > 0 else "above"
    levels = list(Level)
    at = levels.index(worst.level) + round(by)
    height = f", at the height of {levels[at].label}" if 0 <= at < len(levels) else ""
    return Suspect(
        Check.PATIENT,
        chain.study_id,
        chain.series_id,
        targets,
        abs(by) / _APART,
        f"{worst.level.label} lies {abs(by) * spine.spacing:.0f} mm {where} {than} of its "
        f"name{height}",
    )


def _exchanged(chain: Chain, places: Places) -> Iterator[Suspect]:
    """Left points to the right of right points, in the patient."""
    left, right = (_row(chain, side, places) for side in (Side.LEFT, Side.RIGHT))
    apart = left[:, 0] - right[:, 0]
    wrong = np.flatnonzero(apart < -_LEFT_OF_RIGHT)
    if not len(wrong):
        return
    sides = chain.side(Side.LEFT), chain.side(Side.RIGHT)
    pairs = [(int(sides[0][k]), int(sides[1][k])) for k in wrong]
    swaps = sorted([*pairs, *((b, a) for a, b in pairs)])
    yield Suspect(
        Check.PATIENT,
        chain.study_id,
        chain.series_id,
        tuple(chain.targets[i] for i, _ in swaps),
        2.0 + len(wrong),
        f"left lies {-float(apart[wrong].min()):.0f} mm to the right of right in the patient",
        tuple(chain.correction(Fix.MOVE, i, chain.xy[j], chain.instances[j]) for i, j in swaps),
    )
