"""A model is judged only on studies it has not seen, by the same scores as anywhere else."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lumbargrade.checkpoint import ModelMeta
from lumbargrade.config import Published, Recipe, load_recipe
from lumbargrade.dataset.folds import assign_folds
from lumbargrade.dataset.rows import SeriesRow
from lumbargrade.dataset.store import VolumeStore
from lumbargrade.domain.errors import NothingDone, UsageError
from lumbargrade.domain.vocabulary import TARGETS, Condition, mirror
from lumbargrade.domain.volume import Volume
from lumbargrade.outputs.validation import write_validation
from lumbargrade.prediction.evaluation import (
    any_severe_of_pairs,
    ensemble_of,
    errors_of_pairs,
    score_pairs,
    score_table,
)
from lumbargrade.prediction.members import find_models, load_member
from lumbargrade.prediction.table import read_predictions
from lumbargrade.prediction.validation import (
    PUBLISHED_FOLDS,
    FoldPredictions,
    fold_fingerprint,
    predict_out_of_fold,
    refuse_seen_studies,
)
from lumbargrade.scoring.local import any_severe, local_score
from lumbargrade.tasks.base import SeriesPrediction
from lumbargrade.tasks.inference import predict_volumes
from made_series import make_row
from small_models import save_small_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(small_store: Path) -> VolumeStore:
    return VolumeStore.open(small_store)


def others(store: VolumeStore, fold: int) -> list[int]:
    return [study for study, f in store.folds.items() if f != fold]


@pytest.fixture(scope="module")
def models(store: VolumeStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both tasks, folds 2 and 4."""
    folder = tmp_path_factory.mktemp("models")
    for task in ("canal", "foraminal"):
        for fold in (2, 4):
            name = folder / f"{task}{fold}"
            save_small_model(name, task, fold, trained_on=others(store, fold))
    return folder


@pytest.fixture(scope="module")
def folds(store: VolumeStore, models: Path) -> list[FoldPredictions]:
    return predict_out_of_fold(find_models([models]), store, device=CPU, flip=True)


def meta(fold: int, **provenance: Any) -> ModelMeta:
    return ModelMeta(Recipe("r", "canal"), fold, provenance=provenance)


def test_a_model_that_saw_one_of_its_studies_is_refused(store: VolumeStore) -> None:
    rows = [r for r in store.rows(Condition.CANAL) if r.fold == 4]
    refuse_seen_studies(meta(4, trained_on=others(store, 4)), store, rows)
    seen = [*others(store, 4), rows[2].study_id]
    with pytest.raises(UsageError, match=rf"trained on 1 of the studies.*{rows[2].study_id}"):
        refuse_seen_studies(meta(4, trained_on=seen), store, rows)


def test_a_model_of_unknown_training_is_judged_on_the_published_folds_only(
    store: VolumeStore, shared: Path
) -> None:
    rows = [r for r in store.rows(Condition.CANAL) if r.fold == 4]
    with pytest.raises(UsageError, match="not known which studies"):
        refuse_seen_studies(meta(4), store, rows)
    table = pd.read_csv(shared / "realdata" / "rsna2024" / "train.csv")
    published = assign_folds(table["study_id"].tolist())
    assert fold_fingerprint(published) == PUBLISHED_FOLDS
    refuse_seen_studies(meta(4), replace(store, folds=published), rows)
    one = next(iter(published))
    moved = published | {one: (published[one] + 1) % 5}
    with pytest.raises(UsageError, match="not known which studies"):
        refuse_seen_studies(meta(4), replace(store, folds=moved), rows)


def test_a_model_of_unknown_fold_is_not_judged(store: VolumeStore) -> None:
    with pytest.raises(UsageError, match=r"not known which fold.*import-weights --fold"):
        refuse_seen_studies(meta(-1, trained_on=[]), store, [])


def test_two_models_of_one_fold_are_refused(store: VolumeStore, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_small_model(tmp_path / name, "canal", 4, trained_on=[])
    with pytest.raises(UsageError, match="are both small/canal fold 4"):
        predict_out_of_fold(find_models([tmp_path]), store, device=CPU, flip=False)


def test_a_fold_without_series_gives_nothing_alone_and_is_left_out_among_others(
    store: VolumeStore, models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_small_model(tmp_path / "m", "canal", 0, trained_on=[])
    with pytest.raises(NothingDone, match="no labelled rows"):
        predict_out_of_fold(find_models([tmp_path]), store, device=CPU, flip=False)
    paths = [*find_models([tmp_path]), models / "canal4"]
    found = predict_out_of_fold(paths, store, device=CPU, flip=False)
    assert [f.meta.fold for f in found] == [4]
    assert "small/canal fold 0: no labelled rows" in caplog.text


def test_each_model_predicts_its_fold_and_nothing_else(
    store: VolumeStore, folds: list[FoldPredictions]
) -> None:
    assert len(folds) == 4
    for one in folds:
        studies = {s for s, f in store.folds.items() if f == one.meta.fold}
        assert {r.study_id for r in one.rows} == studies
        assert [p.series_id for p in one.plain] == [str(r.series_id) for r in one.rows]
        assert (one.flipped is None) == (one.meta.recipe.task == "canal")


def test_flip_averaging_is_the_mean_with_the_mirrored_volume(
    store: VolumeStore, models: Path
) -> None:
    """Mirrored by hand: slices reversed, then left and right exchanged."""
    member = load_member(models / "foraminal4", CPU)
    head = member.network.network.head
    with torch.no_grad():  # an untrained network says about the same of everything
        head.points.weight.mul_(300)
        head.grade[-1].weight.mul_(40)
    row = store.rows(Condition.FORAMINAL)[0]
    volume = store.volume(row.study_id, row.series_id)
    reverse = replace(volume, pixels=volume.pixels[::-1].copy(), slices=volume.slices[::-1])

    def predict(one: Volume, flip: bool = False) -> SeriesPrediction:
        return predict_volumes(member.task, member.network, [(row, one)], flip=flip)[0]

    plain, other, both = predict(volume), predict(reverse), predict(volume, flip=True)
    order = list(mirror(plain.targets))
    expected = (plain.probabilities + other.probabilities[order]) / 2
    np.testing.assert_allclose(both.probabilities, expected, atol=1e-5)
    assert np.abs(both.probabilities - plain.probabilities).max() > 1e-3
    last = len(volume.slices) - 1
    z = (plain.voxels[:, 2] + last - other.voxels[order, 2]) / 2
    np.testing.assert_allclose(both.voxels[:, 2], z, atol=1e-4)
    assert np.abs(plain.voxels[:, 2] - z).max() > 0.1
    mirrored = predict(reverse, flip=True)
    np.testing.assert_allclose(mirrored.probabilities[order], both.probabilities, atol=1e-5)
    np.testing.assert_allclose(mirrored.voxels[order, :2], both.voxels[:, :2], atol=1e-3)
    np.testing.assert_allclose(mirrored.patient[order], both.patient, atol=1e-3)


def pairs_of(one: FoldPredictions) -> list[tuple[SeriesRow, SeriesPrediction]]:
    return list(zip(one.rows, one.plain, strict=True))


def test_scores_are_those_of_a_plain_loop(folds: list[FoldPredictions]) -> None:
    for one in folds:
        total = weight = 0.0
        for row, prediction in pairs_of(one):
            for grade, p in zip(row.grades, prediction.probabilities, strict=True):
                if grade >= 0:
                    w = (1, 2, 4)[grade]
                    total -= w * np.log(p[grade] / p.sum())
                    weight += w
        assert score_pairs(pairs_of(one)) == pytest.approx(total / weight)


def test_any_severe_takes_the_mean_over_the_series_of_a_study(
    folds: list[FoldPredictions],
) -> None:
    one = next(f for f in folds if f.meta.recipe.task == "canal")
    pairs = pairs_of(one)
    severe = np.array([p.probabilities[:, 2] for _, p in pairs])
    grades = np.array([r.grades for r, _ in pairs])
    labels = np.where(grades < 0, -1, grades == 2)
    assert any_severe_of_pairs(pairs) == pytest.approx(any_severe(severe, labels))

    other = replace(pairs[0][1], probabilities=np.full((5, 3), (0.1, 0.1, 0.8)), series_id="x")
    twice = [*pairs, (pairs[0][0], other)]
    severe[0] = (severe[0] + 0.8) / 2
    assert any_severe_of_pairs(twice) == pytest.approx(any_severe(severe, labels))


def test_the_ensemble_of_a_fold_is_the_mean_of_its_models(folds: list[FoldPredictions]) -> None:
    canal = [f for f in folds if f.meta.recipe.task == "canal"]
    twin = [
        replace(
            f,
            meta=replace(f.meta, recipe=replace(f.meta.recipe, name="small/twin")),
            plain=[replace(p, probabilities=p.probabilities[:, [1, 0, 2]]) for p in f.plain][::-1],
            rows=list(f.rows)[::-1],
        )
        for f in canal
    ]
    found = ensemble_of([*canal, *twin])
    assert list(found) == [2, 4]
    for one in canal:
        plain, flipped = found[one.meta.fold]
        assert flipped is None
        for (row, both), (same_row, mine) in zip(plain, pairs_of(one), strict=True):
            assert row.series_id == same_row.series_id
            expected = (mine.probabilities + mine.probabilities[:, [1, 0, 2]]) / 2
            np.testing.assert_allclose(both.probabilities, expected)

    lines = {(x.model, x.fold): x for x in score_table(Condition.CANAL, [*canal, *twin])}
    assert set(lines) == {
        (m, f) for m in ("small/canal", "small/twin", "ensemble") for f in ("2", "4", "all")
    }
    every = [pair for one in canal for pair in pairs_of(one)]
    assert lines["small/canal", "all"].score == pytest.approx(score_pairs(every))
    assert lines["small/canal", "2"].score == pytest.approx(score_pairs(pairs_of(canal[0])))
    assert lines["small/canal", "all"].series == 8
    everyone = [pair for plain, _ in found.values() for pair in plain]
    assert lines["ensemble", "all"].score == pytest.approx(score_pairs(everyone))
    assert lines["ensemble", "all"].any_severe == pytest.approx(any_severe_of_pairs(everyone))


def test_published_figures_stand_beside_ours_over_all_folds(folds: list[FoldPredictions]) -> None:
    recipe = load_recipe("one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01")
    foraminal = [
        replace(f, meta=replace(f.meta, recipe=recipe))
        for f in folds
        if f.meta.recipe.task == "foraminal"
    ]
    lines = score_table(Condition.FORAMINAL, foraminal)
    assert [(x.fold, x.published is not None) for x in lines] == [
        ("2", False),
        ("4", False),
        ("all", True),
    ]
    assert lines[-1].published == recipe.published.score
    assert lines[-1].published_flip == recipe.published.score_flip
    assert recipe.published != Published()
    assert all(x.score_flip is not None and x.any_severe is None for x in lines)


def test_errors_of_points_are_in_mask_pixels_slices_and_millimetres(store: VolumeStore) -> None:
    rows = store.rows(Condition.CANAL)[:2]
    pairs = []
    for row in rows:
        volume = store.volume(row.study_id, row.series_id)
        voxels = np.nan_to_num(row.points.astype(np.float64)) + np.array([5.0, 0.0, 0.0])
        pairs.append(
            (
                row,
                SeriesPrediction(
                    str(row.study_id),
                    str(row.series_id),
                    row.targets,
                    np.full((5, 3), 1 / 3),
                    voxels,
                    volume.to_patient(voxels),
                    np.ones(5, np.int64),
                ),
            )
        )
    errors = errors_of_pairs(pairs, store, size=64)  # 40 x 32 pixels: a mask pixel is 2.5 pixels
    assert errors.count == sum(int(np.isfinite(r.points).all(axis=1).sum()) for r in rows)
    assert errors.within["x"] == (0.0, 1.0, 1.0, 1.0)  # two mask pixels
    assert errors.within["y"] == errors.within["z"] == (1.0,) * 4
    assert errors.median_mm == pytest.approx(5 * 0.7, abs=1e-4)  # pixels of 0.7 mm
    assert errors.in_plane_median_mm == pytest.approx(5 * 0.7, abs=1e-4)


def test_the_out_of_fold_file_has_each_study_once_and_models_that_never_saw_it(
    store: VolumeStore, folds: list[FoldPredictions], tmp_path: Path
) -> None:
    result = write_validation(tmp_path, folds, store, pictures=1)
    assert result.rows == 8 * 15
    found = read_predictions(tmp_path / "oof.csv")
    assert set(found) == {str(s) for s, f in store.folds.items() if f in (2, 4)}
    mine: dict[tuple[str, Any], list[SeriesPrediction]] = defaultdict(list)
    for one in folds:
        for p in one.flipped or one.plain:
            mine[p.study_id, p.targets[0].condition].append(p)
    for study, prediction in found.items():
        assert {s.fold for s in prediction.sources} == {store.folds[int(study)]}
        for condition in (Condition.CANAL, Condition.FORAMINAL):
            (same,) = mine[study, condition]
            for i, target in enumerate(TARGETS[condition]):
                finding = prediction.findings[target]
                np.testing.assert_allclose(finding.probabilities, same.probabilities[i], atol=1e-6)
                assert finding.place is not None
                assert finding.place.instance_number == same.instances[i]
                np.testing.assert_allclose(finding.place.patient, same.patient[i], atol=0.01)
    with (tmp_path / "oof.csv").open() as lines:
        truth = pd.read_csv(lines, dtype=str, keep_default_na=False)
    known = {
        (str(study), target.column): grade.column
        for study, grades in store.grades.items()
        for target, grade in grades.items()
    }
    for _, row in truth.iterrows():
        assert row["true_grade"] == known.get((row["study_id"], row["finding"]), "")


def test_a_series_without_grades_or_points_has_a_score_of_nan_and_no_errors() -> None:
    row = make_row(Condition.CANAL)
    blank = replace(row, grades=np.full(5, -1, np.int8))
    prediction = SeriesPrediction(
        "1", "100", row.targets, np.full((5, 3), 1 / 3), np.zeros((5, 3)), np.zeros((5, 3)),
        np.ones(5, np.int64),
    )  # fmt: skip
    assert np.isnan(score_pairs([(blank, prediction)]))
    assert np.isnan(any_severe_of_pairs([(blank, prediction)]))
    graded = [(blank, prediction), (row, prediction)]
    known = row.grades[row.grades >= 0]
    expected = local_score(np.full((len(known), 3), 1 / 3), known).weighted
    assert score_pairs(graded) == pytest.approx(expected)
