"""Probabilities of the grades from a measurement, its error and the thresholds.

The true length or area is taken to be spread around the measurement like a logistic distribution
with the standard deviation of `ERROR`. The probability of a grade is the share of it between the
thresholds. A share of the measurements, `GROSS`, is taken to be of something else, so that it says
nothing. These probabilities say how near a measurement lies to a threshold; they are not
frequencies in patients.
"""

from __future__ import annotations

import math

from scipy.special import expit

from lumbargrade.domain.findings import Probabilities
from lumbargrade.domain.measurement import Measurements, Opinion, Quality, Quantity, Site
from lumbargrade.domain.vocabulary import Grade, Target
from lumbargrade.starter.thresholds import DISC_HEIGHT, FORAMEN_HEIGHT, Threshold

#: Standard deviation of the error of a measurement, in its unit. An edge of an outline is placed to
#: about half a pixel of the grid (1.5 mm sagittal, 0.75 mm axial), and a length has two edges. The
#: sac's area is that of a circle of 100 mm2 whose radius is off by a third of a pixel.
ERROR: dict[Quantity, float] = {
    Quantity.SAC_AREA: 9.0,
    Quantity.SAGITTAL_SAC_DIAMETER: 1.1,
    Quantity.RECESS_DEPTH: 0.55,
    Quantity.FORAMEN_HEIGHT: 1.1,
    Quantity.DISC_HEIGHT_BACK: 1.1,
}
#: Share of the measurements that are grossly wrong, for example because another structure was
#: outlined. It is assumed, not measured; it keeps every probability above 0.
GROSS = 0.1
#: The error of a doubtful measurement is larger by this factor.
DOUBTFUL = 2.0


def probabilities(target: Target, opinion: Opinion, measured: Measurements) -> Probabilities:
    """Return the probabilities of the grades of a target.

    A foramen is narrow by its height, by the height of its disc, or by both, which is severe (see
    `thresholds`). As both are measured in the same outlines, their errors are taken to go together:
    severe is as probable as the less probable of the two.

    The grade of the opinion is never less probable than another one.

    Args:
        target: the target.
        opinion: its grade by the thresholds.
        measured: all measurements of the study.
    """
    if opinion.severe is not None:
        sigma = _error(opinion.quantity, opinion.quality)
        moderate, severe = (
            _below(opinion.value, limit, sigma) for limit in (opinion.moderate, opinion.severe)
        )
    else:
        height = Site(FORAMEN_HEIGHT.quantity, target.level, target.side)
        disc = Site(DISC_HEIGHT.quantity, target.level)
        narrow = [
            _narrow(measured, height, FORAMEN_HEIGHT),
            _narrow(measured, disc, DISC_HEIGHT),
        ]
        moderate, severe = max(narrow), min(narrow)
    shares = [1 - moderate, moderate - severe, severe]
    # between two thresholds, within a hundredth of the error of one, both neighbours together can
    # leave the grade itself a little less than one of them
    best = max(Grade, key=lambda grade: shares[grade])
    if best is not opinion.grade:
        shares[opinion.grade] = shares[best] * (1 + 1e-9)
    total = sum(shares)
    a, b, c = ((1 - GROSS) * share / total + GROSS / len(Grade) for share in shares)
    return a, b, c


def _narrow(measured: Measurements, site: Site, threshold: Threshold) -> float:
    """Return the probability that a measurement is below its limit; 0 if it was not taken."""
    one = measured.found.get(site)
    if one is None:
        return 0.0
    return _below(one.value, threshold.moderate, _error(site.quantity, one.quality))


def _error(quantity: Quantity, quality: Quality) -> float:
    return ERROR[quantity] * (DOUBTFUL if quality is Quality.DOUBTFUL else 1.0)


def _below(value: float, limit: float, sigma: float) -> float:
    """Return the probability that the true value is at most the limit."""
    scale = sigma * math.sqrt(3) / math.pi
    return float(expit((limit - value) / scale))
