"""A graded finding with its point, and the prediction for a whole study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.measurement import Measurement, Opinion
from lumbargrade.domain.notebook import findings_html
from lumbargrade.domain.numbering import Numbering
from lumbargrade.domain.point import NOWHERE, Point
from lumbargrade.domain.vocabulary import Grade, Target

if TYPE_CHECKING:
    from lumbargrade.domain.heat_maps import HeatMaps
    from lumbargrade.domain.series_outlines import SeriesOutlines

#: Probabilities of normal/mild, moderate and severe.
Probabilities = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model that contributed to a prediction; files write it as ``recipe#fold``.

    Attributes:
        recipe: name of its recipe.
        fold: the fold whose studies the model has not seen; -1 if unknown.
    """

    recipe: str
    fold: int

    def __str__(self) -> str:
        return f"{self.recipe}#{self.fold}"

    @classmethod
    def parse(cls, text: str) -> ModelSource:
        """Parse the name of a model, such as ``cpu-small/canal#2``.

        Raises:
            ValueError: for any other text.
        """
        recipe, _, fold = text.rpartition("#")
        if not recipe or not fold.removeprefix("-").isdecimal():
            raise ValueError(f"{text!r} is not the name of a model; write recipe#fold")
        return cls(recipe, int(fold))


@dataclass(frozen=True, slots=True)
class EngineUse:
    """What runs a model, and how far its numbers are from those of torch in single precision.

    Attributes:
        model: the model.
        engine: name and version of the engine, for example ``ONNX Runtime 1.22.0``.
        precision: ``fp32``, or how weights and arithmetic are rounded.
        probability_deviation: largest difference of a probability, as measured when the model was
            exported; None if it runs on torch.
        point_deviation: largest distance of a point, pixels of the network's input; None as well.
    """

    model: ModelSource
    engine: str
    precision: str = "fp32"
    probability_deviation: float | None = None
    point_deviation: float | None = None

    def __str__(self) -> str:
        text = f"{self.engine} ({self.precision}"
        if self.probability_deviation is not None and self.point_deviation is not None:
            text += (
                f", probabilities within {self.probability_deviation:.1g} and points within "
                f"{self.point_deviation:.1g} px of torch"
            )
        return f"{text})"


@dataclass(frozen=True, slots=True)
class Finding:
    """One of the 25 findings.

    Attributes:
        target: what was graded.
        probabilities: of normal/mild, moderate and severe; they sum to 1. Models are trained with
            the competition's weights, so these suit its score and are not frequencies.
        point: where the finding is, or None if no model located it.
        sources: every model that contributed.
        calibrated: the probabilities as frequencies, if a calibration was applied.
        opinion: the grade by a measurement and thresholds, if the models measure.
        by_reader: the grade of the reader who overruled that of the models; None otherwise.
    """

    target: Target
    probabilities: Probabilities
    point: Point | None = None
    sources: tuple[ModelSource, ...] = ()
    calibrated: Probabilities | None = None
    opinion: Opinion | None = None
    by_reader: Grade | None = None

    def __post_init__(self) -> None:
        for values in (self.probabilities, self.calibrated or self.probabilities):
            p = np.asarray(values)
            fits = p.shape == (3,) and np.isfinite(p).all() and (p >= 0).all()
            if not fits or abs(p.sum() - 1) > 1e-4:
                raise ValueError(f"{self.target.column}: not a distribution: {values}")

    @property
    def shown(self) -> Probabilities:
        """Probabilities to show to a reader: the calibrated ones if there are any."""
        return self.probabilities if self.calibrated is None else self.calibrated

    @property
    def model_grade(self) -> Grade:
        """The most probable grade according to `shown`."""
        return Grade(int(np.argmax(self.shown)))

    @property
    def grade(self) -> Grade:
        """The grade of the reader who overruled the models, otherwise that of the models."""
        return self.model_grade if self.by_reader is None else self.by_reader

    @property
    def disputed(self) -> bool:
        """Whether the grade by the measurement is not that of the models."""
        return self.opinion is not None and self.opinion.grade is not self.model_grade


@dataclass(frozen=True, slots=True)
class StudyPrediction:
    """The prediction for a study, or for one of its series, and the models it came from.

    A target is in ``findings``, in ``absent`` or, while nothing is known about it, in neither.
    In the result of `grade_study`, each of the 25 targets is in exactly one of the two.

    Attributes:
        study_id: the study.
        findings: by target; only those that a model predicted from the study's images.
        sources: every model that contributed.
        problems: what was wrong with the study's images.
        absent: why a target has no finding: a clause that follows "not graded, because"
            (see `domain.reasons`).
        points: where models found the targets, graded or not. After `predict_study`, these are the
            guide points of the crops; grading checks them, and they are not written to files.
        measurements: what the models measured; empty if they do not measure.
        numbering: how the levels were named, if the models decide this explicitly.
        engines: what ran the models; set for a whole study.
        outlines: what is outlined in each series, if the models outline; not written to the
            findings file.
        heat_maps: where points of each condition are seen, if the models keep it; not written to
            the findings file.

    Raises:
        ValueError: if a target is in both ``findings`` and ``absent``, or a reason is empty.
    """

    study_id: str
    findings: Mapping[Target, Finding]
    sources: tuple[ModelSource, ...] = ()
    problems: tuple[Problem, ...] = ()
    absent: Mapping[Target, str] = field(default_factory=dict)
    points: Mapping[Target, Point] = field(default_factory=dict, compare=False, repr=False)
    measurements: tuple[Measurement, ...] = ()
    numbering: Numbering | None = None
    engines: tuple[EngineUse, ...] = ()
    outlines: tuple[SeriesOutlines, ...] = field(default=(), compare=False, repr=False)
    heat_maps: tuple[HeatMaps, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        for target, reason in self.absent.items():
            if target in self.findings:
                raise ValueError(f"{target.column} is both graded and absent")
            if not reason:
                raise ValueError(f"{target.column} is absent without a reason")

    def _repr_html_(self) -> str:
        """How a notebook shows the prediction: its grid of findings."""
        notes = (problem.what for problem in self.problems)
        return findings_html(self.study_id, self.findings, self.absent, self.numbering, notes)

    def with_sources(self, sources: Iterable[ModelSource]) -> StudyPrediction:
        """Return a copy with these models as its sources and as those of every finding."""
        models = tuple(dict.fromkeys(sources))
        findings = {t: replace(f, sources=models) for t, f in self.findings.items()}
        return replace(self, findings=findings, sources=models)

    def probability_rows(self, targets: Sequence[Target]) -> FloatArray:
        """Return the probabilities of some targets (P, 3); NaN if a target has no finding."""
        nothing = (np.nan,) * 3
        known = self.findings
        return np.array([known[t].probabilities if t in known else nothing for t in targets])

    def point_rows(self, targets: Sequence[Target], *, patient: bool) -> FloatArray:
        """Return the points of some targets (P, 3), patient LPS mm or voxels; NaN if none."""
        known = {t: p.patient if patient else p.voxel for t, p in self.points.items()}
        return np.array([known.get(t) or NOWHERE for t in targets], float)

    def without(self, reasons: Mapping[Target, str]) -> StudyPrediction:
        """Return a copy in which these targets are absent for these reasons.

        A new reason replaces an earlier reason for the same target.
        """
        kept = {t: f for t, f in self.findings.items() if t not in reasons}
        return replace(self, findings=kept, absent={**self.absent, **reasons})
