"""Grades as pure functions of geometry, and geometry drawn so that grades are as common as in LSDC.

A study's grades are drawn by real prevalence first; the geometry is then drawn inside the range of
its grade, from densities that reach right up to the thresholds, so that neighbouring grades meet
without a gap. Thresholds are documented in docs/phantom.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lumbargrade.domain.vocabulary import Condition, Grade, Level


@dataclass(frozen=True, slots=True)
class Scale:
    """How one measure becomes a grade and how it is distributed inside each grade.

    Attributes:
        moderate: at or above it a finding is normal or mild.
        severe: below it a finding is severe.
        lowest, highest: ends of the measure's range.
        typical, spread: mean and deviation of the normal range (a truncated normal).
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
        """A measure of this grade."""
        if grade is Grade.NORMAL_MILD:
            while True:
                value = float(rng.normal(self.typical, self.spread))
                if self.moderate <= value <= self.highest:
                    return value
        low, high = (
            (self.severe, self.moderate) if grade is Grade.MODERATE else (self.lowest, self.severe)
        )
        return float(rng.uniform(low, np.nextafter(high, low)))


#: Measures: thecal sac area at the disc, mm2; fat left around the root in the foramen, mm2;
#: depth of the lateral recess from front to back, mm.
SCALES: dict[Condition, Scale] = {
    Condition.CANAL: Scale(100, 65, 18, 235, 165, 36),
    Condition.FORAMINAL: Scale(48, 20, 2, 125, 85, 21),
    Condition.SUBARTICULAR: Scale(4.6, 2.6, 0.6, 8.0, 6.0, 1.0),
}

#: Share of moderate and severe grades among the graded, per level (both sides together), counted
#: in the LSDC training table.
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
    """A measure whose grade is as common as in the real table at this level."""
    moderate, severe = PREVALENCE[condition][level]
    u = rng.random()
    if u < severe:
        drawn = Grade.SEVERE
    else:
        drawn = Grade.MODERATE if u < severe + moderate else Grade.NORMAL_MILD
    return SCALES[condition].draw(rng, drawn)
