"""The starter as a predictor: it needs no folder of models, no torch and no training.

The sagittal network finds the discs, which `numbering` names; the axial network finds the slice of
each level. What both outline is measured, and thresholds from the literature grade the
measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from threadpoolctl import ThreadpoolController

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import EngineUse, Finding, ModelSource, StudyPrediction
from lumbargrade.domain.measurement import SITES, Measurements
from lumbargrade.domain.numbering import Numbering
from lumbargrade.domain.point import Point
from lumbargrade.domain.reasons import uncertain_numbering
from lumbargrade.domain.views import find_spaces
from lumbargrade.domain.vocabulary import FINDINGS, Condition, SeriesKind, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.files.timing import stage
from lumbargrade.inference.engines import OnnxEngine
from lumbargrade.starter.axial import AxialReading, read_axial
from lumbargrade.starter.bodies import Landmarks
from lumbargrade.starter.grader import grade_levels
from lumbargrade.starter.measurements import measure_axial_levels, measure_series
from lumbargrade.starter.ordinal import probabilities
from lumbargrade.starter.sagittal import SagittalSeries, SagittalStudy, find_levels
from lumbargrade.starter.thresholds import opinions
from lumbargrade.starter.weights_file import SHIPPED, Figure, Weights, open_weights

#: Largest number of levels by which a user can move the names of the discs.
MOST_SHIFT = 2

_NO_SPACE = "no axial series shares a patient space with a sagittal one"
_NOT_MEASURED = "no image shows it"


@dataclass(frozen=True)
class Starter:
    """The networks and rules that come with the package (a `Predictor`).

    Attributes:
        weights: the networks and their manifest.
        shift: levels by which the user moves the names of the discs; see `Numbering`.
    """

    weights: Weights
    shift: int = 0

    flips = False
    calibrated = False

    @property
    def sources(self) -> list[ModelSource]:
        return [ModelSource(r.recipe, -1) for r in self.weights.manifest.files.values()]

    @property
    def conditions(self) -> set[Condition]:
        return set(Condition)

    @property
    def kinds(self) -> set[SeriesKind]:
        return set(SeriesKind)

    @property
    def about(self) -> str:
        manifest = self.weights.manifest
        phantoms = sorted({r.phantoms for r in manifest.files.values()})
        origin = "follow from measurements, their error, and thresholds from the literature"
        if "grader" in self.weights.networks:
            origin = "are the outputs of a network, with a grade by measurement as second opinion"
        return (
            "Graded by the starter. Its networks were trained on synthetic phantoms only "
            f"({', '.join(phantoms)}), never on patients. Its probabilities are not frequencies: "
            f"they {origin}. {_evaluated(manifest.evaluation)}"
        )

    def predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        # the fits are so small that threads of the linear algebra cost more than they save
        with _libraries().limit(limits=1, user_api="blas"):
            return self._predict(study_id, volumes)

    def _predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        with stage("find the levels"):
            network = self.weights.networks["sagittal"]
            sagittal = find_levels(volumes, network, shift=self.shift)
        numbering = sagittal.numbering.summary()
        if not sagittal.numbering.levels:
            why = sagittal.numbering.reason if sagittal.series else "no usable sagittal series"
            return StudyPrediction(study_id, {}, absent=dict.fromkeys(FINDINGS, why))
        with stage("read axial slices"):
            axial = self._axial(volumes, sagittal)
        with stage("measure"):
            measured = _measured(sagittal, axial)
        recesses, no_recess = _recesses(axial)
        points = {**sagittal.points, **recesses}
        graded, not_measured = opinions(measured)
        shares = {t: probabilities(t, opinion, measured) for t, opinion in graded.items()}
        not_graded = not_measured
        if (grader := self.weights.networks.get("grader")) is not None:
            grades = grade_levels(grader, study_id, volumes, tuple(sagittal.points.values()))
            shares = {t: f.probabilities for t, f in grades.findings.items()}
            not_graded = dict(grades.absent)
        sources = tuple(self.sources)
        findings = {
            t: Finding(t, p, points.get(t), sources, opinion=graded.get(t))
            for t, p in shares.items()
        }
        unseen = {**sagittal.absent, **no_recess}
        return StudyPrediction(
            study_id,
            findings,
            sources,
            _notes(study_id, numbering),
            {t: unseen.get(t, why) for t, why in not_graded.items()},
            points,
            tuple(measured.found[s] for s in SITES if s in measured.found),
            numbering,
            self._engines(),
            (
                *(series.outlines for series in sagittal.series),
                *(outlines for reading in axial for outlines in reading.outlines()),
            ),
            (
                *(series.heat_maps for series in sagittal.series),
                *(maps for reading in axial for maps in reading.heat_maps()),
            ),
        )

    def _engines(self) -> tuple[EngineUse, ...]:
        return tuple(EngineUse(source, OnnxEngine.name) for source in self.sources)

    def _axial(self, volumes: Sequence[Volume], sagittal: SagittalStudy) -> list[AxialReading]:
        """Read the axial series of each patient space in which levels were found."""
        spaces = find_spaces(volumes).of_series
        readings = []
        for space in dict.fromkeys(spaces.values()):
            mine = [v for v in volumes if spaces[v.series_id] == space]
            series = [s for s in sagittal.series if spaces[s.series_id] == space and s.discs]
            if series and any(v.kind is SeriesKind.AXIAL_T2 for v in mine):
                network = self.weights.networks["axial"]
                readings.append(read_axial(mine, _joined_landmarks(series), network))
        if not readings and not any(v.kind is SeriesKind.AXIAL_T2 for v in volumes):
            readings.append(read_axial((), Landmarks({}, {}), self.weights.networks["axial"]))
        return readings

    def fingerprint(self) -> str:
        digests = (r.sha256 for r in self.weights.manifest.files.values())
        return "|".join(("starter", "both ways", str(self.shift), *digests))


def open_starter(weights: Path = SHIPPED, *, shift: int = 0) -> Starter:
    """Open the starter.

    Args:
        weights: folder of its networks.
        shift: levels by which the names of the discs are moved down; negative: up.

    Raises:
        BadModel: if a file is absent or damaged.
    """
    return Starter(open_weights(weights), shift)


@cache
def _libraries() -> ThreadpoolController:
    """The libraries of this process that have threads of their own."""
    return ThreadpoolController()


def _joined_landmarks(series: Sequence[SagittalSeries]) -> Landmarks:
    """Return the landmarks of several series of one space; those of T2 first, which shows CSF."""
    kinds = [SeriesKind.SAGITTAL_T2, SeriesKind.SAGITTAL_T1, None]
    parts = sorted(series, key=lambda s: kinds.index(s.grid.volume.kind), reverse=True)
    discs = {k: v for s in parts for k, v in s.discs.items()}
    canals = {k: v for s in parts for k, v in s.canals.items()}
    foramina = {k: v for s in parts for k, v in s.foramina.items()}
    return Landmarks(discs, canals, foramina)


def _measured(sagittal: SagittalStudy, axial: Sequence[AxialReading]) -> Measurements:
    """Measure every series; what several show is taken from the kind that shows it best."""
    parts = {s.series_id: measure_series(s) for s in sagittal.series}
    kinds = {s.series_id: s.grid.volume.kind for s in sagittal.series}
    by_kind = {
        kind: [parts[i] for i in parts if kinds[i] is kind]
        for kind in (SeriesKind.SAGITTAL_T2, SeriesKind.SAGITTAL_T1)
    }
    fluid, fat = by_kind.values()
    across = [measure_axial_levels(reading) for reading in axial]
    foramina = [_only_foramina(part) for part in (*fat, *fluid)]
    return Measurements.joined([*across, *foramina, *fluid, *fat], _NOT_MEASURED)


def _only_foramina(part: Measurements) -> Measurements:
    """Return the measurements of foramina: T1 shows them best, as their fat is bright."""
    found = {s: m for s, m in part.found.items() if s.quantity.startswith("foramen")}
    return Measurements(
        found, {s: why for s, why in part.absent.items() if s.quantity.startswith("foramen")}
    )


def _recesses(axial: Sequence[AxialReading]) -> tuple[dict[Target, Point], dict[Target, str]]:
    """Return the points of the recesses of all spaces, and why the others were not found."""
    found: dict[Target, Point] = {}
    absent: dict[Target, str] = {}
    for reading in axial:
        points, missing = reading.points()
        found = {**points, **found}
        absent = {**missing, **absent}
    mine = [t for t in FINDINGS if t.condition is Condition.SUBARTICULAR and t not in found]
    return found, {t: absent.get(t, _NO_SPACE) for t in mine}


def _notes(study_id: str, numbering: Numbering) -> tuple[Problem, ...]:
    if numbering.certain:
        return ()
    what = uncertain_numbering([f"confidence {numbering.confidence:.0%}, {numbering.reason}"])
    advice = "if the names are wrong, grade again with --shift-levels"
    return (Problem(what, study_id, advice=advice, fatal=False),)


def _evaluated(figures: Sequence[Figure]) -> str:
    if not figures:
        return "Its manifest has no evaluation on images of patients."
    texts = (f"{f.measure}: {f.value:g} (n = {f.cases}, {f.data})" for f in figures)
    return f"On images of patients: {'; '.join(texts)}. docs/starter-model.md has more."
