"""A predictor without networks, and what goes wrong with it, for tests of batches.

Every process appends a line to ``calls.txt`` in the folder of the test when it predicts a study. A
file ``NAME.kill`` there ends the process that first predicts the study NAME; with ``NAME.raise``,
every prediction of the study raises an error, whose text is in the file; with ``NAME.nothing``,
nothing is found in it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lumbargrade.batch.launch import Launch
from lumbargrade.batch.run import grade_studies
from lumbargrade.batch.steps import Opened
from lumbargrade.domain.findings import Finding, ModelSource, StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, Condition, SeriesKind
from lumbargrade.domain.volume import Volume
from lumbargrade.report.overview import GradingSummary

CALLS = "calls.txt"

#: Two processes of this machine.
TWO = Launch(2)


@dataclass(frozen=True)
class FakePredictor:
    """Grades every study normal/mild (a `Predictor`).

    Attributes:
        notes: the folder of the test.
        seconds: how long a study takes.
    """

    notes: Path
    seconds: float = 0.0

    sources = (ModelSource("fake", 0),)
    conditions = frozenset(Condition)
    kinds = frozenset(SeriesKind)
    flips = False
    calibrated = False
    about = "Graded by nothing."

    def predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        with (self.notes / CALLS).open("a") as calls:
            calls.write(f"{study_id}\n")
        time.sleep(self.seconds)
        if (self.notes / f"{study_id}.kill").exists():
            (self.notes / f"{study_id}.kill").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (self.notes / f"{study_id}.raise").exists():
            raise RuntimeError((self.notes / f"{study_id}.raise").read_text())
        if (self.notes / f"{study_id}.nothing").exists():
            return StudyPrediction(study_id, {}, self.sources)
        found = {t: Finding(t, (0.8, 0.15, 0.05)) for t in FINDINGS}
        return StudyPrediction(study_id, found, self.sources)

    def fingerprint(self) -> str:
        return "fake"


def open_fake(notes: Path, place: int = 0, *, seconds: float = 0.0) -> Opened:
    return Opened(FakePredictor(notes, seconds), "fake", check_points=False)


def graded(
    images: Path, notes: Path, *, launch: Launch | None = TWO, seconds: float = 0.0
) -> GradingSummary:
    """Grade studies by a batch; the results go to the folder ``out`` of the test."""
    opener = partial(open_fake, notes, seconds=seconds)
    return grade_studies(opener, [images], notes / "out", launch=launch)


def calls(notes: Path) -> list[str]:
    """The studies that were predicted, as often as they were."""
    path = notes / CALLS
    return sorted(path.read_text().split()) if path.exists() else []
