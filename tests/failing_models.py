"""Models that fail in ways that a study can make models fail; they import next to nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.domain.errors import BadModel, Problem
from lumbargrade.domain.findings import Finding, Probabilities, StudyPrediction
from lumbargrade.domain.vocabulary import TARGETS, Condition, Target

CANAL = TARGETS[Condition.CANAL]

#: What a study that is predicted gets.
GOOD = (0.2, 0.3, 0.5)


@dataclass(frozen=True)
class Failing:
    """A job whose studies are named after what happens to them.

    Attributes:
        memory: folder in which every study leaves a file with a character for each attempt.
        opening: what happens when the models are opened: nothing, ``damaged``, ``crashes``, or
            ``once``, which crashes from the second time on.
    """

    memory: Path
    opening: str = ""

    @property
    def constants(self) -> Mapping[Target, Probabilities]:
        return dict.fromkeys(CANAL, GOOD)

    def attempts(self, name: str) -> int:
        """How often something was tried."""
        file = self.memory / name
        return len(file.read_text()) if file.exists() else 0

    def open(self, number: int) -> Failing:
        again = self._tried("opened") > 1
        if self.opening == "damaged":
            raise BadModel("MODEL: damaged")
        if self.opening == "crashes" or (again and self.opening == "once"):
            os._exit(3)
        return self

    def predict(self, study_id: str) -> tuple[StudyPrediction, bool]:
        print("what a library prints")
        first = self._tried(study_id) == 1
        if study_id == "crashes" or (first and study_id == "crashes once"):
            os._exit(7)
        if study_id == "hangs":
            time.sleep(600)
        if first and study_id == "cuda once":
            return StudyPrediction(study_id, {}, problems=(Problem("CUDA error"),)), False
        return StudyPrediction(study_id, {t: Finding(t, GOOD) for t in CANAL}), True

    def _tried(self, name: str) -> int:
        with (self.memory / name).open("a") as file:
            file.write("x")
        return self.attempts(name)
