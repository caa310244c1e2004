"""A model is judged only on studies it has not seen, by the same scores as anywhere else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lumbargrade.config import Published, Recipe, load_recipe
from lumbargrade.domain.errors import NothingDone, UsageError
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.vocabulary import TARGETS, Condition, Target, mirror
from lumbargrade.domain.volume import Volume, locate
from lumbargrade.grading.members import find_models, load_member
from lumbargrade.grading.predictions_file import read_predictions
from lumbargrade.grading.stages import predict_study
from lumbargrade.inference.model_folder import ModelMeta
from lumbargrade.lsdc.point_file import read_points
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.lsdc.tables import assign_folds
from lumbargrade.models.checkpoint import save_model
from lumbargrade.models.registry import get_task
from lumbargrade.models.task import weighted_log_loss
from lumbargrade.report.validation import write_validation
from lumbargrade.scoring.local import any_severe, local_score
from lumbargrade.scoring.points import point_errors
from lumbargrade.validation.assessment import assess
from lumbargrade.validation.judged import FoldPredictions, JudgedRows, ensemble_of
from lumbargrade.validation.out_of_fold import (
    PUBLISHED_FOLDS,
    fold_fingerprint,
    predict_out_of_fold,
    refuse_seen_studies,
)
from lumbargrade.validation.scores import (
    any_severe_of,
    point_columns,
    published_ensembles,
    score_table,
)
from made_series import make_row
from small_models import save_small_model, small_recipe

CPU = "cpu"


@pytest.fixture(scope="module")
def store(small_store: Path) -> VolumeStore:
    return VolumeStore.open(small_store)


def others(store: VolumeStore, fold: int) -> list[str]:
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


@dataclass(frozen=True)
class Numbers:
    """What is said of some targets, (P, 3) each."""

    probabilities: FloatArray
    voxels: FloatArray
    patient: FloatArray

    @classmethod
    def of(cls, found: StudyPrediction, targets: Sequence[Target]) -> Numbers:
        voxels, patient = (found.point_rows(targets, patient=p) for p in (False, True))
        return cls(found.probability_rows(targets), voxels, patient)


def saying(
    prediction: StudyPrediction, targets: Sequence[Target], probabilities: FloatArray
) -> StudyPrediction:
    """The prediction with other probabilities (P, 3) of these targets."""
    said = zip(targets, probabilities.tolist(), strict=True)
    changed = {t: replace(prediction.findings[t], probabilities=tuple(p)) for t, p in said}
    return replace(prediction, findings={**prediction.findings, **changed})


def plain_loss(judged: JudgedRows) -> float:
    return weighted_log_loss(judged.rows, judged.plain)


def meta(fold: int, **provenance: Any) -> ModelMeta:
    return ModelMeta(Recipe("r", "canal"), fold, provenance=provenance)


def test_a_model_that_saw_one_of_its_studies_is_refused(store: VolumeStore) -> None:
    rows = [r for r in store.rows(Condition.CANAL) if r.fold == 4]
    refuse_seen_studies(meta(4, trained_on=others(store, 4)), store, rows)
    seen = [*others(store, 4), rows[2].study_id]
    with pytest.raises(UsageError, match=rf"trained on 1 of the studies.*{rows[2].study_id}"):
        refuse_seen_studies(meta(4, trained_on=seen), store, rows)
    with pytest.raises(UsageError, match="trained on 1 of the studies"):  # numbers, as once written
        refuse_seen_studies(meta(4, trained_on=list(map(int, seen))), store, rows)


def test_a_model_of_unknown_training_is_judged_on_the_published_folds_only(
    store: VolumeStore, shared: Path
) -> None:
    rows = [r for r in store.rows(Condition.CANAL) if r.fold == 4]
    with pytest.raises(UsageError, match="the training studies of this model are unknown"):
        refuse_seen_studies(meta(4), store, rows)
    table = pd.read_csv(shared / "realdata" / "rsna2024" / "train.csv")
    published = assign_folds(table["study_id"].astype(str).tolist())
    assert fold_fingerprint(published) == PUBLISHED_FOLDS
    refuse_seen_studies(meta(4), replace(store, folds=published), rows)
    one = next(iter(published))
    moved = published | {one: (published[one] + 1) % 5}
    with pytest.raises(UsageError, match="the training studies of this model are unknown"):
        refuse_seen_studies(meta(4), replace(store, folds=moved), rows)


def test_a_model_of_unknown_fold_is_not_judged(store: VolumeStore) -> None:
    with pytest.raises(UsageError, match=r"unknown.*import-weights --fold"):
        refuse_seen_studies(meta(-1, trained_on=[]), store, [])


def test_two_models_of_one_fold_are_refused(store: VolumeStore, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_small_model(tmp_path / name, "canal", 4, trained_on=[])
    with pytest.raises(UsageError, match="are both small/canal fold 4; give one of them"):
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
        rows, plain = one.judged.rows, one.judged.plain
        assert {r.study_id for r in rows} == studies
        for row, prediction in zip(rows, plain, strict=True):
            assert prediction.study_id == row.study_id
            assert {p.series_id for p in prediction.points.values()} == {row.series_id}
        assert (one.judged.flipped is None) == (one.meta.recipe.task == "canal")


def test_flip_averaging_is_the_mean_with_the_mirrored_volume(
    store: VolumeStore, models: Path
) -> None:
    """Mirrored by hand: slices reversed, then left and right exchanged."""
    member = load_member(models / "foraminal4", CPU)
    head = member.engine.network.network.head
    with torch.no_grad():  # an untrained network says about the same of everything
        head.points.weight.mul_(300)
        head.grade[-1].weight.mul_(40)
    row = store.rows(Condition.FORAMINAL)[0]
    volume = store.volume(row.study_id, row.series_id)
    reverse = replace(volume, pixels=volume.pixels[::-1].copy(), slices=volume.slices[::-1])

    targets = member.inference.targets

    def predict(one: Volume, flip: bool = False) -> Numbers:
        (found,) = member.predict(volume.study_id, [one], flip=flip)
        return Numbers.of(found, targets)

    plain, other, both = predict(volume), predict(reverse), predict(volume, flip=True)
    order = list(mirror(targets))
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


def test_scores_are_those_of_a_plain_loop(folds: list[FoldPredictions]) -> None:
    for one in folds:
        total = weight = 0.0
        for row, prediction in zip(one.judged.rows, one.judged.plain, strict=True):
            for grade, target in zip(row.grades, row.targets, strict=True):
                if grade >= 0:
                    p = np.array(prediction.findings[target].probabilities)
                    w = (1, 2, 4)[grade]
                    total -= w * np.log(p[grade] / p.sum())
                    weight += w
        assert plain_loss(one.judged) == pytest.approx(total / weight)


def test_any_severe_takes_the_mean_over_the_series_of_a_study(
    folds: list[FoldPredictions],
) -> None:
    one = next(f for f in folds if f.meta.recipe.task == "canal")
    judged, targets = one.judged, TARGETS[Condition.CANAL]
    severe = np.array([p.probability_rows(targets)[:, 2] for p in judged.plain])
    grades = np.array([r.grades for r in judged.rows])
    assert any_severe_of(judged) == pytest.approx(any_severe(severe, grades))

    other = saying(judged.plain[0], targets, np.full((5, 3), (0.1, 0.1, 0.8)))
    again = replace(judged.rows[0], series_id="1")
    twice = JudgedRows([*judged.rows, again], [*judged.plain, other])
    severe[0] = (severe[0] + 0.8) / 2
    assert any_severe_of(twice) == pytest.approx(any_severe(severe, grades))


def test_the_ensemble_of_a_fold_is_the_mean_of_its_models(folds: list[FoldPredictions]) -> None:
    canal = [f for f in folds if f.meta.recipe.task == "canal"]
    targets = TARGETS[Condition.CANAL]

    def swapped(p: StudyPrediction) -> StudyPrediction:
        return saying(p, targets, p.probability_rows(targets)[:, [1, 0, 2]])

    twin = [
        replace(
            f,
            meta=replace(f.meta, recipe=replace(f.meta.recipe, name="small/twin")),
            judged=JudgedRows(f.judged.rows[::-1], [swapped(p) for p in f.judged.plain][::-1]),
        )
        for f in canal
    ]
    found = ensemble_of([*canal, *twin])
    assert list(found) == [2, 4]
    for one in canal:
        judged = found[one.meta.fold]
        assert judged.flipped is None
        assert [r.key for r in judged.rows] == [r.key for r in one.judged.rows]
        for both, mine in zip(judged.plain, one.judged.plain, strict=True):
            own = mine.probability_rows(targets)
            expected = (own + own[:, [1, 0, 2]]) / 2
            np.testing.assert_allclose(both.probability_rows(targets), expected)

    lines = {(x.model, x.fold): x for x in score_table(Condition.CANAL, [*canal, *twin])}
    assert set(lines) == {
        (m, f)
        for m in ("small/canal", "small/twin", "ensemble")
        for f in ("2", "4", "mean", "pooled")
    }
    every = JudgedRows.together([one.judged for one in canal])
    assert [r.key for r in every.rows] == [r.key for one in canal for r in one.judged.rows]
    assert lines["small/canal", "pooled"].score == pytest.approx(plain_loss(every))
    by_fold = [plain_loss(one.judged) for one in canal]
    assert lines["small/canal", "2"].score == pytest.approx(by_fold[0])
    assert lines["small/canal", "mean"].score == pytest.approx(np.mean(by_fold))
    severe = [any_severe_of(one.judged) for one in canal]
    assert lines["small/canal", "mean"].any_severe == pytest.approx(np.mean(severe))
    # the folds differ in size and weight, so the two are not the same figure
    pooled = lines["small/canal", "pooled"]
    assert abs(pooled.score - lines["small/canal", "mean"].score) > 1e-6
    assert pooled.series == lines["small/canal", "mean"].series == 8
    everyone = JudgedRows.together(list(found.values()))
    assert lines["ensemble", "pooled"].score == pytest.approx(plain_loss(everyone))
    assert lines["ensemble", "pooled"].any_severe == pytest.approx(any_severe_of(everyone))


def renamed(folds: list[FoldPredictions], task: str, *names: str) -> list[FoldPredictions]:
    """Predictions of a task's small models under the names of published recipes."""
    mine = [f for f in folds if f.meta.recipe.task == task]
    recipes = map(load_recipe, names)
    return [replace(f, meta=replace(f.meta, recipe=r)) for r in recipes for f in mine]


NFN = [
    f"one-stage-nfn-fixed/{name}-decoder3d-01"
    for name in ("pvt_v2_b4", "convnext_small", "effnet_b5")
]
SCS = [f"one-stage-scs/{name}-decoder2d-01" for name in ("pvt_v2_b4", "convnext_base", "effnet_b4")]


def test_published_figures_stand_beside_the_figure_of_the_same_kind(
    folds: list[FoldPredictions],
) -> None:
    """Mean beside mean, pooled beside pooled, fold beside fold; nothing where none is known."""
    foraminal = score_table(Condition.FORAMINAL, renamed(folds, "foraminal", *NFN))
    lines = {(x.model, x.fold): x for x in foraminal}
    for name in NFN:
        published = load_recipe(name).published
        mean = lines[name, "mean"]
        assert (mean.published, mean.published_flip) == (published.score, published.score_flip)
        assert mean.published is not None
        assert lines[name, "pooled"].published is None
    whole = lines["ensemble", "mean"]
    assert (whole.published, whole.published_flip) == (0.4784, 0.4757)
    assert [lines["ensemble", f].published_flip for f in ("2", "4")] == [0.4782, 0.4467]
    assert all(x.score_flip is not None and x.any_severe is None for x in lines.values())

    canal = score_table(Condition.CANAL, renamed(folds, "canal", *SCS))
    lines = {(x.model, x.fold): x for x in canal}
    whole = lines["ensemble", "mean"]
    assert (whole.published, whole.published_any_severe) == (0.2607, 0.2387)
    assert lines["ensemble", "4"].published == 0.2807
    for name in SCS:
        published = load_recipe(name).published
        assert lines[name, "mean"].published_any_severe == published.any_severe is not None

    # two of three networks are not the published ensemble
    two = score_table(Condition.CANAL, renamed(folds, "canal", *SCS[:2]))
    assert [x.published for x in two if x.model == "ensemble"] == [None] * 4
    # nor are three of which one lacks a fold; what is known of the others stays
    lacking = [f for f in renamed(folds, "canal", *SCS) if f.meta.fold == 2] + [
        f for f in renamed(folds, "canal", *SCS[:2]) if f.meta.fold == 4
    ]
    some = score_table(Condition.CANAL, lacking)
    assert [x.published for x in some if x.model == "ensemble"] == [None] * 4
    assert [x.published for x in some if x.fold == "mean"] == [0.2691, 0.2672, 0.2742, None]


def test_tables_show_each_published_figure_to_the_right_of_ours(
    store: VolumeStore, folds: list[FoldPredictions], tmp_path: Path
) -> None:
    """A table per condition and, for points, model, so that lines fit a page and a terminal."""
    named = [
        *renamed(folds, "foraminal", *NFN[:2]),
        *renamed(folds, "canal", SCS[0]),
    ]
    result = write_validation(tmp_path, assess(named, store), store, pictures=0)
    canal, foraminal = result.shown_scores()
    start = ["model", "fold", "series", "score", "published"]
    assert canal.header == [*start, "any severe", "published"]
    assert foraminal.header == [*start, "with flip", "published"]
    by_fold = {row[1]: row for row in canal.values}
    assert by_fold["mean"][4::2] == [0.2691, 0.2396]
    assert by_fold["pooled"][4::2] == [0.2699, 0.2415]
    text = result.text()
    assert "scores: spinal canal stenosis\n" in text
    assert f"points: neural foraminal narrowing, {NFN[0]}\n" in text
    assert "these are over 2 folds (2, 4)." in text
    assert "\N{NO-BREAK SPACE}" not in text
    tables = text[: text.index("within: shares")].splitlines()
    assert max(map(len, tables)) <= 132
    page = (tmp_path / "index.html").read_text()
    assert all(f"<h3>{t.caption}</h3>" in page for t in result.shown_points())


def test_the_means_of_published_folds_are_the_published_means() -> None:
    for ensemble in published_ensembles():
        figures = ensemble.figures
        for mean, by_fold in (
            (figures.score, figures.score_folds),
            (figures.score_flip, figures.score_flip_folds),
        ):
            if by_fold:
                assert np.mean(by_fold) == pytest.approx(mean, abs=1e-4)
        for name in ensemble.recipes:
            assert load_recipe(name).published != Published()


def test_a_line_of_points_for_every_model_and_fold_within_5_too(
    store: VolumeStore, folds: list[FoldPredictions], tmp_path: Path
) -> None:
    result = write_validation(tmp_path, assess(folds, store), store, pictures=0)
    names = {"small/canal": Condition.CANAL, "small/foraminal": Condition.FORAMINAL}
    assert [(x.condition, x.model, x.fold) for x in result.points] == [
        (c, m, f) for m, c in names.items() for f in ("2", "4", "mean", "pooled")
    ]
    table = pd.read_csv(tmp_path / "points.csv", dtype={"fold": str})
    for axis in "xyz":
        for limit in (1, 2, 3, 5):
            assert table[f"{axis} <= {limit}"].between(0, 1).all()
    for model in names:
        mine = table[table["model"] == model].set_index("fold")
        assert mine.loc["pooled", "points"] == mine.loc[["2", "4"], "points"].sum()
        mean = mine.loc[["2", "4"], "x <= 5"].mean()
        assert mine.loc["mean", "x <= 5"] == pytest.approx(mean)
        assert (mine["x <= 3"] <= mine["x <= 5"]).all()


def test_tables_files_and_findings_show_the_same_predictions(
    store: VolumeStore, folds: list[FoldPredictions], tmp_path: Path
) -> None:
    """Flip-averaged ones, where flips are averaged: in points.csv as in oof-points.csv."""
    result = write_validation(tmp_path, assess(folds, store), store, pictures=0)
    placed = read_points(tmp_path / "oof-points.csv")
    findings = read_predictions(tmp_path / "oof.csv")
    for condition in (Condition.CANAL, Condition.FORAMINAL):
        off = []
        for row in store.rows(condition):
            if row.fold not in (2, 4):
                continue
            volume = store.volume(row.study_id, row.series_id)
            for target, point in zip(row.targets, row.points, strict=True):
                if np.isfinite(point).all():
                    at = placed[row.study_id][target].point
                    place = findings[row.study_id].findings[target].point
                    assert place is not None
                    assert (place.x, place.y, place.z) == at.voxel
                    off.append(np.linalg.norm(volume.to_patient(point) - at.patient))
        assert result.overall()[condition].median_mm == pytest.approx(np.median(off), abs=1e-9)
    judged = next(f.judged for f in folds if f.judged.flipped is not None)
    plain, used = (
        p.point_rows(judged.rows[0].targets, patient=False)
        for p in (judged.plain[0], judged.used[0])
    )
    assert not np.allclose(plain, used)


def test_a_network_trained_on_flips_without_exchange_is_never_averaged_with_its_mirror(
    store: VolumeStore, tmp_path: Path
) -> None:
    """Its mirror, with sides exchanged, would put the points of each side on the other."""
    recipe = small_recipe("foraminal")
    recipe = replace(recipe, augment=replace(recipe.augment, flip_exchanges_sides=False))
    with torch.random.fork_rng(devices=[]):
        network = get_task(recipe).build_network(pretrained=False).eval()
    meta = ModelMeta(recipe, 4, provenance={"trained_on": others(store, 4)})
    save_model(tmp_path / "model", network, meta)
    asked = [
        predict_out_of_fold([tmp_path / "model"], store, device=CPU, flip=flip)
        for flip in (True, False)
    ]
    for number, found in enumerate(asked):
        assert found[0].judged.flipped is None
        write_validation(tmp_path / str(number), assess(found, store), store, pictures=0)
    for name in ("oof.csv", "oof-points.csv", "points.csv", "scores.csv"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()
    member = load_member(tmp_path / "model", CPU)
    row = asked[0][0].judged.rows[0]
    volume = store.volume(row.study_id, row.series_id)
    (series,) = member.predict("1", [volume])
    study = predict_study("1", [volume], [member], flip=True)
    assert set(series.points) == set(member.inference.targets)
    for target, point in series.points.items():
        place = study.findings[target].point
        assert place is not None
        assert place.voxel == point.voxel


def test_an_out_of_fold_file_loses_nothing(
    store: VolumeStore, folds: list[FoldPredictions], tmp_path: Path
) -> None:
    """The loss of what is read back is that of what was predicted, to 1e-12."""
    rng = np.random.default_rng(0)

    def sharper(p: StudyPrediction) -> StudyPrediction:
        """Sure predictions, some of them wrong: rounded, their loss would be another."""
        targets = list(p.findings)
        sharp = p.probability_rows(targets) ** rng.uniform(5, 60, (len(targets), 1))
        return saying(p, targets, sharp / sharp.sum(axis=1, keepdims=True))

    sure = [
        replace(f, judged=JudgedRows(f.judged.rows, [sharper(p) for p in f.judged.used]))
        for f in folds
    ]
    found = [f for one in sure for p in one.judged.plain for f in p.findings.values()]
    assert min(min(f.probabilities) for f in found) < 1e-9
    result = write_validation(tmp_path, assess(sure, store), store, pictures=0)
    read = read_predictions(tmp_path / "oof.csv")
    for line in result.scores:
        if line.fold != "pooled":
            continue
        pairs = [
            (finding.probabilities, store.grades[study][target])
            for study, one in read.items()
            for target, finding in one.findings.items()
            if target.condition is line.condition and target in store.grades[study]
        ]
        loss = local_score([p for p, _ in pairs], [int(g) for _, g in pairs]).weighted
        assert loss == pytest.approx(line.score, rel=1e-12, abs=1e-12)


def test_errors_of_points_are_in_mask_pixels_slices_and_millimetres(store: VolumeStore) -> None:
    rows = store.rows(Condition.CANAL)[:2]
    predictions = []
    for row in rows:
        volume = store.volume(row.study_id, row.series_id)
        voxels = np.nan_to_num(row.points.astype(np.float64)) + np.array([5.0, 0.0, 0.0])
        points = locate(volume, row.targets, voxels)
        predictions.append(StudyPrediction(row.study_id, {}, points=points))
    judged = JudgedRows(rows, predictions)
    columns = point_columns(judged, store, size=64)  # 40 x 32 pixels: a mask pixel is 2.5 pixels
    errors = point_errors(*columns)
    assert errors.count == sum(int(np.isfinite(r.points).all(axis=1).sum()) for r in rows)
    assert errors.within["x"] == (0.0, 1.0, 1.0, 1.0)  # two mask pixels
    assert errors.within["y"] == errors.within["z"] == (1.0,) * 4
    assert errors.median_mm == pytest.approx(5 * 0.7, abs=1e-4)  # pixels of 0.7 mm
    assert errors.in_plane_median_mm == pytest.approx(5 * 0.7, abs=1e-4)


def test_the_out_of_fold_file_has_each_study_once_and_models_that_never_saw_it(
    store: VolumeStore, folds: list[FoldPredictions], tmp_path: Path
) -> None:
    result = write_validation(tmp_path, assess(folds, store), store, pictures=1)
    assert result.rows == 8 * 15
    found = read_predictions(tmp_path / "oof.csv")
    assert set(found) == {s for s, f in store.folds.items() if f in (2, 4)}
    mine: dict[tuple[str, Condition], list[StudyPrediction]] = defaultdict(list)
    for one in folds:
        (condition,) = one.task.conditions
        for p in one.judged.flipped or one.judged.plain:
            mine[p.study_id, condition].append(p)
    for study, prediction in found.items():
        assert {s.fold for s in prediction.sources} == {store.folds[study]}
        for condition in (Condition.CANAL, Condition.FORAMINAL):
            (same,) = mine[study, condition]
            for target in TARGETS[condition]:
                finding, said = prediction.findings[target], same.findings[target]
                np.testing.assert_allclose(finding.probabilities, said.probabilities, atol=1e-6)
                point, there = finding.point, same.points[target]
                assert point is not None
                assert point.instance_number == there.instance_number
                np.testing.assert_allclose(point.patient, there.patient, atol=0.01)
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
    prediction = StudyPrediction("1", {t: Finding(t, (1 / 3,) * 3) for t in row.targets})
    alone = JudgedRows([blank], [prediction])
    assert np.isnan(plain_loss(alone))
    assert np.isnan(any_severe_of(alone))
    graded = JudgedRows([blank, row], [prediction, prediction])
    known = row.grades[row.grades >= 0]
    expected = local_score(np.full((len(known), 3), 1 / 3), known).weighted
    assert plain_loss(graded) == pytest.approx(expected)
