"""Chains of discs made up for tests of the numbering."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.outlines import Segment
from lumbargrade.starter.numbering import STEPS, Candidate, segment_at


def looks(segment: int, sure: float = 0.7) -> NDArray[np.float64]:
    """Log-probabilities of a network that sees one segment, and the others alike."""
    p = np.full(10, (1 - sure) / 9)
    p[segment - 1] = sure
    return np.asarray(np.log(p))


def discs(
    first: int = Segment.T11_T12,
    last: int = Segment.S1_S2,
    *,
    size: float = 1.0,
    noise: float = 1.5,
    seed: int = 0,
    sure: float = 0.7,
    lower: Mapping[int, int] | None = None,
    sacrum: bool = True,
    score: float = 0.9,
) -> list[Candidate]:
    """The discs of a lordotic spine from one position to another, with irregular spacing.

    Args:
        first, last: positions.
        size: of the patient.
        noise: standard deviation of the centres, mm.
        seed: of the noise.
        sure: probability that the network gives to the segment it sees.
        lower: position -> how many levels too low the network sees it.
        sacrum: whether the outline of the sacrum is known.
        score: detection score of each.
    """
    rng = np.random.default_rng(seed)
    place, made = np.zeros(3), []
    for position in range(first, last + 1):
        seen = segment_at(position + (lower or {}).get(position, 0))
        share = (0.9 if position >= Segment.L5_S1 else 0.05) if sacrum else None
        made.append(Candidate(place + rng.normal(0, noise, 3), score, looks(seen, sure), share))
        below = position - 1
        usual = STEPS[min(below, len(STEPS) - 1)] if below >= 0 else STEPS[0] * 0.98**-below
        angle = np.radians(7 * (max(position, 0) - 5))
        place = place + np.array([0, np.sin(angle), -np.cos(angle)]) * size * usual * rng.uniform(
            0.93, 1.07
        )
    return made
