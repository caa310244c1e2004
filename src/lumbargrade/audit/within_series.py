"""Checks of one series: image bounds, kind of series, slices, left and right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from lumbargrade.audit.records import STRAY, Chain, Check, Suspect
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.vocabulary import KIND_OF, Condition, Level, SeriesKind, Side
from lumbargrade.lsdc.corrections import Fix

#: If left and right points are at most this many slices apart (median over levels), both mark the
#: same side of the patient.
_ONE_SIDE = 1
#: Axial: two sides of a level may differ by less than this many instances or this share of the
#: distance to the next level, whichever is larger.
_INSTANCES, _SHARE = 3, 0.6


def check_bounds(chain: Chain, size: tuple[int, int] | None) -> Iterator[Suspect]:
    """Find points outside their image.

    Args:
        size: (height, width) of the image; with None, only points above or to the left of any image
            are found.
    """
    height, width = size or (np.inf, np.inf)
    xy = chain.xy[chain.there]
    limit = np.array([width, height], float) - 0.5
    outside = chain.there[((xy < -0.5) | (xy > limit)).any(axis=1)]
    if len(outside):
        x, y = chain.xy[outside[0]]
        frame = f"{width} x {height} pixels" if size else "any image"
        reason = f"({x:.0f}, {y:.0f}) lies outside {frame}"
        yield chain.suspect(Check.BOUNDS, outside, 2.0 + len(outside), reason)


def check_series(
    chain: Chain, kinds: Mapping[tuple[str, str], SeriesKind], together: int
) -> Iterator[Suspect]:
    """Find a series of an unexpected kind, one of several of its kind, or one with few points.

    Args:
        kinds: kind by (study id, series id).
        together: number of series of the study with points of this condition.
    """
    kind = kinds.get((chain.study_id, chain.series_id))
    wanted = KIND_OF[chain.condition]
    score, reason = 2.0, ""
    if kind is None:
        reason = "the series is not in the table of series descriptions"
    elif kind is not wanted:
        reason = f"points on a {kind.value} series; the condition is read on {wanted.value}"
    elif together > 1 and wanted.sagittal:
        score = 1.0
        reason = f"one of {together} series of the study with points, though each shows all levels"
    if reason:
        yield chain.suspect(Check.SERIES, chain.there, score, reason)
    if 0 < len(chain.there) < 3 and wanted.sagittal:
        reason = f"only {len(chain.there)} of {len(chain.targets)} points: too few to check"
        yield chain.suspect(Check.SERIES, chain.there, 4.0 - len(chain.there), reason)


def check_sides(chain: Chain) -> Iterator[Suspect]:
    """Find left and right at the same place, on the same slices, or exchanged."""
    if not chain.condition.sided:
        return
    yield from _same_place(chain)
    if chain.condition is Condition.FORAMINAL:
        yield from _same_slices(chain)
    else:
        yield from _exchanged(chain)


def check_instances(chain: Chain) -> Iterator[Suspect]:
    """Find sagittal points on slices far beyond those of the other points of their side."""
    if chain.condition is Condition.SUBARTICULAR:
        return
    for side in chain.sides:
        mine = [i for i in chain.side(side) if np.isfinite(chain.instances[i])]
        for i in mine:
            others = np.array([chain.instances[j] for j in mine if j != i])
            if len(others) < 2:
                continue
            own = chain.instances[i]
            beyond = max(others.min() - own, own - others.max())
            if beyond < STRAY:
                continue
            middle = chain.likely_instance(i)
            assert middle is not None
            yield chain.suspect(
                Check.INSTANCE,
                [i],
                beyond / STRAY,
                f"on instance {int(own)}; the other points of its side are on {_span(others)}",
                [chain.correction(Fix.MOVE, i, chain.xy[i], middle)],
            )


def check_axial(chain: Chain) -> Iterator[Suspect]:
    """Find levels whose slices are out of order, and sides of a level on slices far apart."""
    if chain.condition is not Condition.SUBARTICULAR:
        return
    left, right = _instances(chain)
    both = np.isfinite(left) & np.isfinite(right)
    middle = np.where(both, (left + right) / 2, np.fmax(left, right))
    known = np.flatnonzero(np.isfinite(middle))
    if len(known) >= 3:
        yield from _out_of_order(chain, known.tolist(), np.diff(middle[known]))
    steps = np.abs(np.diff(middle))
    if not np.isfinite(steps).any():
        return
    step = float(np.median(steps[np.isfinite(steps)]))
    limit = max(_INSTANCES, _SHARE * step)
    apart = np.flatnonzero(np.abs(left - right) >= limit)
    if not len(apart):
        return
    whole = len(apart) >= 2 and 2 * len(apart) >= both.sum()
    levels = list(Level)
    k = int(apart[0])
    yield chain.suspect(
        Check.SHIFT if whole else Check.INSTANCE,
        [i for i, t in enumerate(chain.targets) if levels.index(t.level) in apart],
        np.abs(left - right)[apart].max() / limit,
        f"at {levels[k].label} left is on instance {int(left[k])}, right on {int(right[k])}; "
        f"neighbouring levels are {step:.0f} apart"
        + ("; one side is probably named one level off" if whole else ""),
    )


def _instances(chain: Chain) -> tuple[FloatArray, FloatArray]:
    """Instance numbers (5,) of the left points and of the right points."""
    return chain.instances[chain.side(Side.LEFT)], chain.instances[chain.side(Side.RIGHT)]


def _same_slices(chain: Chain) -> Iterator[Suspect]:
    """Left and right on common slices: foramina are centimetres apart, so no slice shows both."""
    left, right = _instances(chain)
    a, b = left[np.isfinite(left)], right[np.isfinite(right)]
    if not len(a) or not len(b) or max(b.min() - a.max(), a.min() - b.max()) > 0:
        return
    levels = np.abs(left - right)[np.isfinite(left) & np.isfinite(right)]
    one = bool(len(levels) and np.median(levels) <= _ONE_SIDE)
    dropped = chain.there if one else ()
    yield chain.suspect(
        Check.SIDES,
        chain.there,
        3.0 if one else 1.0,
        f"left on instances {_span(a)}, right on {_span(b)}: the ranges overlap"
        + ("; it is not known which side is marked" if one else ", though not at the same level"),
        [chain.correction(Fix.DROP, i, chain.xy[i], chain.instances[i]) for i in dropped],
    )


def _same_place(chain: Chain) -> Iterator[Suspect]:
    same = [
        i
        for pair in zip(chain.side(Side.LEFT), chain.side(Side.RIGHT), strict=True)
        if np.array_equal(*chain.xy[list(pair)]) and np.equal(*chain.instances[list(pair)])
        for i in pair
    ]
    if same:
        reason = "left and right are the same point"
        yield chain.suspect(Check.SIDES, sorted(same), 1.0 + len(same), reason)


def _exchanged(chain: Chain) -> Iterator[Suspect]:
    """Left and right exchanged: axial images show the patient's left on their right."""
    apart = chain.xy[chain.side(Side.LEFT), 0] - chain.xy[chain.side(Side.RIGHT), 0]
    wrong = np.flatnonzero(apart < 0)
    if len(wrong):
        swapped, moves = chain.exchanged(wrong)
        reason = "the left point lies on the image's left, which shows the patient's right"
        yield chain.suspect(Check.SIDES, swapped, 1.0 + len(wrong), reason, moves)


def _out_of_order(chain: Chain, known: list[int], steps: FloatArray) -> Iterator[Suspect]:
    """Levels out of order: slices are numbered along the spine, in either direction."""
    direction = 1 if (steps > 0).sum() >= (steps < 0).sum() else -1
    back = np.flatnonzero(steps * direction <= 0)
    if not len(back):
        return
    levels = list(Level)
    pairs = [(levels[known[k]], levels[known[k + 1]]) for k in back]
    named = {level for pair in pairs for level in pair}
    yield chain.suspect(
        Check.ORDER,
        [i for i in chain.there if chain.targets[i].level in named],
        1.0 + len(back),
        "; ".join(
            f"{b.label} does not follow {a.label} in the order of the slices" for a, b in pairs
        ),
    )


def _span(instances: FloatArray) -> str:
    low, high = int(instances.min()), int(instances.max())
    return str(low) if low == high else f"{low} to {high}"
