"""A study through models: each finding where its voxel is, or absent with its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lumbargrade
from lumbargrade.dicom.study import Study
from lumbargrade.domain.errors import BadDicom, NothingDone, UsageError
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, SeriesKind
from lumbargrade.grading.members import Member, load_member
from lumbargrade.phantom.dataset import Settings, make_dataset
from small_models import grade_unchecked, save_small_model
from small_studies import write_noise_study

CPU = "cpu"
T1, T2, AXIAL = SeriesKind


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_small_model(folder / "foraminal", "foraminal")
    save_small_model(folder / "canal", "canal")
    return folder


@pytest.fixture(scope="session")
def members(models: Path) -> list[Member]:
    return [load_member(models / name, CPU) for name in ("foraminal", "canal")]


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("phantom") / "data"
    make_dataset(folder, Settings(1, 3, 0, "test", "explicit"))
    return lumbargrade.read_study(folder / "test_images")


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise_study(tmp_path_factory.mktemp("noise") / "study", (T1, T2, AXIAL, T1))


def test_every_finding_is_graded_but_those_that_no_model_grades(
    phantom: Study, members: list[Member]
) -> None:
    graded = grade_unchecked(phantom, members)
    recesses = TARGETS[Condition.SUBARTICULAR]
    assert set(graded.findings) == set(FINDINGS) - set(recesses)
    reason = "none of the models grades subarticular stenosis"
    assert graded.absent == dict.fromkeys(recesses, reason)
    for target, finding in graded.findings.items():
        assert finding.target is target
        assert sum(finding.probabilities) == pytest.approx(1, abs=1e-6)
        assert finding.point is not None
    assert {s.recipe for s in graded.sources} == {"small/foraminal", "small/canal"}


def test_a_place_is_in_the_patient_where_its_voxel_is(
    phantom: Study, members: list[Member]
) -> None:
    graded = grade_unchecked(phantom, members)
    kinds = {Condition.FORAMINAL: T1, Condition.CANAL: T2}
    for condition, kind in kinds.items():
        volumes = {v.series_id: v for v in phantom.of(kind)}
        for target in TARGETS[condition]:
            place = graded.findings[target].point
            assert place is not None
            volume = volumes[place.series_id]
            voxel = (place.x, place.y, place.z)
            np.testing.assert_allclose(place.patient, volume.to_patient(voxel), atol=1e-6)
            nearest = volume.slice_of_instance(place.instance_number)
            assert abs(nearest - place.z) <= 0.5 + 1e-6


def test_paths_give_what_loaded_studies_and_models_give(
    noise: Path, models: Path, members: list[Member]
) -> None:
    by_path = lumbargrade.grade_study(noise, [models], device="cpu", check_points=False)
    loaded = grade_unchecked(lumbargrade.read_study(noise), members)
    assert set(by_path.sources) == set(loaded.sources)
    assert by_path.absent == loaded.absent
    for target, ours in by_path.findings.items():
        theirs = loaded.findings[target]
        assert ours.point == theirs.point
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-6)
    assert grade_unchecked(noise, models / "canal", device="cpu").sources[0].recipe == "small/canal"


def test_only_the_best_series_of_a_kind_is_graded(noise: Path, members: list[Member]) -> None:
    study = lumbargrade.read_study(noise)
    assert len(study.of(T1)) == 2
    (best,) = (v for v in study.used if v.kind is T1)
    both = grade_unchecked(study, members[:1])
    alone = grade_unchecked(Study(study.study_id, (best,)), members[:1])
    assert both.findings == alone.findings
    said = [p.what for p in both.problems if p.series in {v.series_id for v in study.of(T1)}]
    choices = [what for what in said if not what.startswith("grades are less certain")]
    assert sorted(what.partition(" as ")[0] for what in choices) == ["not used", "used"]


def test_several_series_of_a_kind_that_are_used_are_averaged(
    noise: Path, members: list[Member]
) -> None:
    study = lumbargrade.read_study(noise)
    both = grade_unchecked(replace(study, choices=()), members[:1])
    alone = [
        grade_unchecked(Study(study.study_id, (volume,)), members[:1]) for volume in study.of(T1)
    ]
    for target in TARGETS[Condition.FORAMINAL]:
        mean = np.mean([one.findings[target].probabilities for one in alone], axis=0)
        np.testing.assert_allclose(both.findings[target].probabilities, mean, atol=1e-6)


def test_a_kind_that_is_missing_is_named_and_its_findings_are_absent(
    noise: Path, members: list[Member]
) -> None:
    study = lumbargrade.read_study(noise)
    graded = grade_unchecked(Study(study.study_id, study.of(T1)), members)
    assert {t.condition for t in graded.findings} == {Condition.FORAMINAL}
    reasons = {graded.absent[t] for t in TARGETS[Condition.CANAL]}
    assert reasons == {"no usable Sagittal T2/STIR series"}
    (problem,) = graded.problems
    assert problem.what == "no usable Sagittal T2/STIR series; what it shows is not graded"
    assert not problem.fatal


def test_a_single_slice_is_graded(tmp_path: Path, members: list[Member]) -> None:
    study = lumbargrade.read_study(write_noise_study(tmp_path / "s", depth=2))
    one = study.of(T1)[0]
    thin = type(one)(one.pixels[:1], one.slices[:1], one.study_id, one.series_id, one.kind)
    graded = grade_unchecked(Study(study.study_id, (thin,)), members)
    for target in TARGETS[Condition.FORAMINAL]:
        assert np.isfinite(graded.findings[target].probabilities).all()


def test_problems_of_the_images_stay_with_the_findings(
    tmp_path: Path, members: list[Member]
) -> None:
    folder = write_noise_study(tmp_path / "s")
    spoiled = folder / "s-0" / "2.dcm"
    spoiled.write_bytes(spoiled.read_bytes()[:400])
    graded = grade_unchecked(folder, members)
    assert [Path(p.file).name for p in graded.problems if p.fatal] == ["2.dcm"]


def test_what_cannot_be_graded_is_an_error(
    tmp_path: Path, noise: Path, models: Path, members: list[Member]
) -> None:
    axial = write_noise_study(tmp_path / "axial", (AXIAL,))
    with pytest.raises(NothingDone, match=r"no usable Sagittal T1 or .*it has 1 Axial T2"):
        grade_unchecked(axial, members)
    with pytest.raises(BadDicom, match="no such file"):
        grade_unchecked(tmp_path / "absent", members)
    with pytest.raises(UsageError, match="no models"):
        grade_unchecked(noise, [])
    with pytest.raises(UsageError, match="holds no model"):
        grade_unchecked(noise, noise)


@pytest.fixture(scope="session")
def two_stages(tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    folder = tmp_path_factory.mktemp("two-stages")
    save_small_model(folder / "two_stage", "two_stage")
    save_small_model(folder / "keypoints", "keypoints", view="sagittal_t2")
    return [load_member(path, CPU) for path in sorted(folder.iterdir())]


def only(study: Study, *kinds: SeriesKind) -> Study:
    return replace(study, volumes=tuple(v for v in study.volumes if v.kind in kinds))


def test_what_is_graded_from_other_series_is_not_called_absent(
    phantom: Study, two_stages: list[Member]
) -> None:
    graded = grade_unchecked(only(phantom, T1, T2), two_stages)
    assert set(graded.findings) == set(FINDINGS)
    assert graded.absent == {}
    said = [str(p) for p in graded.problems if AXIAL.value in str(p)]
    assert any("what it shows is graded from the other series" in text for text in said)
    assert not any("not graded" in text for text in said)


def test_a_study_in_which_no_level_is_found_is_not_graded(
    phantom: Study, two_stages: list[Member]
) -> None:
    why = "no usable Sagittal T2/STIR series to find the levels in"
    with pytest.raises(NothingDone, match=f"no finding could be graded: no point of.*{why}$"):
        grade_unchecked(only(phantom, AXIAL), two_stages)
