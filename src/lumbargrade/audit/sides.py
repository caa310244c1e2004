"""Left against right: on the same slices, at the same place, exchanged, on off slices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lumbargrade.audit.chain import STRAY, Chain
from lumbargrade.audit.suspect import Check, Suspect
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.vocabulary import Condition, Side
from lumbargrade.lsdc.corrections import Fix

#: Points of a level on slices so close, in the middle over levels, mark one side of the patient.
_ONE_SIDE = 1


def check_sides(chain: Chain) -> Iterator[Suspect]:
    """What two sides of a series cannot both be."""
    if not chain.condition.sided:
        return
    left, right = (chain.side(side) for side in (Side.LEFT, Side.RIGHT))
    yield from _same_place(chain)
    if chain.condition is Condition.FORAMINAL:
        yield from _same_slices(chain, chain.instances[left], chain.instances[right])
    else:
        yield from _exchanged(chain)


def check_instances(chain: Chain) -> Iterator[Suspect]:
    """A sagittal point on a slice far beyond those of its side's other points."""
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
            low, high = int(others.min()), int(others.max())
            span = str(low) if low == high else f"{low} to {high}"
            yield Suspect(
                Check.INSTANCE,
                chain.study_id,
                chain.series_id,
                (chain.targets[i],),
                float(beyond) / STRAY,
                f"on instance {int(own)}, the others of its side on {span}",
                (chain.correction(Fix.MOVE, i, chain.xy[i], middle),),
            )


def _same_slices(chain: Chain, left: FloatArray, right: FloatArray) -> Iterator[Suspect]:
    """Foramina of two sides lie centimetres apart, so no slice shows both."""
    a, b = left[np.isfinite(left)], right[np.isfinite(right)]
    if not len(a) or not len(b):
        return
    gap = max(b.min() - a.max(), a.min() - b.max())
    if gap > 0:
        return
    levels = np.abs(left - right)[np.isfinite(left) & np.isfinite(right)]
    one = bool(len(levels) and np.median(levels) <= _ONE_SIDE)
    dropped = chain.there if one else ()
    yield Suspect(
        Check.SIDES,
        chain.study_id,
        chain.series_id,
        tuple(chain.targets[i] for i in chain.there),
        3.0 if one else 1.0,
        f"left on instances {_span(a)}, right on {_span(b)}: they overlap"
        + (", and nothing tells which side is meant" if one else ", yet apart at each level"),
        tuple(chain.correction(Fix.DROP, i, chain.xy[i], chain.instances[i]) for i in dropped),
    )


def _same_place(chain: Chain) -> Iterator[Suspect]:
    pairs = zip(chain.side(Side.LEFT), chain.side(Side.RIGHT), strict=True)
    same = [
        i
        for pair in pairs
        if np.array_equal(chain.xy[pair[0]], chain.xy[pair[1]])
        and chain.instances[pair[0]] == chain.instances[pair[1]]
        for i in pair
    ]
    if same:
        yield Suspect(
            Check.SIDES,
            chain.study_id,
            chain.series_id,
            tuple(chain.targets[i] for i in sorted(same)),
            1.0 + len(same),
            "left and right are one and the same point",
        )


def _exchanged(chain: Chain) -> Iterator[Suspect]:
    """Axial images show the patient's left on their right; most levels tell how this one is."""
    left, right = chain.side(Side.LEFT), chain.side(Side.RIGHT)
    apart = chain.xy[left, 0] - chain.xy[right, 0]
    wrong = np.flatnonzero(apart < 0)
    if not len(wrong):
        return
    pairs = [(int(left[k]), int(right[k])) for k in wrong]
    swaps = [(i, j) for pair in pairs for i, j in (pair, pair[::-1])]
    yield Suspect(
        Check.SIDES,
        chain.study_id,
        chain.series_id,
        tuple(chain.targets[i] for i, _ in sorted(swaps)),
        1.0 + len(wrong),
        "the left point lies on the image's left, which shows the patient's right",
        tuple(
            chain.correction(Fix.MOVE, i, chain.xy[j], chain.instances[j]) for i, j in sorted(swaps)
        ),
    )


def _span(instances: FloatArray) -> str:
    low, high = int(instances.min()), int(instances.max())
    return str(low) if low == high else f"{low} to {high}"
