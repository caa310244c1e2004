"""Tasks that look at levels one by one, and those that only place points, on phantoms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lumbargrade.config import AugmentConfig, LossConfig, Phase, TrainConfig
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    TARGETS,
    Condition,
    Level,
    SeriesKind,
    Side,
    Target,
)
from lumbargrade.inference.crops import native_voxel, place_of
from lumbargrade.inference.model_folder import read_meta
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.checkpoint import load_model
from lumbargrade.models.keypoints import AxialKeypoints, SagittalKeypoints
from lumbargrade.models.registry import get_task
from lumbargrade.models.study_task import StudyTask, locate_in
from lumbargrade.models.subarticular import SubarticularTask
from lumbargrade.models.torch_engine import TorchEngine
from lumbargrade.models.two_stage import TwoStageTask
from lumbargrade.report.drawing import EpochPictures
from lumbargrade.sampling.study_rows import StudyRow
from lumbargrade.training.loop import FoldTrainer
from small_models import small_recipe

CPU = torch.device("cpu")
T1, T2, AXIAL = SeriesKind
CANAL, SUBARTICULAR = TARGETS[Condition.CANAL], TARGETS[Condition.SUBARTICULAR]
STUDY_TASKS = pytest.mark.parametrize("name", ["subarticular", "two_stage", "axial"])


@pytest.fixture(scope="module")
def store(phantom_store: Path) -> VolumeStore:
    return VolumeStore.open(phantom_store)


def task_of(name: str, **changes) -> StudyTask:
    recipe = (
        small_recipe("keypoints", "axial_t2") if name == "axial" else small_recipe(name, points="")
    )
    task = get_task(replace(recipe, **changes))
    assert isinstance(task, StudyTask)
    return task


def network_of(task):
    torch.manual_seed(0)
    return task.build_network()


def series_of(prediction: StudyPrediction) -> dict[Target, str]:
    return {target: p.series_id for target, p in prediction.points.items()}


def at(prediction: StudyPrediction, targets, **places) -> StudyPrediction:
    """The prediction with the points at other voxels or patient points, (P, 3)."""
    points = dict(prediction.points)
    for what, rows in places.items():
        for target, row in zip(targets, np.asarray(rows, float).tolist(), strict=True):
            points[target] = replace(points[target], **{what: tuple(row)})
    return replace(prediction, points=points)


def samples_of(task: StudyTask, store: VolumeStore, count: int = 2):
    return [task.sample(store, row) for row in task.rows(store)[:count]]


def emptied(task: StudyTask, store: VolumeStore):
    """A study of which nothing can be cut: no point is known."""
    row = task.rows(store)[0]
    return task.sample_of(row, [store.volume(s.study_id, s.series_id) for s in row.series], ())


def test_recipes_give_their_tasks():
    kinds = {"subarticular": SubarticularTask, "two_stage": TwoStageTask, "axial": AxialKeypoints}
    for name, kind in kinds.items():
        assert type(task_of(name)) is kind
    for view, condition in (("sagittal_t1", Condition.FORAMINAL), ("sagittal_t2", Condition.CANAL)):
        task = get_task(small_recipe("keypoints", view))
        assert type(task) is SagittalKeypoints
        assert task.targets == TARGETS[condition]
        assert task.conditions == ()
    assert task_of("axial").conditions == ()
    assert task_of("subarticular").conditions == (Condition.SUBARTICULAR,)
    assert set(task_of("two_stage").targets) == set(FINDINGS)
    with pytest.raises(UsageError, match="class_weights"):
        task_of("two_stage", loss=LossConfig(class_weights=(1.0, 2.0)))


@STUDY_TASKS
def test_every_row_is_a_study_of_its_fold(store, name):
    task = task_of(name)
    assert {r.study_id for r in task.rows(store)} == set(store.folds)
    assert [store.folds[r.study_id] for r in task.rows(store, {4})] == [4, 4]
    no_axial = replace(store, series=[s for s in store.series if s.kind is not AXIAL])
    assert len(task.rows(no_axial)) == (4 if name == "two_stage" else 0)


@STUDY_TASKS
def test_loss_is_finite_and_so_is_the_gradient_of_every_parameter(store, name):
    task = task_of(name, loss=LossConfig(heatmap_sigma=0.5, any_severe=0.5))
    network = network_of(task).train()
    batch = task.collate(samples_of(task, store))
    terms = task.loss(task.forward(network, batch), batch)
    assert all(torch.isfinite(v) for v in terms.parts.values())
    assert terms.total > 0
    terms.total.backward()
    graded = name != "axial"
    for parameter_name, parameter in network.named_parameters():
        if "blocks.5" in parameter_name:
            continue  # beyond the last stage that is used
        heads = parameter_name.startswith(("grade", "project"))
        assert (parameter.grad is None) == (heads and not graded), parameter_name
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), parameter_name
    assert ("grade" in terms.parts or "canal" in terms.parts) == graded


@pytest.mark.parametrize("name", ["subarticular", "axial"])
def test_a_batch_holds_the_crops_with_their_points_in_mask_pixels(store, name):
    task = task_of(name)
    samples = [*samples_of(task, store, 1), emptied(task, store)]
    batch = task.collate(samples)
    assert batch.slices.shape == (10, 3, 32, 32)
    assert batch.owner == [(0, i) for i in range(10)]
    assert batch.annotated.all()
    assert batch.grade.tolist() == samples[0].grades.tolist()
    assert batch.grade.min() >= 0
    for i, crop in enumerate(samples[0].crops.views[AXIAL]):
        row = task.rows(store)[0]
        x, y, z = batch.xyz[i].tolist()
        voxel = native_voxel(crop, 4 * x, 4 * y, round(z))
        assert voxel == pytest.approx(row.truth[SUBARTICULAR[i]].voxel, abs=1e-3)


def test_a_batch_of_studies_has_every_view_and_a_point_where_one_is_labelled(store):
    task = task_of("two_stage")
    row = task.rows(store)[0]
    missing = Target(Condition.FORAMINAL, Level.L2_L3, Side.RIGHT)
    row = replace(row, truth={t: p for t, p in row.truth.items() if t != missing})
    sample = task.sample(store, row)
    batch = task.collate([sample, emptied(task, store)])
    for kind in SeriesKind:
        assert batch.images[kind.name].shape == (2, 10, 3, 32, 32)
        assert batch.valid[kind.name][0].all()
        assert not batch.valid[kind.name][1].any()
        assert not batch.annotated[kind.name][1].any()
    assert batch.annotated[T1.name][0].tolist() == [i != 6 for i in range(10)]
    assert batch.annotated[T2.name][0].all()
    assert batch.annotated[AXIAL.name][0].all()
    assert batch.grade.shape == (2, 25)
    left, right = batch.xyz[T2.name][0, :5], batch.xyz[T2.name][0, 5:]
    assert (left[:, :2] == right[:, :2]).all()
    assert (left[:, 2] + right[:, 2] == 2).all()


@STUDY_TASKS
def test_a_batch_in_which_nothing_can_be_cut_has_no_loss_and_finite_gradients(store, name):
    task = task_of(name)
    network = network_of(task).train()
    batch = task.collate([emptied(task, store)])
    terms = task.loss(task.forward(network, batch), batch)
    assert terms.total.item() == 0
    terms.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    assert all(torch.isfinite(v).all() for v in network.state_dict().values())


@STUDY_TASKS
def test_predictions_have_a_place_in_a_series_and_nothing_is_said_of_what_is_not_seen(store, name):
    task = task_of(name)
    engine = TorchEngine(task, network_of(task).eval())
    samples = [*samples_of(task, store, 1), emptied(task, store)]
    one, nothing = (task.predict_sample(engine, sample) for sample in samples)
    assert set(one.points) == set(task.targets)
    for patient in (False, True):
        assert np.isfinite(one.point_rows(task.targets, patient=patient)).all()
    assert all(p.instance_number > 0 for p in one.points.values())
    if task.conditions:
        assert set(one.findings) == set(task.targets)
        probabilities = one.probability_rows(task.targets)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-9)
        assert all(f.point == one.points[t] for t, f in one.findings.items())
    else:
        assert not one.findings
    row = task.rows(store)[0]
    kinds = {s.series_id: s.kind for s in row.series}
    shown = {Condition.CANAL: T2, Condition.FORAMINAL: T1, Condition.SUBARTICULAR: AXIAL}
    for target, point in one.points.items():
        assert point.target is target
        assert kinds[point.series_id] is shown[target.condition]
    assert not nothing.findings
    assert not nothing.points
    scores = task.evaluate([row, row], [one, nothing])
    assert np.isfinite(scores["score"])


@STUDY_TASKS
def test_augmentation_follows_from_the_seed(store, name):
    task = task_of(name, augment=AugmentConfig(drop_view=0.3))
    row = task.rows(store)[0]

    def images(seed: int | None) -> np.ndarray:
        rng = None if seed is None else np.random.default_rng(seed)
        crops = task.sample(store, row, rng).crops
        return np.stack([crops.images(k) for k in task.kinds])

    one, again, other, plain = (images(s) for s in (1, 1, 2, None))
    assert (one == again).all()
    assert (one != other).any()
    assert (one != plain).any()


def misled(row: StudyRow) -> StudyRow:
    """The guides say one level too low: each target has the point of the level below it."""
    levels = list(Level)
    at = {(g.target.condition, g.target.side, g.target.level): g for g in row.guides}
    guides = []
    for g in row.guides:
        below = levels[min(levels.index(g.target.level) + 1, 4)]
        guides.append(replace(at[g.target.condition, g.target.side, below], target=g.target))
    return replace(row, guides=tuple(guides))


@pytest.mark.parametrize("name", ["subarticular", "two_stage"])
def test_a_level_that_the_guide_missed_is_not_trained_with_its_label(store, name):
    task = task_of(name, augment=AugmentConfig(jitter_mm=0.01, rotation=0, scale_max=0))
    row = task.rows(store)[0]
    rng = np.random.default_rng(0)
    right = task.sample(store, row, rng)
    assert right.grades.tolist() == row.grades.tolist()
    assert (row.grades >= 0).all()
    wrong = task.sample(store, misled(row), rng)
    for target, grade, known in zip(task.targets, wrong.grades, row.grades, strict=True):
        assert grade == (known if target.level is Level.L5_S1 else -1), target
    unknown = replace(misled(row), truth={})  # nothing says that the guides are wrong
    assert task.sample(store, unknown, rng).grades.tolist() == row.grades.tolist()
    plain = task.sample(store, misled(row))  # validation judges what was asked
    assert plain.grades.tolist() == row.grades.tolist()


def test_what_no_view_shows_is_not_graded(store):
    task = task_of("two_stage")
    network = network_of(task).eval()
    samples = [*samples_of(task, store, 1), emptied(task, store)]
    both, alone = task.collate(samples), task.collate(samples[:1])
    with torch.no_grad():
        two = task.loss(task.forward(network, both), both)
        one = task.loss(task.forward(network, alone), alone)
    assert two.counts == one.counts == {"graded": 25}
    for part in ("canal", "foraminal", "subarticular", "view_alone"):
        assert float(two.parts[part]) == pytest.approx(float(one.parts[part]), rel=1e-4)


def test_a_point_of_a_crop_is_found_there_and_nowhere_else(store):
    task = task_of("subarticular")
    (sample,) = samples_of(task, store, 1)
    row = task.rows(store)[0]
    for target in SUBARTICULAR:
        for other in SUBARTICULAR:
            crop = sample.crops.views[AXIAL][place_of(other)]
            found = locate_in(crop, row.truth[target].voxel)
            if target.level is not other.level:
                assert found is None
            elif target is other:
                assert found is not None
                back = native_voxel(crop, found[0], found[1], int(found[2]))
                assert back == pytest.approx(row.truth[target].voxel, abs=1e-6)


@pytest.mark.parametrize("view", ["sagittal_t1", "sagittal_t2"])
def test_sagittal_keypoints_learn_and_predict_points_alone(store, view):
    task = get_task(small_recipe("keypoints", view))
    assert isinstance(task, SagittalKeypoints)
    rows = task.rows(store)[:2]
    batch = task.collate([task.sample(store, row) for row in rows])
    network = network_of(task).train()
    terms = task.loss(task.forward(network, batch), batch)
    assert set(terms.parts) == {"xy", "z", "heatmap"}
    assert terms.counts == {"points": 2 * len(task.targets)}
    terms.total.backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(g).all() for g in gradients)
    found = task.predict_rows(TorchEngine(task, network.eval()), store, rows, flip=task.flips)
    for one in found:
        assert not one.findings
        assert set(one.points) == set(task.targets)
        for patient in (False, True):
            assert np.isfinite(one.point_rows(task.targets, patient=patient)).all()
    assert np.isfinite(task.evaluate(rows, found)["score"])
    exact = [at(p, r.targets, voxel=r.points) for r, p in zip(rows, found, strict=True)]
    assert task.evaluate(rows, exact)["score"] == pytest.approx(0, abs=1e-4)
    off = [
        at(p, r.targets, voxel=r.points + np.array([3, 4, 1]))
        for r, p in zip(rows, exact, strict=True)
    ]
    assert task.evaluate(rows, off)["score"] == pytest.approx(6, abs=1e-3)
    far = [
        at(p, r.targets, voxel=r.points + np.array([300, 0, 90]))
        for r, p in zip(rows, exact, strict=True)
    ]
    assert task.evaluate(rows, far)["score"] == pytest.approx(25, abs=1e-3)


def test_axial_keypoints_are_scored_in_millimetres_and_missing_ones_left_out(store):
    task = task_of("axial")
    rows = task.rows(store)[:1]
    (found,) = task.predict_rows(TorchEngine(task, network_of(task).eval()), store, rows)
    moved = rows[0].points + np.array([2.0, 3.0, 6.0])
    moved[4] = np.nan
    elsewhere = at(found, task.targets, patient=moved)
    assert task.evaluate(rows, [elsewhere])["score"] == pytest.approx(7)


@pytest.mark.parametrize("name", ["axial", "subarticular", "two_stage", "sagittal"])
def test_points_that_were_never_placed_have_no_score(store, name):
    task = (
        get_task(small_recipe("keypoints", "sagittal_t2")) if name == "sagittal" else task_of(name)
    )
    rows = task.rows(store)[:1]
    (found,) = task.predict_rows(TorchEngine(task, network_of(task).eval()), store, rows)
    lost = replace(found, findings={}, points={})
    assert np.isnan(task.evaluate(rows, [lost])["score"])


@pytest.mark.parametrize("name", ["subarticular", "two_stage"])
def test_a_fold_is_trained_and_its_model_predicts_the_same_when_it_is_loaded(store, name, tmp_path):
    train = TrainConfig(
        phases=(Phase((1e-3,), (1,)),), batch_size=2, workers=0, threads=1, ema_decay=0.5
    )
    recipe = replace(small_recipe(name), train=train, augment=AugmentConfig(drop_view=0.2))
    seen = {}
    pictures = EpochPictures(store, tmp_path, 2)

    def hook(epoch, rows, predictions):
        seen[epoch] = rows, predictions
        pictures(epoch, rows, predictions)

    result = FoldTrainer(recipe, 4, store, tmp_path, "cpu", hook).run()
    assert result.finished
    assert np.isfinite(result.best)
    assert (tmp_path / "epochs" / "001.png").is_file()
    rows, predictions = seen[1]
    assert [r.fold for r in rows] == [4, 4]
    meta, model = read_meta(tmp_path / "model"), load_model(tmp_path / "model")
    assert meta.recipe == recipe
    assert meta.provenance["validated_around_labels"] == 2
    assert meta.provenance["validated_around_predictions"] == 0
    if name == "two_stage":
        without = meta.provenance["without"]
        assert set(without) == {k.name.lower() for k in SeriesKind}
        assert all(np.isfinite(s["score"]) for s in without.values())
        assert without["axial_t2"] != without["sagittal_t1"]
    task = get_task(meta.recipe)
    again = task.predict_rows(TorchEngine(task, model.network), store, rows)
    for mine, theirs in zip(predictions, again, strict=True):
        said, same = (p.probability_rows(task.targets) for p in (mine, theirs))
        np.testing.assert_allclose(said, same, atol=1e-5)
        placed, there = (p.point_rows(task.targets, patient=False) for p in (mine, theirs))
        np.testing.assert_allclose(placed, there, atol=1e-2)
        assert series_of(mine) == series_of(theirs)
    assert task.evaluate(rows, again) == pytest.approx(dict(meta.scores), rel=1e-3, abs=1e-2)
