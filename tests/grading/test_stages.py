"""A study through both stages: what is found where, with what, and what a reader is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from known_points import known_guide
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.views import cut_level
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    TARGETS,
    Condition,
    Level,
    SeriesKind,
    Target,
)
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.combine import AGREE, average_points
from lumbargrade.grading.members import Member, load_member
from lumbargrade.grading.stages import predict_study
from lumbargrade.lsdc.store import VolumeStore
from small_models import save_small_model

CPU = "cpu"
T1, T2, AXIAL = SeriesKind
KINDS = {Condition.FORAMINAL: T1, Condition.CANAL: T2, Condition.SUBARTICULAR: AXIAL}
SUBARTICULAR = TARGETS[Condition.SUBARTICULAR]
NOT_SUBARTICULAR = {t for t in FINDINGS if t.condition is not Condition.SUBARTICULAR}


@pytest.fixture(scope="module")
def store(phantom_store: Path) -> VolumeStore:
    return VolumeStore.open(phantom_store)


@pytest.fixture(scope="module")
def guides(store: VolumeStore) -> list[Member]:
    return [known_guide(store, "sagittal_t1", fold=3), known_guide(store, "sagittal_t2", fold=3)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Member]:
    """Untrained members of each task that looks at crops, and one of whole series."""
    folder = tmp_path_factory.mktemp("models")
    measured: dict[str, Any] = {
        "scores": {"canal": 0.5, "subarticular": 0.6},
        "without": {"axial_t2": {"canal": 0.51, "subarticular": 0.9}},
    }
    save_small_model(folder / "two_stage", "two_stage", 3, **measured)
    for task in ("subarticular", "canal"):
        save_small_model(folder / task, task, 3)
    save_small_model(folder / "keypoints", "keypoints", 3, view="sagittal_t2")
    save_small_model(folder / "axial", "keypoints", 3, view="axial_t2")
    return {p.name: load_member(p, CPU) for p in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def volumes(store: VolumeStore) -> list[Volume]:
    study = store.series[0].study_id
    mine = [s for s in store.series if s.study_id == study]
    return [store.volume(s.study_id, s.series_id) for s in mine]


def of_kind(volumes: list[Volume], kind: SeriesKind) -> Volume:
    (found,) = [v for v in volumes if v.kind is kind]
    return found


def predict(volumes: list[Volume], members: list[Member], guides: list[Member]) -> StudyPrediction:
    study = volumes[0].study_id
    return predict_study(study, volumes, members, guides=guides)


@pytest.fixture(scope="module")
def whole(
    volumes: list[Volume], models: Mapping[str, Member], guides: list[Member]
) -> StudyPrediction:
    return predict(volumes, [models["two_stage"]], guides)


def test_all_25_findings_lie_in_the_series_that_shows_them(
    whole: StudyPrediction, volumes: list[Volume]
) -> None:
    assert set(whole.findings) == set(FINDINGS)
    assert whole.problems == ()
    for target, finding in whole.findings.items():
        volume = of_kind(volumes, KINDS[target.condition])
        place = finding.point
        assert place is not None
        assert place.series_id == volume.series_id
        np.testing.assert_allclose(
            place.patient, volume.to_patient((place.x, place.y, place.z)), atol=1e-6
        )
        z = round(place.z)
        assert volume.slices[z].instance_number == place.instance_number


def test_places_are_within_a_crop_of_the_labels_and_levels_keep_their_order(
    whole: StudyPrediction, store: VolumeStore
) -> None:
    truth = {p.target: p.patient for p in store.points if p.study_id == whole.study_id}
    for target, finding in whole.findings.items():
        assert finding.point is not None
        away = np.subtract(finding.point.patient, truth[target])
        assert np.abs(away).max() < 32, target
    for condition in Condition:
        for side in {t.side for t in TARGETS[condition]}:
            mine = [whole.findings[Target(condition, level, side)].point for level in Level]
            heights = [p.patient[2] for p in mine if p and p.patient]
            if condition is Condition.SUBARTICULAR:
                assert heights == sorted(heights, reverse=True)
                assert len(set(heights)) == 5


def test_findings_name_the_guides_that_they_started_from(whole: StudyPrediction) -> None:
    expected = {"small/two_stage", "small/keypoints-sagittal_t1", "small/keypoints-sagittal_t2"}
    assert {s.recipe for s in whole.sources} == expected
    for finding in whole.findings.values():
        assert {s.recipe for s in finding.sources} == expected
        assert {s.fold for s in finding.sources} == {3}


def test_guides_alone_find_nothing(volumes: list[Volume], guides: list[Member]) -> None:
    assert predict(volumes, [], guides).findings == {}


def test_a_keypoint_model_grades_nothing_wherever_it_is_given(
    volumes: list[Volume], models: Mapping[str, Member], guides: list[Member]
) -> None:
    pointing = [models["keypoints"], models["axial"]]
    assert predict(volumes, pointing, guides).findings == {}
    with_grades = predict(volumes, [models["subarticular"], *pointing], guides)
    assert set(with_grades.findings) == set(SUBARTICULAR)


def test_a_guide_that_also_grades_takes_part_once(
    volumes: list[Volume], models: Mapping[str, Member]
) -> None:
    canal, subarticular = models["canal"], models["subarticular"]
    once = predict(volumes, [canal, subarticular], [])
    twice = predict(volumes, [canal, subarticular], [canal])
    assert once == twice
    assert {t.condition for t in once.findings} == {Condition.CANAL, Condition.SUBARTICULAR}
    for target in TARGETS[Condition.CANAL]:
        assert {s.recipe for s in once.findings[target].sources} == {"small/canal"}
    for target in SUBARTICULAR:
        sources = {s.recipe for s in once.findings[target].sources}
        assert sources == {"small/canal", "small/subarticular"}


def test_models_of_both_stages_are_averaged(
    volumes: list[Volume],
    models: Mapping[str, Member],
    guides: list[Member],
    whole: StudyPrediction,
) -> None:
    both = predict(volumes, [models["two_stage"], models["subarticular"]], guides)
    alone = predict(volumes, [models["subarticular"]], guides)
    for target in FINDINGS:
        parts = [p.findings[target] for p in (whole, alone) if target in p.findings]
        mean = np.mean([f.probabilities for f in parts], axis=0)
        np.testing.assert_allclose(both.findings[target].probabilities, mean, atol=1e-6)
        assert len(parts) == (2 if target in SUBARTICULAR else 1)


def test_without_axial_series_recesses_are_graded_without_a_place_and_that_is_said(
    volumes: list[Volume],
    models: Mapping[str, Member],
    guides: list[Member],
    whole: StudyPrediction,
) -> None:
    sagittal = [v for v in volumes if v.kind is not AXIAL]
    found = predict(sagittal, [models["two_stage"]], guides)
    assert set(found.findings) == set(FINDINGS)
    for target, finding in found.findings.items():
        assert (finding.point is None) == (target.condition is Condition.SUBARTICULAR)
        assert finding.probabilities != whole.findings[target].probabilities
    (problem,) = found.problems
    assert not problem.fatal
    assert problem.study == found.study_id
    assert "graded without Axial T2" in problem.what
    assert "subarticular stenosis 0.90 instead of 0.60" in problem.what
    assert "spinal canal stenosis 0.51 instead of 0.50" in problem.what


def test_without_axial_series_a_model_of_axial_crops_finds_nothing(
    volumes: list[Volume], models: Mapping[str, Member], guides: list[Member]
) -> None:
    sagittal = [v for v in volumes if v.kind is not AXIAL]
    found = predict(sagittal, [models["subarticular"]], guides)
    assert found.findings == {}
    assert found.absent == dict.fromkeys(SUBARTICULAR, "no usable Axial T2 series")
    assert found.problems == ()  # nothing was graded without it


def test_levels_below_the_axial_stack_are_named(
    store: VolumeStore, volumes: list[Volume], models: Mapping[str, Member], guides: list[Member]
) -> None:
    axial = of_kind(volumes, AXIAL)
    known = {p.target: p.patient for p in store.points if p.study_id == axial.study_id}
    centres = [known[t] for t in TARGETS[Condition.CANAL]]
    middles = [cut_level(c, [axial]).stacks[0].nearest.z for c in centres[1:3]]
    z = np.arange(len(axial.slices))
    upwards = axial.slices[-1].plane.position[2] > axial.slices[0].plane.position[2]
    kept = z[z > np.mean(middles)] if upwards else z[z < np.mean(middles)]
    short = replace(axial, pixels=axial.pixels[kept], slices=tuple(axial.slices[i] for i in kept))
    upper = [short if v.kind is AXIAL else v for v in volumes]
    found = predict(upper, [models["two_stage"], models["subarticular"]], guides)
    (problem,) = found.problems
    assert not problem.fatal
    assert problem.study == found.study_id
    assert problem.what.startswith("no axial slice cuts L3/L4 (not covered: the nearest slice is ")
    assert all(level in problem.what for level in ("L4/L5", "L5/S1"))
    assert not any(level in problem.what for level in ("L1/L2", "L2/L3"))
    assert set(found.findings) == set(FINDINGS)
    for target in SUBARTICULAR:
        covered = target.level in (Level.L1_L2, Level.L2_L3)
        finding = found.findings[target]
        assert (finding.point is not None) == covered
        recipes = {s.recipe for s in finding.sources}
        assert ("small/subarticular" in recipes) == covered


def test_a_sagittal_series_in_another_frame_is_read_on_its_own(
    volumes: list[Volume], models: Mapping[str, Member], guides: list[Member]
) -> None:
    strange = [replace(v, frame_of_reference="x") if v.kind is T2 else v for v in volumes]
    found = predict(strange, [models["two_stage"]], guides)
    assert set(found.findings) == set(FINDINGS)
    assert all(f.point is not None for f in found.findings.values())
    (problem,) = found.problems
    assert not problem.fatal
    assert problem.series == of_kind(volumes, T2).series_id
    assert "another frame of reference" in problem.what


def test_an_axial_series_in_another_frame_is_not_cut_by_points_of_the_others(
    volumes: list[Volume], models: Mapping[str, Member], guides: list[Member]
) -> None:
    strange = [replace(v, frame_of_reference="x") if v.kind is AXIAL else v for v in volumes]
    found = predict(strange, [models["two_stage"]], guides)
    assert set(found.findings) == set(FINDINGS)
    assert all(found.findings[t].point is None for t in SUBARTICULAR)
    texts = [p.what for p in found.problems]
    assert not any(p.fatal for p in found.problems)
    assert any("another frame of reference" in t for t in texts)
    assert any(t.startswith("no axial slice cuts L1/L2 (no point)") for t in texts)


def test_without_a_sagittal_series_there_is_a_problem_and_no_crash(
    volumes: list[Volume], models: Mapping[str, Member], guides: list[Member]
) -> None:
    axial = [v for v in volumes if v.kind is AXIAL]
    found = predict(axial, [models["two_stage"], models["subarticular"]], guides)
    assert found.findings == {}
    (problem,) = found.problems
    assert "no point of any level was found" in problem.what
    assert problem.study == found.study_id


def test_without_any_guide_models_of_whole_series_still_grade(
    volumes: list[Volume], models: Mapping[str, Member]
) -> None:
    axial = [v for v in volumes if v.kind in (T1, AXIAL)]
    found = predict(axial, [models["two_stage"], models["canal"]], [])
    assert found.findings == {}
    assert len(found.problems) == 1
    both = predict(volumes, [models["two_stage"], models["canal"]], [])
    assert set(both.findings) == set(FINDINGS)
    for target in NOT_SUBARTICULAR:
        expected = {"small/two_stage", "small/canal"}
        assert {s.recipe for s in both.findings[target].sources} == expected


def test_a_study_whose_id_is_no_number_is_predicted_like_any_other(
    volumes: list[Volume], models: Mapping[str, Member], whole: StudyPrediction
) -> None:
    named = [replace(v, study_id="1.2.3") for v in volumes]
    members = [models["two_stage"], models["canal"]]
    found, same = predict(named, members, []), predict(volumes, members, [])
    assert found.study_id == "1.2.3"
    for target in FINDINGS:
        mine, theirs = found.findings[target], same.findings[target]
        assert mine.probabilities == pytest.approx(theirs.probabilities, abs=1e-9)
        assert mine.point == theirs.point


def place(z: float, patient_z: float, series: str = "1") -> Point:
    return Point(
        TARGETS[Condition.CANAL][0],
        series,
        round(z) + 1,
        (10.0, patient_z, z),
        (0.0, 0.0, patient_z),
    )


def test_places_on_different_levels_are_not_averaged() -> None:
    target = TARGETS[Condition.CANAL][2]
    level, below = [place(4.0, 0.0), place(4.4, 3.0)], place(9.0, -35.0)
    for order in ((*level, below), (below, *level), (level[0], below, level[1])):
        found = average_points([{target: p} for p in order])[target]
        assert (found.z, found.y) == (pytest.approx(4.2), pytest.approx(1.5))
        assert found.patient == pytest.approx((0.0, 0.0, 1.5))


def test_places_within_reach_of_each_other_are_averaged_whatever_the_distance_is() -> None:
    target = TARGETS[Condition.CANAL][0]
    for apart, together in ((AGREE - 0.1, True), (AGREE + 0.1, False)):
        found = average_points([{target: place(1.0, 0.0)}, {target: place(2.0, apart)}])[target]
        assert found.patient is not None
        assert found.patient[2] == pytest.approx(apart / 2 if together else 0.0)


def test_places_in_another_series_do_not_count() -> None:
    target = TARGETS[Condition.CANAL][0]
    places = [place(1.0, 0.0), place(3.0, 4.0), place(8.0, 2.0, "2")]
    found = average_points([{target: p} for p in places])[target]
    assert found.series_id == "1"
    assert found.patient == pytest.approx((0.0, 0.0, 2.0))
    assert average_points([]) == {}
