"""The starter from volumes to findings, with networks that know the anatomy of a phantom."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from oracle import Oracle, outputs, places_of, volume_of

from lumbargrade.dicom.study import Study
from lumbargrade.domain.errors import NothingDone
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.measurement import Quality, Quantity
from lumbargrade.domain.outlines import AXIAL_MM, AXIAL_SIZE, AXIAL_STRUCTURES, Structure
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    TARGETS,
    Condition,
    Grade,
    SeriesKind,
    Side,
    Target,
)
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.predictor import Predictor
from lumbargrade.grading.study import grade_study
from lumbargrade.phantom.study import plan_study
from lumbargrade.starter.model import Starter, open_starter
from lumbargrade.starter.weights_file import (
    Figure,
    Manifest,
    WeightRecord,
    Weights,
    open_weights,
    read_manifest,
    write_manifest,
)
from made_weights import write_weights

T1, T2, AXIAL = SeriesKind
#: Radius of the sac that the axial network sees, mm; 70 mm2 is severe.
RADIUS = float(np.sqrt(70 / np.pi))
MANIFEST = Manifest(
    {"sagittal.onnx": WeightRecord("a", 1, "starter/sagittal", 1, "7", 1, 1, "cpu")}
)


class AxialOracle:
    """Sees the same anatomy in every crop: a round sac behind a disc, facets, and both recesses.

    Args:
        disc: whether a disc is seen in front of the sac, or a body.
    """

    def __init__(self, *, disc: bool = True) -> None:
        rows, columns = (np.indices((AXIAL_SIZE,) * 2) - (AXIAL_SIZE - 1) / 2) * AXIAL_MM
        front = (rows < -RADIUS - 1) & (rows > -40) & (np.abs(columns) < 22)
        facet = (rows > -RADIUS - 1 + 4) & (rows < 15) & (np.abs(np.abs(columns) - 14) < 5)
        logits = np.zeros((len(AXIAL_STRUCTURES), AXIAL_SIZE, AXIAL_SIZE), np.float32)
        seen = {
            Structure.SAC: np.hypot(rows, columns) < RADIUS,
            Structure.DISC if disc else Structure.BODY: front,
            Structure.FACET: facet,
        }
        seen[Structure.OTHER] = ~np.any(list(seen.values()), axis=0)
        for structure, where in seen.items():
            logits[AXIAL_STRUCTURES.index(structure)][where] = 9
        self.structures = logits
        half = AXIAL_SIZE // 2
        rows, columns = (np.indices((half, half)) - (half - 1) / 2) * AXIAL_MM * 2
        spots = [np.hypot(rows + RADIUS - 1, columns - x) for x in (12.0, -12.0)]
        self.recesses = np.stack([4 - spot**2 / 8 for spot in spots]).astype(np.float32)

    def __call__(self, images: np.ndarray, /) -> dict[str, np.ndarray]:
        assert images.shape[1:] == (1, AXIAL_SIZE, AXIAL_SIZE)
        count = len(images)
        return {
            "structures": np.repeat(self.structures[None], count, axis=0),
            "recesses": np.repeat(self.recesses[None], count, axis=0),
        }


@cache
def case() -> tuple[tuple[Volume, ...], tuple]:
    """The series of a phantom, and what the sagittal network sees in the sagittal ones."""
    plan = plan_study(1, 3)
    places = places_of(plan.anatomy)
    volumes = tuple(volume_of(plan, series) for series in plan.series)
    seen = tuple(outputs(v, places) for v in volumes if v.kind is not AXIAL)
    return volumes, seen


def starter(*, shift: int = 0, disc: bool = True) -> Starter:
    networks = {"sagittal": Oracle(*case()[1]), "axial": AxialOracle(disc=disc)}
    return Starter(Weights(MANIFEST, networks), shift)  # type: ignore[arg-type]


def predict(**how: object) -> StudyPrediction:
    return starter(**how).predict("1", case()[0])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found() -> StudyPrediction:
    return predict()


def test_it_is_a_predictor_of_everything() -> None:
    assert isinstance(starter(), Predictor)
    assert starter().conditions == set(Condition)
    assert starter().kinds == set(SeriesKind)
    assert starter().fingerprint() != starter(shift=1).fingerprint()


def test_canal_and_recesses_are_graded_by_what_the_axial_slices_show(
    found: StudyPrediction,
) -> None:
    cut = {t for t in TARGETS[Condition.CANAL] if t in found.findings}
    assert len(cut) >= 3
    for target in cut:
        finding = found.findings[target]
        assert finding.opinion is not None
        assert finding.opinion.quantity is Quantity.SAC_AREA
        assert finding.opinion.value == pytest.approx(70, rel=0.06)
        assert finding.grade is finding.opinion.grade is Grade.SEVERE
        assert not finding.disputed
        assert finding.point is not None
    recesses = [t for t in TARGETS[Condition.SUBARTICULAR] if t in found.findings]
    assert {t.level for t in recesses} == {t.level for t in cut}
    for target in recesses:
        point = found.findings[target].point
        canal = found.points[Target(Condition.CANAL, target.level)]
        assert point is not None
        assert (
            np.subtract(point.patient, canal.patient)[0] * (1 if target.side == "left" else -1) > 5
        )


def test_what_is_not_seen_is_absent_with_its_reason(found: StudyPrediction) -> None:
    assert set(found.findings) | set(found.absent) == set(FINDINGS)
    foramina = TARGETS[Condition.FORAMINAL]
    assert all("is not outlined" in found.absent[t] for t in foramina)
    assert set(foramina) <= set(found.points)


def test_measurements_say_where_they_were_taken(found: StudyPrediction) -> None:
    areas = [m for m in found.measurements if m.quantity is Quantity.SAC_AREA]
    ids = {v.series_id for v in case()[0] if v.kind is AXIAL}
    assert areas
    assert {m.series_id for m in areas} <= ids
    assert all(m.closed and m.view is AXIAL for m in areas)


def test_a_slice_without_its_disc_is_not_measured() -> None:
    found = predict(disc=False)
    recesses = [found.absent[t] for t in TARGETS[Condition.SUBARTICULAR]]
    assert all("shows its disc" in r or "no axial" in r or "outside" in r for r in recesses)


class Grader:
    """Stands for a grading network; `grade_levels` is replaced."""


def test_a_grading_network_grades_and_the_measurement_is_a_second_opinion(
    found: StudyPrediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[set[Target]] = []

    def grade(
        engine: object, study_id: str, volumes: object, points: tuple[Point, ...]
    ) -> StudyPrediction:
        asked.append({p.target for p in points})
        known = [t for t in FINDINGS if t.condition is not Condition.FORAMINAL]
        rest = {t: "no crop" for t in FINDINGS if t not in known}
        findings = {t: Finding(t, (0.2, 0.7, 0.1)) for t in known}
        return StudyPrediction(study_id, findings, absent=rest)

    monkeypatch.setattr("lumbargrade.starter.model.grade_levels", grade)
    plain = starter()
    networks = {**plain.weights.networks, "grader": Grader()}
    with_grader = replace(plain, weights=Weights(MANIFEST, networks))  # type: ignore[arg-type]
    graded = with_grader.predict("1", case()[0])
    assert "of a network" in with_grader.about
    assert asked == [{t for t in found.points if t.condition is not Condition.SUBARTICULAR}]
    assert {f.grade for f in graded.findings.values()} == {Grade.MODERATE}
    severe = [t for t, f in found.findings.items() if f.grade is Grade.SEVERE]
    assert severe
    assert all(graded.findings[t].disputed for t in severe)
    assert {graded.absent[t] for t in TARGETS[Condition.FORAMINAL]} == {"no crop"}


def test_the_numbering_stands_in_the_result_and_can_be_moved(found: StudyPrediction) -> None:
    assert found.numbering is not None
    assert found.numbering.certain
    assert found.numbering.shift == 0
    moved = predict(shift=1)
    assert moved.numbering is not None
    assert moved.numbering.shift == 1
    canal = TARGETS[Condition.CANAL]
    for upper, lower in pairwise(canal):
        assert moved.points[lower].patient == pytest.approx(found.points[upper].patient)
    assert moved.problems == ()


def test_an_uncertain_numbering_is_a_note_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lumbargrade.starter.numbering.CERTAIN", 1.1)
    (note,) = predict().problems
    assert "the numbering of the levels is uncertain: confidence" in note.what
    assert "--shift-levels" in note.advice
    assert not note.fatal


def test_without_sagittal_or_axial_series_the_reason_is_said() -> None:
    volumes = case()[0]
    only = [v for v in volumes if v.kind is AXIAL]
    blind = replace(starter(), weights=Weights(MANIFEST, {"sagittal": Oracle(), "axial": None}))  # type: ignore[dict-item]
    assert set(blind.predict("1", only).absent.values()) == {"no usable sagittal series"}
    flat = [v for v in volumes if v.kind is not AXIAL]
    found = starter().predict("1", flat)
    recesses = {found.absent[t] for t in TARGETS[Condition.SUBARTICULAR]}
    assert recesses == {"the study has no axial series"}


def test_axial_slices_of_another_space_are_not_used() -> None:
    volumes = [replace(v, frame_of_reference="other") if v.kind is AXIAL else v for v in case()[0]]
    found = starter().predict("1", volumes)
    assert {found.absent[t] for t in TARGETS[Condition.SUBARTICULAR]} == {
        "no axial series shares a patient space with a sagittal one"
    }


def test_images_without_a_lumbar_spine_are_not_graded(tmp_path: Path) -> None:
    """The networks of this test see nothing anywhere."""
    predictor = open_starter(write_weights(tmp_path))
    with pytest.raises(NothingDone, match="no lumbar spine"):
        grade_study(Study("1", case()[0]), predictor)


def test_what_a_reader_must_know_is_in_about(tmp_path: Path) -> None:
    folder = write_weights(tmp_path)
    plain = open_starter(folder).about
    assert "synthetic phantoms only (7), never on patients" in plain
    assert "no evaluation on images of patients" in plain
    figure = Figure("60 mid-sagittal images", "canal points on the right disc (%)", 93.5, 300)
    write_manifest(folder, replace(read_manifest(folder), evaluation=(figure,)))
    about = Starter(open_weights(folder)).about
    assert "canal points on the right disc (%): 93.5 (n = 300, 60 mid-sagittal images)" in about


def test_doubtful_measurements_are_called_so(found: StudyPrediction) -> None:
    for m in found.measurements:
        assert (m.quality is Quality.DOUBTFUL) == bool(m.remark)


def test_what_the_networks_outlined_lies_on_the_native_pixels(found: StudyPrediction) -> None:
    volumes = {v.series_id: v for v in case()[0]}
    assert {o.series_id for o in found.outlines} == set(volumes)
    for outlines in found.outlines:
        volume = volumes[outlines.series_id]
        if volume.kind is AXIAL:
            continue
        middle = len(volume.slices) // 2
        labels = outlines.label_map(volume, middle)
        rows = {s: np.argwhere(labels == s)[:, 0] for s in (Structure.BODY, Structure.SACRUM)}
        canals = [p.y for p in found.points.values() if p.series_id == outlines.series_id]
        assert np.median(rows[Structure.BODY]) < np.median(rows[Structure.SACRUM])
        assert rows[Structure.SACRUM].max() > max(canals)
    recesses = [p for t, p in found.points.items() if t.condition is Condition.SUBARTICULAR]
    assert recesses
    of_series = {o.series_id: o for o in found.outlines}
    assert len(of_series) == len(found.outlines)
    for point in recesses:  # beside the sac, which is round
        volume = volumes[point.series_id]
        labels = of_series[point.series_id].label_map(
            volume, volume.slice_of_instance(point.instance_number)
        )
        x, y = np.argwhere(labels == Structure.SAC).mean(axis=0)[::-1]
        side = point.target.side
        assert (point.x > x) == (side is Side.LEFT)
        assert abs(point.y - y) * volume.slices[0].plane.spacing[0] < RADIUS + 1
