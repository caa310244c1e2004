"""Points where no point can be: outside their image, on a series of another kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from lumbargrade.audit.chain import Chain
from lumbargrade.audit.suspect import Check, Suspect
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.lsdc.rows import KIND_OF


def check_bounds(chain: Chain, size: tuple[int, int] | None) -> Iterator[Suspect]:
    """Points outside their image.

    Args:
        size: (height, width) of the image; with None only what lies above or left of any image.
    """
    height, width = size or (np.inf, np.inf)
    xy = chain.xy[chain.there]
    limit = np.array([width, height], float) - 0.5
    outside = chain.there[((xy < -0.5) | (xy > limit)).any(axis=1)]
    if len(outside):
        x, y = chain.xy[outside[0]]
        frame = f"{width} x {height} pixels" if size else "any image"
        yield Suspect(
            Check.BOUNDS,
            chain.study_id,
            chain.series_id,
            tuple(chain.targets[i] for i in outside),
            2.0 + len(outside),
            f"({x:.0f}, {y:.0f}) lies outside {frame}",
        )


def check_series(
    chain: Chain, kinds: Mapping[tuple[int, int], SeriesKind], together: int
) -> Iterator[Suspect]:
    """A series that nobody trains this condition on, or that is one of several.

    Args:
        kinds: kind by (study id, series id).
        together: how many series of the study have points of this condition.
    """
    kind = kinds.get((chain.study_id, chain.series_id))
    wanted = KIND_OF[chain.condition]
    targets = tuple(chain.targets[i] for i in chain.there)
    ids = chain.study_id, chain.series_id
    if kind is None:
        reason = "the series is not in the table of series descriptions"
        yield Suspect(Check.SERIES, *ids, targets, 2.0, reason)
    elif kind is not wanted:
        reason = f"points on a {kind.value} series; the condition is read on {wanted.value}"
        yield Suspect(Check.SERIES, *ids, targets, 2.0, reason)
    elif together > 1 and wanted.sagittal:
        reason = f"one of {together} series of the study with points; each shows every level"
        yield Suspect(Check.SERIES, *ids, targets, 1.0, reason)
    if 0 < len(chain.there) < 3 and wanted.sagittal:
        reason = f"only {len(chain.there)} of {len(chain.targets)} points: too few to check"
        yield Suspect(Check.SERIES, *ids, targets, 4.0 - len(chain.there), reason)
