"""Published agreement between human readers: what a kappa can be compared with.

A band is no bar to clear. The studies graded other patients on other scales, most of them with
plain or linearly weighted kappa; and two readers agree with each other no better than either can
agree with a model's truth.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources

from lumbargrade.domain.vocabulary import Condition


@dataclass(frozen=True)
class HumanBand:
    """Range of kappa between readers.

    Attributes:
        condition: what was graded.
        low, high: the range; equal where one figure is given.
        low_source, high_source: where each end is published.
        note: what to know about it.
    """

    condition: Condition
    low: float
    high: float
    low_source: str
    high_source: str
    note: str


def human_agreement() -> list[HumanBand]:
    """The bands that the package knows, from ``scoring/data/human_agreement.csv``."""
    file = resources.files("lumbargrade.scoring") / "data" / "human_agreement.csv"
    return [
        HumanBand(
            Condition(row["condition"]),
            float(row["low"]),
            float(row["high"]),
            row["low_source"],
            row["high_source"],
            row["note"],
        )
        for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    ]
