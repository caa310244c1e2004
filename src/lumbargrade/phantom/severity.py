"""Grades as pure functions of geometry, and geometry sampled with the prevalence of LSDC.

The grades of a study are sampled first, with their prevalence in LSDC. The geometry is then sampled
in the range of its grade. The densities reach the thresholds, so there is no gap between grades.
docs/phantom.md lists the thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lumbargrade.domain.vocabulary import Condition, Grade, Level


@dataclass(frozen=True, slots=True)
class Scale:
    """Thresholds of a measure, and its distribution inside each grade.

    Attributes:
        moderate: a finding with at least this measure is normal or mild.
        severe: a finding with a smaller measure is severe.
        lowest, highest: range of the measure.
        typical, spread: mean and standard deviation of the normal range (a truncated normal).
    """

    moderate: float
    severe: float
    lowest: float
    highest: float
    typical: float
    spread: float

    def grade(self, measure: float) -> Grade:
        if measure >= self.moderate:
            return Grade.NORMAL_MILD
        return Grade.MODERATE if measure >= self.severe else Grade.SEVERE

    def draw(self, rng: np.random.Generator, grade: Grade) -> float:
        """Sample a measure of the grade."""
        if grade is Grade.NORMAL_MILD:
            while True:
                value = float(rng.normal(self.typical, self.spread))
                if self.moderate <= value <= self.highest:
                    return value
        low, high = (
            (self.severe, self.moderate) if grade is Grade.MODERATE else (self.lowest, self.severe)
        )
        return float(rng.uniform(low, np.nextafter(high, low)))


#: Measures: thecal sac area at the disc, mm2; area of fat around the root in the foramen, mm2;
#: depth of the lateral recess from front to back, mm.
SCALES: dict[Condition, Scale] = {
    Condition.CANAL: Scale(100, 65, 18, 235, 165, 36),
    Condition.FORAMINAL: Scale(48, 20, 2, 125, 85, 21),
    Condition.SUBARTICULAR: Scale(4.6, 2.6, 0.6, 8.0, 6.0, 1.0),
}

#: Share of moderate and of severe grades per level (both sides pooled) in the LSDC training table.
PREVALENCE: dict[Condition, dict[Level, tuple[float, float]]] = {
    Condition.CANAL: {
        Level.L1_L2: (0.0339, 0.0106),
        Level.L2_L3: (0.0765, 0.0268),
        Level.L3_L4: (0.1165, 0.0618),
        Level.L4_L5: (0.1200, 0.1291),
        Level.L5_S1: (0.0258, 0.0096),
    },
    Condition.FORAMINAL: {
        Level.L1_L2: (0.0320, 0.0038),
        Level.L2_L3: (0.0861, 0.0043),
        Level.L3_L4: (0.2094, 0.0206),
        Level.L4_L5: (0.3193, 0.0685),
        Level.L5_S1: (0.2579, 0.1005),
    },
    Condition.SUBARTICULAR: {
        Level.L1_L2: (0.0560, 0.0144),
        Level.L2_L3: (0.1315, 0.0412),
        Level.L3_L4: (0.2302, 0.0991),
        Level.L4_L5: (0.3158, 0.2334),
        Level.L5_S1: (0.2048, 0.0814),
    },
}


def grade(condition: Condition, measure: float) -> Grade:
    """The grade of a measure (see `SCALES` for what is measured)."""
    return SCALES[condition].grade(measure)


def draw_measure(rng: np.random.Generator, condition: Condition, level: Level) -> float:
    """Sample a measure; grades are as common as in the LSDC table at this level."""
    moderate, severe = PREVALENCE[condition][level]
    u = rng.random()
    if u < severe:
        drawn = Grade.SEVERE
    else:
        drawn = Grade.MODERATE if u < severe + moderate else Grade.NORMAL_MILD
    return SCALES[condition].draw(rng, drawn)
