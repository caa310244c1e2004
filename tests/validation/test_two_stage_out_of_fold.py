"""Two stages out of fold: crops are cut around what the fold's own first stage predicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lumbargrade.domain.errors import NothingDone, UsageError
from lumbargrade.domain.findings import ModelSource
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition
from lumbargrade.grading.combine import average_points
from lumbargrade.grading.predictions_file import read_predictions
from lumbargrade.lsdc.point_file import read_points
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.registry import get_task
from lumbargrade.report.drawing import true_marks
from lumbargrade.report.validation import ValidationResult, write_validation
from lumbargrade.validation.assessment import assess
from lumbargrade.validation.judged import FoldPredictions
from lumbargrade.validation.out_of_fold import predict_out_of_fold
from small_models import save_small_model, small_recipe

CPU = "cpu"
FOLD = 4
T1, T2 = "small/keypoints-sagittal_t1", "small/keypoints-sagittal_t2"


@pytest.fixture(scope="module")
def store(phantom_store: Path) -> VolumeStore:
    return VolumeStore.open(phantom_store)


@pytest.fixture(scope="module")
def studies(store: VolumeStore) -> list[str]:
    return [study for study, fold in store.folds.items() if fold == FOLD]


@pytest.fixture(scope="module")
def models(store: VolumeStore, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Untrained models of one fold; the second stage says that its points lie elsewhere."""
    folder = tmp_path_factory.mktemp("models")
    trained_on = [study for study, fold in store.folds.items() if fold != FOLD]
    save_small_model(folder / "two", "two_stage", FOLD, points="/gone.csv", trained_on=trained_on)
    save_small_model(folder / "sub", "subarticular", FOLD, trained_on=trained_on)
    for view in ("sagittal_t1", "sagittal_t2"):
        save_small_model(folder / view, "keypoints", FOLD, view=view, trained_on=trained_on)
    others = [study for study, fold in store.folds.items() if fold != 2]
    save_small_model(folder / "other", "keypoints", 2, view="sagittal_t2", trained_on=others)
    return {p.name: p for p in folder.iterdir()}


@pytest.fixture(scope="module")
def folds(store: VolumeStore, models: Mapping[str, Path]) -> list[FoldPredictions]:
    """Both models of crops guided by both keypoint models."""
    return predict_out_of_fold(
        [models["two"], models["sub"]],
        store,
        device=CPU,
        flip=True,
        guides=[models["sagittal_t1"], models["sagittal_t2"]],
    )


def by_name(folds: list[FoldPredictions]) -> dict[str, FoldPredictions]:
    return {f.meta.recipe.name: f for f in folds}


def test_crops_need_a_first_stage_of_the_same_fold(
    store: VolumeStore, models: Mapping[str, Path]
) -> None:
    for guides in ([], [models["other"]]):
        with pytest.raises(
            UsageError, match=r"small/two_stage fold 4 .*none of .*first stage of fold 4"
        ):
            predict_out_of_fold([models["two"]], store, device=CPU, flip=False, guides=guides)


def test_guides_alone_validate_nothing(store: VolumeStore, models: Mapping[str, Path]) -> None:
    guides = [models["sagittal_t2"]]
    with pytest.raises(NothingDone):
        predict_out_of_fold([], store, device=CPU, flip=False, guides=guides)


def test_a_second_stage_that_saw_a_study_is_refused(
    store: VolumeStore, models: Mapping[str, Path], studies: list[str], tmp_path: Path
) -> None:
    seen = save_small_model(tmp_path / "two", "two_stage", FOLD, trained_on=studies[:1])
    guides = [models["sagittal_t2"]]
    with pytest.raises(UsageError, match=rf"trained on 1 of the studies.*{studies[0]}"):
        predict_out_of_fold([seen], store, device=CPU, flip=False, guides=guides)


def test_crops_are_cut_around_predictions_of_the_guides_alone(
    store: VolumeStore, folds: list[FoldPredictions], studies: list[str]
) -> None:
    found = by_name(folds)
    assert {name for name, f in found.items() if f.guide} == {T1, T2}
    labels = {
        (p.study_id, p.target): p.patient
        for p in store.points
        if p.target.condition is not Condition.SUBARTICULAR
    }
    for name in ("small/two_stage", "small/subarticular"):
        assert [r.study_id for r in found[name].judged.rows] == studies
        for row in found[name].judged.rows:
            assert not row.guided_by_labels
            said = [
                p.points
                for g in (found[T1], found[T2])
                for p in g.judged.used
                if p.study_id == row.study_id
            ]
            expected = {t: p.patient for t, p in average_points(said).items()}
            assert {g.target: g.patient for g in row.guides} == expected
            assert set(expected) == {t for s, t in labels if s == row.study_id}
            assert all(expected[t] != labels[row.study_id, t] for t in expected)


def test_every_prediction_names_the_models_behind_it(folds: list[FoldPredictions]) -> None:
    for name, fold in by_name(folds).items():
        expected = {name} if fold.guide else {name, T1, T2}
        assert {s.recipe for s in fold.sources} == expected
        assert {s.fold for s in fold.sources} == {FOLD}


def test_mirror_symmetric_models_are_not_run_twice(folds: list[FoldPredictions]) -> None:
    found = by_name(folds)
    assert found["small/two_stage"].judged.flipped is None
    assert found["small/subarticular"].judged.flipped is None
    assert found[T1].judged.flipped is not None
    assert found[T2].judged.flipped is None


@pytest.fixture(scope="module")
def written(
    store: VolumeStore, folds: list[FoldPredictions], tmp_path_factory: pytest.TempPathFactory
) -> tuple[ValidationResult, Path]:
    out = tmp_path_factory.mktemp("validation")
    return write_validation(out, assess(folds, store), store, pictures=1), out


def test_scores_are_of_the_models_that_grade_and_points_of_those_that_point(
    written: tuple[ValidationResult, Path],
) -> None:
    result, out = written
    lines = {(s.model, s.condition) for s in result.scores if s.fold == "pooled"}
    assert lines == {
        ("small/subarticular", Condition.SUBARTICULAR),
        *(("small/two_stage", c) for c in Condition),
    }
    assert all(np.isfinite(s.score) for s in result.scores)
    assert {line.condition for line in result.points} == set(result.overall()) == set(Condition)
    names = {p.name for p in out.iterdir()}
    tables = {"oof.csv", "oof-points.csv", "scores.csv", "points.csv"}
    assert names >= {*tables, "oof.json", "metrics.csv", "index.html", "pictures"}


def test_the_out_of_fold_file_has_all_25_findings_of_every_study(
    written: tuple[ValidationResult, Path], folds: list[FoldPredictions], studies: list[str]
) -> None:
    result, out = written
    assert result.rows == 25 * len(studies)
    found = read_predictions(out / "oof.csv")
    assert set(found) == {str(s) for s in studies}
    named = by_name(folds)
    for i, study in enumerate(studies):
        two, sub = (named[f"small/{n}"].judged.plain[i] for n in ("two_stage", "subarticular"))
        assert set(found[str(study)].findings) == set(FINDINGS)
        for target in FINDINGS:
            parts = [p.findings[target].probabilities for p in (two, sub) if target in p.findings]
            said = found[str(study)].findings[target]
            np.testing.assert_allclose(said.probabilities, np.mean(parts, axis=0), atol=2e-6)
            assert {s.recipe for s in said.sources} >= {"small/two_stage", T1, T2}


def test_out_of_fold_points_are_those_of_the_first_stage_and_train_a_second_one(
    store: VolumeStore,
    written: tuple[ValidationResult, Path],
    folds: list[FoldPredictions],
    studies: list[str],
) -> None:
    path = written[1] / "oof-points.csv"
    points = read_points(path)
    assert set(points) == set(studies)
    for study in studies:
        said = average_points(
            [
                p.points
                for f in folds
                if f.meta.recipe.name != "small/two_stage"
                for p in f.judged.used
                if p.study_id == study
            ]
        )
        assert {t: row.point.series_id for t, row in points[study].items()} == {
            t: p.series_id for t, p in said.items()
        }
        for target, row in points[study].items():
            np.testing.assert_allclose(row.point.patient, said[target].patient, atol=1e-3)
            assert row.fold == FOLD
            models = {ModelSource(name, FOLD) for name in ("small/subarticular", T1, T2)}
            assert set(row.models) <= models
            if target in TARGETS[Condition.SUBARTICULAR]:
                assert set(row.models) == models

    task = get_task(small_recipe("two_stage", points=str(path)))
    for row in task.rows(store):
        assert row.guided_by_labels == (row.study_id not in studies)
        if row.study_id in studies:
            guides = {g.target: g.patient for g in row.guides}
            assert guides == {t: p.point.patient for t, p in points[row.study_id].items()}

    moved = replace(store, folds=store.folds | {studies[0]: 1})
    with pytest.raises(UsageError, match=rf"study {studies[0]} \(fold 1\) comes from small/"):
        task.rows(moved)


def test_labels_of_a_study_are_drawn_in_the_pixels_of_their_series(
    store: VolumeStore, folds: list[FoldPredictions]
) -> None:
    """A row of a study has its points in patient millimetres; a picture needs pixels."""
    labels = {(p.study_id, p.series_id, p.target): p.voxel for p in store.points}
    crosses = 0
    for condition, examples in assess(folds, store).examples.items():
        for row, _ in examples:
            for series in {p.series_id for p in row.labelled}:
                for mark in true_marks(row, series):
                    assert mark.target.condition is condition
                    drawn = (mark.x, mark.y, mark.z)
                    assert drawn == labels[row.study_id, series, mark.target]
                    crosses += 1
    assert crosses > 20
