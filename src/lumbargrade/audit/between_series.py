"""Checks of a row of points against other rows: rows named one level off, left and right exchanged.

If all points of a row are named one level too high or too low, they still fit each other. The other
side of the series and the other series of the study contradict them. Rows are compared in pixels,
if two series seem to share one image frame, or in patient millimetres, if a store has the planes of
the slices. A level has the same height in all series of a patient, and left is always left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lumbargrade.audit.records import Chain, Check, Suspect, chains_of
from lumbargrade.audit.shape import ShapeModel
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.point import NOWHERE
from lumbargrade.domain.vocabulary import Condition, Level, Side, Target
from lumbargrade.lsdc.corrections import Correction, Fix
from lumbargrade.lsdc.store_tables import StoredPoint

#: A row or point that lies this many levels too high or too low counts as named for another level.
_APART = 0.6
#: Two series share an image frame if size (as a share) and x (in disc spacings) agree this well.
_SAME_SIZE, _SAME_X = 0.12, 0.3
#: Left and right are exchanged if left lies more than this to the right of right, mm.
_LEFT_OF_RIGHT = 2.0

Places = Mapping[tuple[str, Target], FloatArray]
Rows = dict[Side | None, "Row"]


class Row(NamedTuple):
    """Position of a row of five points: shift and size of the mean shape, pixels."""

    chain: Chain
    side: Side | None
    x: float
    y: float
    size: float

    @property
    def name(self) -> str:
        return f"{self.side} foraminal" if self.side else "canal"


def check_shifts(
    canal: Sequence[Chain],
    foraminal: Sequence[Chain],
    models: Mapping[Condition, ShapeModel],
    placed: Collection[str] = (),
) -> list[Suspect]:
    """Find rows that are named one level off: one foraminal side, or the canal row.

    Args:
        placed: series with known positions in the patient. Their canal rows are not compared here,
            but in millimetres by :func:`check_patient`.
    """
    if Condition.FORAMINAL not in models:
        return []
    sided = [_rows(c, models[Condition.FORAMINAL]) for c in foraminal]
    canals = {
        chain.study_id: row
        for chain in canal
        if Condition.CANAL in models and chain.series_id not in placed
        if (row := _rows(chain, models[Condition.CANAL]).get(None))
    }
    pairs = [
        (canals[chain.study_id], row)
        for chain, rows in zip(foraminal, sided, strict=True)
        if chain.study_id in canals
        for row in rows.values()
    ]
    usual = _usual_offset(pairs)
    return [
        suspect
        for chain, rows in zip(foraminal, sided, strict=True)
        for suspect in _compare(rows, canals.get(chain.study_id), usual, models)
    ]


def sides_apart(chain: Chain, model: ShapeModel) -> bool:
    """Whether left and right points of the same name lie about a level apart in height."""
    rows = _rows(chain, model)
    return len(rows) == 2 and abs(_levels(rows[Side.LEFT], rows[Side.RIGHT])) >= _APART


def _rows(chain: Chain, model: ShapeModel) -> Rows:
    rows: Rows = {}
    for side in chain.sides:
        mine = chain.marked_on(side)
        size = model.size(chain.xy, mine) if len(mine) >= 3 else 0.0
        if size > 0:
            x, y = np.median(chain.xy[mine] - size * model.mean[mine], axis=0).tolist()
            rows[side] = Row(chain, side, x, y, size)
    return rows


def _usual_offset(pairs: Sequence[tuple[Row, Row]]) -> tuple[float, float]:
    """Median offset of canal from foraminal rows of the same size, in disc spacings."""
    offsets = [
        ((a.x - b.x) / b.size, (a.y - b.y) / b.size) for a, b in pairs if _alike(a.size, b.size)
    ]
    x, y = np.median(offsets, axis=0).tolist() if offsets else (0.0, 0.0)
    return x, y


def _alike(a: float, b: float) -> bool:
    return abs(float(np.log(a / b))) < _SAME_SIZE


def _levels(a: Row, b: Row, usual: tuple[float, float] = (0.0, 0.0)) -> float:
    """Levels by which ``a`` lies lower than ``b``."""
    return (a.y - b.y) * 2 / (a.size + b.size) - usual[1]


def _one_frame(a: Row, b: Row, usual: tuple[float, float]) -> bool:
    """Whether two series seem to share an image frame, which the tables do not say."""
    return _alike(a.size, b.size) and abs((a.x - b.x) / b.size - usual[0]) <= _SAME_X


def _compare(
    rows: Rows,
    canal: Row | None,
    usual: tuple[float, float],
    models: Mapping[Condition, ShapeModel],
) -> Iterator[Suspect]:
    to_canal = {
        side: _levels(canal, row, usual)
        for side, row in rows.items()
        if canal is not None and _one_frame(canal, row, usual)
    }
    off = {side: levels for side, levels in to_canal.items() if abs(levels) >= _APART}
    if len(rows) == 2:
        left, right = rows[Side.LEFT], rows[Side.RIGHT]
        apart = _levels(left, right)
        if abs(apart) >= _APART:
            yield _sides_suspect(left, right, apart, off, to_canal, models)
            if canal is not None:
                yield from _lacking_end(canal, rows, off, models)
            return
    # A single row may agree in size and x by chance although its image frame is another one.
    if canal is not None and len(off) == 2:
        levels = float(np.mean(list(off.values())))
        yield _shift_suspect(canal, levels, "both foraminal rows", models)


def _sides_suspect(
    left: Row,
    right: Row,
    apart: float,
    off: Mapping[Side | None, float],
    to_canal: Mapping[Side | None, float],
    models: Mapping[Condition, ShapeModel],
) -> Suspect:
    """Left and right lie a level apart; a canal row in the same frame shows which one is wrong."""
    if len(to_canal) == 2 and len(off) == 1:
        odd = next(iter(off))
        row, levels = (left, apart) if odd is Side.LEFT else (right, -apart)
        return _shift_suspect(row, levels, "the other side and the canal row", models)
    low, high = (left, right) if apart > 0 else (right, left)
    return left.chain.suspect(
        Check.SHIFT,
        left.chain.there,
        abs(apart) / _APART,
        f"{low.side} points lie {abs(apart):.1f} levels lower than {high.side} points of the "
        "same name; it is not known which side is right",
    )


def _lacking_end(
    canal: Row, rows: Rows, off: Mapping[Side | None, float], models: Mapping[Condition, ShapeModel]
) -> Iterator[Suspect]:
    """A canal row that lies a level too low and lacks its lowest level is probably named wrong.

    The same holds for a row that lies too high and lacks its highest level.
    """
    ends = {+1: canal.chain.side(None)[-1], -1: canal.chain.side(None)[0]}
    for side, levels in off.items():
        if ends[1 if levels > 0 else -1] not in canal.chain.there:
            yield _shift_suspect(canal, levels, f"the {rows[side].name} row", models)


def _shift_suspect(
    row: Row, levels: float, against: str, models: Mapping[Condition, ShapeModel]
) -> Suspect:
    where = "lower" if levels > 0 else "higher"
    return row.chain.suspect(
        Check.SHIFT,
        row.chain.marked_on(row.side),
        abs(levels) / _APART,
        f"{row.name} points lie {abs(levels):.1f} levels {where} than {against}",
        _renamed(row, 1 if levels > 0 else -1, models[row.chain.condition]),
    )


def _renamed(row: Row, step: int, model: ShapeModel) -> Iterator[Correction]:
    """Rename every point to the level ``step`` further down; predict the point at the free end."""
    chain, mine = row.chain, row.chain.side(row.side).tolist()
    xy, instances = np.full_like(chain.xy, np.nan), np.full_like(chain.instances, np.nan)
    for place in range(len(Level)):
        if 0 <= place - step < len(Level):
            xy[mine[place]] = chain.xy[mine[place - step]]
            instances[mine[place]] = chain.instances[mine[place - step]]
    there = [i for i in mine if np.isfinite(xy[i]).all()]
    for i in mine:
        fix = Fix.MOVE if i in chain.there else Fix.ADD
        if i in there:
            yield chain.correction(fix, i, xy[i], instances[i])
        elif (instance := chain.likely_instance(i)) is not None and len(there) >= 2:
            yield chain.correction(fix, i, model.predict(xy, there, i), instance)


@dataclass(frozen=True)
class Spine:
    """Positions of the levels of a study in the patient.

    Attributes:
        places: (5, 3) LPS mm; NaN for a level without a point.
        down: (5, 3) unit vectors along the spine, towards the feet.
        spacing: distance of neighbouring discs, mm.
    """

    places: FloatArray
    down: FloatArray
    spacing: float

    @classmethod
    def of(cls, places: FloatArray) -> Spine | None:
        """The spine of a row of points (5, 3), or None with fewer than three points."""
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

    def levels_lower(self, places: FloatArray) -> FloatArray:
        """Levels by which points (5, 3) lie lower than the level of their name, (5,)."""
        return np.asarray(((places - self.places) * self.down).sum(axis=1) / self.spacing)


def check_patient(
    points: Iterable[StoredPoint], doubted: Collection[tuple[str, Target]] = ()
) -> list[Suspect]:
    """Find points at the height of another level, and exchanged sides.

    If every other series of a study contradicts a canal point, the canal point is the suspect.

    Args:
        points: all points of a store.
        doubted: (series id, target) of points already flagged: neither judged nor used as
            reference.
    """
    points = list(points)
    places = {
        (p.series_id, p.target): np.asarray(p.patient or NOWHERE, float)
        for p in points
        if (p.series_id, p.target) not in doubted
    }
    chains = {c: chains_of(c, points) for c in Condition}
    others: dict[str, list[Chain]] = defaultdict(list)
    suspects: list[Suspect] = []
    for condition in (Condition.FORAMINAL, Condition.SUBARTICULAR):
        for chain in chains[condition]:
            others[chain.study_id].append(chain)
            suspects += _exchanged_sides(chain, places)
    for chain in chains[Condition.CANAL]:
        spine = Spine.of(_places(chain, None, places))
        if spine is not None:
            suspects += _heights(chain, spine, others[chain.study_id], places)
    return suspects


def _places(chain: Chain, side: Side | None, places: Places) -> FloatArray:
    """(5, 3) LPS mm of a side, top to bottom; NaN if the position is not known."""
    nowhere = np.full(3, np.nan)
    targets = [chain.targets[i] for i in chain.side(side)]
    return np.array([places.get((chain.series_id, t), nowhere) for t in targets])


def _heights(
    canal: Chain, spine: Spine, others: Sequence[Chain], places: Places
) -> Iterator[Suspect]:
    """Points at the height of another level than that of their name; one suspect per series."""
    lower = []
    for chain in others:
        levels = np.full(len(chain.targets), np.nan)
        for side in chain.sides:
            levels[chain.side(side)] = spine.levels_lower(_places(chain, side, places))
        lower.append(levels)
    blamed = _contradicted_levels(lower)
    if blamed:
        higher = {k: -levels for k, levels in blamed.items()}
        yield _height_suspect(canal, higher, spine, "all other points of that level")
    for chain, levels in zip(others, lower, strict=True):
        off = {
            i: by
            for i, by in enumerate(levels.tolist())
            if abs(by) >= _APART and i % len(Level) not in blamed
        }
        if off:
            yield _height_suspect(chain, off, spine, "the canal point of that level")


def _contradicted_levels(lower: Sequence[FloatArray]) -> dict[int, float]:
    """Levels at which all points of two or more series are off in the same direction: how far."""
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


def _height_suspect(chain: Chain, off: Mapping[int, float], spine: Spine, than: str) -> Suspect:
    """A suspect of the points ``off``: by index, the number of levels that each is too low."""
    worst = max(off, key=lambda i: abs(off[i]))
    level, by = chain.targets[worst].level, off[worst]
    where = "below" if by > 0 else "above"
    levels = list(Level)
    at = levels.index(level) + round(by)
    height = f", at the height of {levels[at].label}" if 0 <= at < len(levels) else ""
    return chain.suspect(
        Check.PATIENT,
        off,
        abs(by) / _APART,
        f"{level.label} lies {abs(by) * spine.spacing:.0f} mm {where} {than}{height}",
    )


def _exchanged_sides(chain: Chain, places: Places) -> Iterator[Suspect]:
    """Left points that lie to the right of right points in the patient."""
    left, right = (_places(chain, side, places) for side in (Side.LEFT, Side.RIGHT))
    apart = left[:, 0] - right[:, 0]
    wrong = np.flatnonzero(apart < -_LEFT_OF_RIGHT)
    if not len(wrong):
        return
    swapped, moves = chain.exchanged(wrong)
    reason = (
        f"left point {-apart[wrong].min():.0f} mm to the right of the right point in the patient"
    )
    yield chain.suspect(Check.PATIENT, swapped, 2.0 + len(wrong), reason, moves)
