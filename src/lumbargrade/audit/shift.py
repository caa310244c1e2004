"""Whole rows of points named one level too high or too low.

Within a series every point then still fits the others. Against the other side of the series, and
against another series of the study drawn in the same frame, the row stands one disc off.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lumbargrade.audit.chain import Chain
from lumbargrade.audit.shape_model import ShapeModel
from lumbargrade.audit.suspect import Check, Suspect
from lumbargrade.domain.vocabulary import Condition, Level, Side
from lumbargrade.lsdc.corrections import Correction, Fix

#: Discs by which two rows must differ to count as named differently.
_APART = 0.6
#: Two series count as drawn in one frame when size (as a share) and x (in discs) agree this well.
_SAME_SIZE, _SAME_X = 0.12, 0.3

Rows = dict[Side | None, "Row"]


class Row(NamedTuple):
    """Where a row of five points stands: shift of the mean shape, pixels, and its size."""

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
    placed: Collection[int] = (),
) -> list[Suspect]:
    """Sides of a foraminal series, and canal against foraminal rows, one level apart.

    Args:
        placed: series whose place in the patient is known: the canal rows of these are compared
            in millimetres elsewhere, not by their frame.
    """
    if Condition.FORAMINAL not in models:
        return []
    sided = [_rows(c, models[Condition.FORAMINAL]) for c in foraminal]
    canals: dict[int, Row] = {}
    if Condition.CANAL in models:
        for chain in canal:
            if chain.series_id in placed:
                continue
            if row := _rows(chain, models[Condition.CANAL]).get(None):
                canals[chain.study_id] = row
    pairs = [
        (canals[chain.study_id], row)
        for chain, rows in zip(foraminal, sided, strict=True)
        if chain.study_id in canals
        for row in rows.values()
    ]
    usual = _usual_offset(pairs)
    suspects: list[Suspect] = []
    for chain, rows in zip(foraminal, sided, strict=True):
        suspects += _compare(rows, canals.get(chain.study_id), usual, models)
    return suspects


def sides_apart(chain: Chain, model: ShapeModel) -> bool:
    """Whether the two sides of a foraminal series stand a level apart."""
    rows = _rows(chain, model)
    return len(rows) == 2 and abs(_levels(rows[Side.LEFT], rows[Side.RIGHT])) >= _APART


def _rows(chain: Chain, model: ShapeModel) -> Rows:
    rows: Rows = {}
    for side in chain.sides:
        mine = [i for i in chain.side(side).tolist() if i in chain.there]
        size = model.size(chain.xy, mine) if len(mine) >= 3 else 0.0
        if size > 0:
            x, y = np.median(chain.xy[mine] - size * model.mean[mine], axis=0).tolist()
            rows[side] = Row(chain, side, x, y, size)
    return rows


def _usual_offset(pairs: Sequence[tuple[Row, Row]]) -> tuple[float, float]:
    """How far the canal row stands from the foraminal rows, in discs, where sizes agree."""
    offsets = [
        ((a.x - b.x) / b.size, (a.y - b.y) / b.size) for a, b in pairs if _alike(a.size, b.size)
    ]
    x, y = np.median(offsets, axis=0).tolist() if offsets else (0.0, 0.0)
    return x, y


def _alike(a: float, b: float) -> bool:
    return abs(float(np.log(a / b))) < _SAME_SIZE


def _levels(a: Row, b: Row, usual: tuple[float, float] = (0.0, 0.0)) -> float:
    """Discs by which ``a`` stands lower than ``b``."""
    return (a.y - b.y) * 2 / (a.size + b.size) - usual[1]


def _one_frame(a: Row, b: Row, usual: tuple[float, float]) -> bool:
    """Whether two series seem drawn in one frame: no table says so, but chance rarely does this."""
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
    # One row alone may agree in size and x by chance, though it was drawn in another frame.
    if canal is not None and len(off) == 2:
        levels = float(np.mean(list(off.values())))
        yield _suspect(canal, levels, "both foraminal rows", models)


def _sides_suspect(
    left: Row,
    right: Row,
    apart: float,
    off: Mapping[Side | None, float],
    to_canal: Mapping[Side | None, float],
    models: Mapping[Condition, ShapeModel],
) -> Suspect:
    """Left and right a level apart; the canal, where it is in the same frame, tells which."""
    chain = left.chain
    if len(to_canal) == 2 and len(off) == 1:
        odd = next(iter(off))
        row, levels = (left, apart) if odd is Side.LEFT else (right, -apart)
        return _suspect(row, levels, "the other side and the canal row", models)
    low, high = (left, right) if apart > 0 else (right, left)
    return Suspect(
        Check.SHIFT,
        chain.study_id,
        chain.series_id,
        tuple(chain.targets[i] for i in chain.there),
        abs(apart) / _APART,
        f"{low.side} points stand {abs(apart):.1f} levels lower than {high.side} points of the "
        "same name; nothing tells which are right",
    )


def _lacking_end(
    canal: Row, rows: Rows, off: Mapping[Side | None, float], models: Mapping[Condition, ShapeModel]
) -> Iterator[Suspect]:
    """A canal row that lacks its last level and stands a level low is likely named wrong."""
    ends = {+1: canal.chain.side(None)[-1], -1: canal.chain.side(None)[0]}
    for side, levels in off.items():
        if ends[1 if levels > 0 else -1] not in canal.chain.there:
            yield _suspect(canal, levels, f"the {rows[side].name} row", models)


def _suspect(
    row: Row, levels: float, against: str, models: Mapping[Condition, ShapeModel]
) -> Suspect:
    chain = row.chain
    mine = [i for i in chain.side(row.side).tolist() if i in chain.there]
    where = "lower" if levels > 0 else "higher"
    return Suspect(
        Check.SHIFT,
        chain.study_id,
        chain.series_id,
        tuple(chain.targets[i] for i in mine),
        abs(levels) / _APART,
        f"{row.name} points stand {abs(levels):.1f} levels {where} than {against}",
        tuple(_renamed(row, 1 if levels > 0 else -1, models[chain.condition])),
    )


def _renamed(row: Row, step: int, model: ShapeModel) -> Iterator[Correction]:
    """Every point under the name of the next level, ``step`` down; the end by the shape."""
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
