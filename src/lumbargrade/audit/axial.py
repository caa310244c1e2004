"""Axial points: which slices the levels and the two sides lie on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lumbargrade.audit.chain import Chain
from lumbargrade.audit.suspect import Check, Suspect
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.vocabulary import Condition, Level, Side

#: Instances, and share of the way to the next level, by which two sides may differ.
_INSTANCES, _SHARE = 3, 0.6


def check_axial(chain: Chain) -> Iterator[Suspect]:
    """Levels whose slices are out of order, and sides of a level on slices far apart."""
    if chain.condition is not Condition.SUBARTICULAR:
        return
    left, right = (chain.instances[chain.side(side)] for side in (Side.LEFT, Side.RIGHT))
    with np.errstate(invalid="ignore"):
        middle = np.where(
            np.isfinite(left) & np.isfinite(right), (left + right) / 2, np.fmax(left, right)
        )
    known = np.flatnonzero(np.isfinite(middle))
    if len(known) >= 3:
        yield from _out_of_order(chain, known.tolist(), np.diff(middle[known]))
    steps = np.abs(np.diff(middle))
    step = float(np.median(steps[np.isfinite(steps)])) if np.isfinite(steps).any() else np.inf
    limit = max(_INSTANCES, _SHARE * step)
    with np.errstate(invalid="ignore"):
        apart = np.flatnonzero(np.abs(left - right) >= limit)
    if not len(apart) or not np.isfinite(step):
        return
    both = int((np.isfinite(left) & np.isfinite(right)).sum())
    whole = len(apart) >= 2 and 2 * len(apart) >= both
    levels = list(Level)
    k = int(apart[0])
    yield Suspect(
        Check.SHIFT if whole else Check.INSTANCE,
        chain.study_id,
        chain.series_id,
        tuple(t for t in chain.targets if levels.index(t.level) in apart),
        float(np.abs(left - right)[apart].max()) / limit,
        f"at {levels[k].label} left on instance {int(left[k])}, right on {int(right[k])}, with "
        f"{step:.0f} from level to level" + ("; sides named a level apart" if whole else ""),
    )


def _out_of_order(chain: Chain, known: list[int], steps: FloatArray) -> Iterator[Suspect]:
    """Slices are numbered from one end of the spine to the other, in either direction."""
    direction = 1 if (steps > 0).sum() >= (steps < 0).sum() else -1
    back = np.flatnonzero(steps * direction <= 0)
    if not len(back):
        return
    levels = list(Level)
    pairs = [(levels[known[k]], levels[known[k + 1]]) for k in back]
    named = {level for pair in pairs for level in pair}
    yield Suspect(
        Check.ORDER,
        chain.study_id,
        chain.series_id,
        tuple(t for i, t in enumerate(chain.targets) if t.level in named and i in chain.there),
        1.0 + len(back),
        "; ".join(f"{b.label} does not follow {a.label} in the order of slices" for a, b in pairs),
    )
