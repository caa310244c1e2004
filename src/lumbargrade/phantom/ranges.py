"""The table of ranges from which phantoms are drawn (``randomisation.toml``)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np

Part = Literal["anatomy", "image"]


@dataclass(frozen=True, slots=True)
class Range:
    """One row of the table.

    Attributes:
        reason: why the range is as it is.
        low, high: bounds of every draw.
        mean, spread: of a normal distribution; without them the draw is uniform.
        chance: probability of an event; there are no other numbers then.
    """

    reason: str
    low: float = 0.0
    high: float = 1.0
    mean: float | None = None
    spread: float | None = None
    chance: float | None = None

    def draw(self, rng: np.random.Generator) -> float:
        """Draw a number.

        Raises:
            ValueError: if the row is a chance.
        """
        if self.chance is not None:
            raise ValueError("the row is a chance, not a range")
        if self.mean is None or self.spread is None:
            return float(rng.uniform(self.low, self.high))
        return float(np.clip(rng.normal(self.mean, self.spread), self.low, self.high))

    def happens(self, rng: np.random.Generator) -> bool:
        """Draw whether an event happens.

        Raises:
            ValueError: if the row is not a chance.
        """
        if self.chance is None:
            raise ValueError("the row is a range, not a chance")
        return bool(rng.random() < self.chance)


@cache
def ranges(part: Part) -> dict[str, Range]:
    """Return a part of the table by name."""
    text = files("lumbargrade.phantom").joinpath("randomisation.toml").read_text("utf-8")
    return {name: Range(**row) for name, row in tomllib.loads(text)[part].items()}


class Draws:
    """Draws from one part of the table with one random generator.

    Examples:
        >>> draws = Draws(np.random.default_rng(0), "anatomy")
        >>> 0.8 <= draws.number("size") <= 1.2
        True
    """

    def __init__(self, rng: np.random.Generator, part: Part) -> None:
        self.rng, self.table = rng, ranges(part)

    def number(self, name: str) -> float:
        """Draw a number of a row."""
        return self.table[name].draw(self.rng)

    def happens(self, name: str) -> bool:
        """Draw whether the event of a row happens."""
        return self.table[name].happens(self.rng)
