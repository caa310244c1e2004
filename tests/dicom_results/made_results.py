"""Results of made-up studies, and the images that they refer to, for tests of DICOM objects."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from lumbargrade.dicom_results.origin import ImageReference, Origin, patient_of
from lumbargrade.domain.findings import Finding, ModelSource, Probabilities, StudyPrediction
from lumbargrade.domain.measurement import Measurement, Opinion, Quantity
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import FINDINGS, Grade, SeriesKind, Target
from lumbargrade.grading.graded import GradedStudy

STUDY_UID, SERIES_UID = "1.2.3", "1.2.3.4"
#: Images of the made-up series.
IMAGES = 5

_shares = st.tuples(*[st.floats(0.001, 1.0)] * 3).map(lambda v: tuple(x / sum(v) for x in v))
_opinions = st.builds(
    Opinion,
    grade=st.sampled_from(Grade),
    quantity=st.sampled_from(Quantity),
    value=st.floats(0, 500),
    moderate=st.just(10.0),
    severe=st.none(),
    source=st.just("a paper"),
    reason=st.text(max_size=40),
)


def origin(frames: bool = False, patient: Dataset | None = None) -> Origin:
    """A study with one series of `IMAGES` images, or one object with as many frames."""
    images = {
        (SERIES_UID, n): ImageReference(
            SERIES_UID,
            str(MRImageStorage),
            f"{SERIES_UID}.{1 if frames else n}",
            n if frames else 0,
        )
        for n in range(1, IMAGES + 1)
    }
    return Origin(STUDY_UID, patient_of(patient or Dataset()), images)


@st.composite
def findings(draw: st.DrawFn, target: Target) -> Finding | str:
    """A finding, with or without a place, or a reason."""
    if draw(st.booleans()):
        return draw(st.text(min_size=1).filter(str.strip))
    place = None
    if draw(st.booleans()):
        x, y = draw(st.floats(-0.5, 600)), draw(st.floats(-0.5, 600))
        place = Point(target, SERIES_UID, draw(st.integers(1, IMAGES)), (x, y, 1.0))
    return Finding(
        target,
        draw(_shares),
        place,
        (ModelSource("made", 0),),
        draw(st.none() | _shares),
        draw(st.none() | _opinions),
    )


@st.composite
def results(draw: st.DrawFn) -> GradedStudy:
    """Any result."""
    found = {t: draw(findings(t)) for t in FINDINGS}
    return result(
        {t: f for t, f in found.items() if isinstance(f, Finding)},
        {t: f for t, f in found.items() if isinstance(f, str)},
    )


def result(
    graded: dict[Target, Finding],
    absent: dict[Target, str],
    measurements: tuple[Measurement, ...] = (),
    about: str = "",
) -> GradedStudy:
    prediction = StudyPrediction(
        STUDY_UID, graded, (ModelSource("made", 0),), absent=absent, measurements=measurements
    )
    return GradedStudy(prediction, (), False, "f" * 64, about)


def placed(target: Target, shares: Probabilities = (0.1, 0.2, 0.7)) -> Finding:
    """A finding in the middle of the third image."""
    return Finding(target, shares, Point(target, SERIES_UID, 3, (120.25, 80.5, 2.0)))


def all_placed() -> GradedStudy:
    """A result in which everything is graded, placed and measured."""
    measured = tuple(
        Measurement(Quantity.SAC_AREA, t.level, None, 75.5, SeriesKind.AXIAL_T2, SERIES_UID, 3)
        for t in FINDINGS
        if t.side is None
    )
    return result({t: placed(t) for t in FINDINGS}, {}, measured, "made for a test")


def required_program(name: str) -> Callable[[Path], str]:
    """Return a function that runs a program on a file and returns what it prints.

    Skips the test where the program is not installed.
    """
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")

    def run(path: Path) -> str:
        done = subprocess.run([found, path], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run
