"""Which disc is which: how the levels of a study were named, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Numbering:
    """How the levels of a study were named.

    Attributes:
        confidence: probability of the numbering that is used, before any shift.
        runner_up: the next probable numbering in words, for example "one level lower"; empty if no
            other numbering is possible.
        runner_up_confidence: its probability.
        limit: smallest confidence at which the numbering counts as certain.
        reason: what decided, in words, for example "sacrum seen on 3 series".
        lumbar_bodies: number of lumbar vertebral bodies, usually 5.
        shift: levels by which the user moved the names: 1 names every disc one level lower, so that
            what was L4/L5 becomes L5/S1; 0 if nothing was moved.
    """

    confidence: float
    runner_up: str
    runner_up_confidence: float
    limit: float
    reason: str
    lumbar_bodies: int = 5
    shift: int = 0

    @property
    def certain(self) -> bool:
        """Whether the confidence reaches the limit, or the user decided with a shift."""
        return self.shift != 0 or self.confidence >= self.limit
