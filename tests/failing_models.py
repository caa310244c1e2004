"""Models that fail in ways that a study can make models fail; they import next to nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.domain.errors import BadModel
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.vocabulary import TARGETS, Condition
from lumbargrade.scoring.fill import Constants

CANAL = TARGETS[Condition.CANAL]

#: What a study that is predicted gets.
GOOD = (0.2, 0.3, 0.5)


@dataclass(frozen=True)
class Failing:
    """Opens a worker whose studies are named after what happens to them.

    Attributes:
        memory: folder in which every study leaves a file with a character for each attempt.
        opening: what happens when the models are opened: nothing, ``damaged``, ``crashes``, or
            ``once``, which crashes from the second time on.
    """

    memory: Path
    opening: str = ""

    def __call__(self, place: int) -> tuple[Constants, Callable[[str], StudyPrediction]]:
        again = self._tried("opened") > 1
        if self.opening == "damaged":
            raise BadModel("MODEL: damaged")
        if self.opening == "crashes" or (again and self.opening == "once"):
            os._exit(3)
        return dict.fromkeys(CANAL, GOOD), self.predict

    def attempts(self, name: str) -> int:
        """How often something was tried."""
        file = self.memory / name
        return len(file.read_text()) if file.exists() else 0

    def predict(self, study_id: str) -> StudyPrediction:
        first = self._tried(study_id) == 1
        if study_id == "crashes" or (first and study_id == "crashes once"):
            os._exit(7)
        if study_id == "hangs":
            time.sleep(600)
        if first and study_id == "cuda once":
            raise RuntimeError("CUDA error")
        if study_id == "fails":
            raise ZeroDivisionError("spacing")
        return StudyPrediction(study_id, {t: Finding(t, GOOD) for t in CANAL})

    def _tried(self, name: str) -> int:
        with (self.memory / name).open("a") as file:
            file.write("x")
        return self.attempts(name)
