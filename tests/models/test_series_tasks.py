"""The two one-stage tasks: loss parts, decoding, flip averaging, score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lumbargrade.config import (
    AugmentConfig,
    DataConfig,
    EncoderConfig,
    LossConfig,
    NetworkConfig,
    Recipe,
    load_recipe,
    recipe_names,
)
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.vocabulary import TARGETS, Condition, Side
from lumbargrade.models.registry import get_task
from lumbargrade.models.sagittal import CanalTask, ForaminalTask
from lumbargrade.models.series_task import SeriesScores
from lumbargrade.models.task import as_prediction
from lumbargrade.networks.one_stage import OneStageOutput
from lumbargrade.sampling.series import make_sample
from made_series import MadeStore, make_row, make_volume

SIZE = 64
MASK = SIZE // 4
ENCODER = EncoderConfig("resnet10t", pretrained=False)
FORAMINAL = Recipe(
    "f", "foraminal", encoder=ENCODER, network=NetworkConfig("3d", (16, 8, 8), features=8),
    data=DataConfig(SIZE), augment=AugmentConfig(),
)  # fmt: skip
CANAL = Recipe(
    "c", "canal", encoder=ENCODER, network=NetworkConfig("2d", (16, 8, 8), hidden=8),
    data=DataConfig(SIZE), loss=LossConfig(heatmap_sigma=1.0),
)  # fmt: skip
RECIPES = pytest.mark.parametrize("recipe", [FORAMINAL, CANAL], ids=["foraminal", "canal"])


def batch_of(task, depths=(5, 8)):
    samples = []
    for i, depth in enumerate(depths):
        row = make_row(task.condition, depth, seed=i)
        samples.append(make_sample(make_volume(depth, seed=i), row, size=SIZE))
    return task.collate(samples)


def perfect_output(task, batch) -> OneStageOutput:
    """What a network that knows the truth would say (points on whole mask pixels)."""
    count, points = batch.annotated.shape
    grade = torch.full((count, points, 3), 1e-6)
    grade.scatter_(2, batch.grade.clamp_min(0).unsqueeze(-1), 1 - 2e-6)
    common = {
        "grade": grade, "log_grade": grade.log(), "xy": batch.xy, "z": batch.z,
        "counts": tuple(batch.counts),
    }  # fmt: skip
    volumes = []
    for b, depth in enumerate(batch.counts):
        volume = torch.zeros(points, depth, MASK, MASK)
        x, y, z = batch.xy[b, :, 0].round().long(), batch.xy[b, :, 1].round().long(), batch.z[b]
        volume[torch.arange(points), z.long(), y, x] = 1
        volumes.append(volume)
    return OneStageOutput(**common, volume_heatmaps=tuple(volumes))


def test_every_recipe_has_a_task_of_its_condition():
    for name in recipe_names():
        task = get_task(load_recipe(name))
        assert task.recipe.name == name
        graded = [t for c in task.conditions for t in TARGETS[c]]
        assert list(task.targets) == graded or not graded


def test_a_network_that_does_not_fit_its_task_is_refused():
    with pytest.raises(UsageError, match=r"network\.decoder '3d'"):
        get_task(replace(FORAMINAL, network=NetworkConfig("2d")))
    with pytest.raises(UsageError, match="class_weights"):
        get_task(replace(CANAL, loss=LossConfig(class_weights=(1.0, 2.0))))


def test_batch_is_stacked_without_padding_and_points_are_in_mask_pixels():
    task = ForaminalTask(FORAMINAL)
    row = make_row(Condition.FORAMINAL, 5)
    row.points[3] = np.nan
    samples = [
        make_sample(make_volume(5), row, size=SIZE),
        make_sample(make_volume(8, seed=1), make_row(Condition.FORAMINAL, 8, 1), size=SIZE),
    ]
    batch = task.collate(samples)
    assert batch.slices.shape == (13, SIZE, SIZE)
    assert batch.counts == [5, 8]
    assert batch.annotated.sum() == 19
    assert (batch.xy[0, 3] == 0).all()
    np.testing.assert_allclose(batch.xy[1], samples[1].points[:, :2] / 4)
    np.testing.assert_allclose(batch.z[1], samples[1].points[:, 2])
    assert (batch.slices[5:].numpy() == samples[1].image).all()
    assert [s.series_id for s in batch.samples] == ["100", "101"]


def test_the_truth_has_no_foraminal_loss():
    task = ForaminalTask(FORAMINAL)
    batch = batch_of(task)
    terms = task.loss(perfect_output(task, batch), batch)
    assert float(terms.total) == pytest.approx(0, abs=1e-4)
    assert terms.counts == {"matched": 20, "unmatched": 0}


def test_foraminal_points_far_in_y_are_not_graded_and_counted():
    task = ForaminalTask(FORAMINAL)
    batch = batch_of(task)
    output = perfect_output(task, batch)
    xy = output.xy.clone()
    xy[0, 4, 1] += 30
    terms = task.loss(replace(output, xy=xy), batch)
    assert terms.counts == {"matched": 19, "unmatched": 1}
    assert float(terms.parts["xy"]) == pytest.approx(30**2 / 40)


def test_sides_of_the_matching_come_from_the_vocabulary():
    """A prediction on the wrong side's height is not matched to the other side."""
    task = ForaminalTask(FORAMINAL)
    batch = batch_of(task)
    left = torch.tensor([t.side is Side.LEFT for t in task.targets])
    xy = batch.xy.clone()
    xy[:, left, 1] += 100  # every left truth is now far away
    moved = replace(batch, xy=xy)
    terms = task.loss(replace(perfect_output(task, batch)), moved)
    assert terms.counts == {"matched": 10, "unmatched": 10}


@RECIPES
def test_loss_reaches_every_parameter_and_is_the_weighted_sum_of_its_parts(recipe):
    weights = replace(recipe.loss, coordinate=0.1, heatmap=2.0, grade=3.0, match_distance=1e3)
    task = get_task(replace(recipe, loss=weights))
    torch.manual_seed(0)
    network = task.build_network()
    batch = batch_of(task)
    terms = task.loss(network(batch.slices, batch.counts), batch)
    terms.total.backward()
    part = {k: v.item() for k, v in terms.parts.items()}
    points = part["xy"] + part.get("z", 0) + part.get("slice", 0)
    grades = part["grade"] + part.get("grade_map", 0)
    expected = 0.1 * points + 2 * part["heatmap"] + 3 * grades
    assert terms.total.item() == pytest.approx(expected, rel=1e-5)
    assert all(np.isfinite(v) for v in part.values())
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@RECIPES
def test_a_few_steps_of_training_lower_the_loss(recipe):
    task = get_task(recipe)
    torch.manual_seed(0)
    network = task.build_network()
    batch = batch_of(task)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    seen = []
    for _ in range(12):
        terms = task.loss(network(batch.slices, batch.counts), batch)
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        seen.append(float(terms.total.detach()))
    assert seen[-1] < 0.7 * seen[0]


@RECIPES
def test_a_batch_without_labels_has_no_loss(recipe):
    task = get_task(recipe)
    batch = batch_of(task)
    nothing = replace(
        batch,
        annotated=torch.zeros_like(batch.annotated),
        grade=torch.full_like(batch.grade, -1),
    )
    network = task.build_network()
    terms = task.loss(network(batch.slices, batch.counts), nothing)
    terms.total.backward()
    assert float(terms.total.detach()) == 0


def test_canal_grade_map_is_read_at_the_distance_of_the_recipe():
    """The truth at its own pixel, a wrong grade around it: half a pixel away costs less."""
    found = {}
    network = get_task(CANAL).build_network().eval()
    for distance in (0.5, 1.0):
        loss = replace(CANAL.loss, neighbour_distance=distance)
        task = get_task(replace(CANAL, loss=loss))
        batch = batch_of(task)
        batch = replace(batch, grade=torch.full_like(batch.grade, 2), xy=batch.xy.round() + 0.1)
        x, y = batch.xy.round().long().unbind(-1)
        grade_map = torch.full((2, 3, MASK, MASK), -5.0)
        for b, p in np.ndindex(*x.shape):
            grade_map[b, 2, y[b, p], x[b, p]] = -0.01
        output = replace(task.forward(network, batch), grade_map=grade_map)
        found[distance] = float(task.loss(output, batch).parts["grade_map"])
    assert found[0.5] == pytest.approx(0.75 * 0.01 + 0.25 * 5, rel=1e-4)
    assert found[1.0] == pytest.approx(0.5 * 0.01 + 0.5 * 5, rel=1e-4)


def test_canal_loss_ignores_missing_grades():
    task = CanalTask(CANAL)
    batch = batch_of(task)
    network = task.build_network().eval()
    with torch.no_grad():
        output = network(batch.slices, batch.counts)
    grade = torch.tensor([[0, 1, 2, -1, -1], [-1, -1, 0, 0, 1]])
    terms = task.loss(output, replace(batch, grade=grade))
    weights, nll = torch.tensor([1.0, 2, 4]), 0.0
    known = [(b, p) for b in range(2) for p in range(5) if grade[b, p] >= 0]
    for b, p in known:
        nll -= float(weights[grade[b, p]] * output.log_grade[b, p, grade[b, p]])
    nll /= sum(float(weights[grade[b, p]]) for b, p in known)
    assert float(terms.parts["grade"]) == pytest.approx(nll, rel=1e-5)
    assert terms.counts == {"graded": 6}


class SideNetwork(nn.Module, ABC):
    """A stand-in network that takes each side's points and grades from one slice of its choice."""

    def __init__(self, targets) -> None:
        super().__init__()
        self.left = [t.side is Side.LEFT for t in targets]

    @abstractmethod
    def choose(self, mean: Tensor) -> tuple[int, int]:
        """Slices of left and right, from the mean brightness of every slice."""

    def forward(self, slices, counts) -> OneStageOutput:
        zs, grades, xys = [], [], []
        for volume in torch.split(slices.float(), counts):
            mean = volume.mean(dim=(1, 2))
            left, right = self.choose(mean)
            z = torch.tensor([left if is_left else right for is_left in self.left])
            level = mean[z] / 255
            zs.append(z.float())
            grades.append(torch.stack([1 - level, level * 0.75, level * 0.25], dim=-1))
            xys.append(torch.stack([level * 10, level * 5], dim=-1))
        grade = torch.stack(grades)
        return OneStageOutput(grade, grade.log(), torch.stack(xys), torch.stack(zs), tuple(counts))


class SideTeller(SideNetwork):
    """Finds the brightest slice of each half of the volume; left is the upper half.

    A mirrored volume must therefore give the same findings with sides exchanged, which is what flip
    averaging relies on.
    """

    def choose(self, mean):
        half = len(mean) // 2
        return half + int(mean[half:].argmax()), int(mean[:half].argmax())


def test_flip_average_of_an_exactly_mirrored_network_is_the_network_itself():
    """Exchange of sides and mirroring of z are both needed for this to hold."""
    task = ForaminalTask(FORAMINAL)
    rng = np.random.default_rng(0)
    batch = batch_of(task, depths=(6, 10))
    level = torch.tensor(rng.permutation(16) * 15 + 5, dtype=torch.uint8)
    batch = replace(batch, slices=level[:, None, None].expand(16, SIZE, SIZE).contiguous())
    network = SideTeller(task.targets)
    plain, both = task.run(network, batch), task.run(network, batch, flip=True)
    np.testing.assert_allclose(both.probabilities, plain.probabilities, atol=1e-7)
    np.testing.assert_allclose(both.xy, plain.xy, atol=1e-6)
    np.testing.assert_allclose(both.z, plain.z)
    assert (plain.z[:, :5] > plain.z[:, 5:]).all()


class PatientFollower(SideNetwork):
    """Finds the left by its look (it is brighter), whatever the order of the slices.

    A network that is trained on flips without an exchange of sides learns to do so.
    """

    def choose(self, mean):
        return int(mean.argmax()), int(mean.argmin())


def test_undoing_a_flip_leaves_the_sides_of_a_network_that_was_trained_without_the_exchange():
    """Each task undoes the flip that its network was trained with, and no other."""
    rng = np.random.default_rng(0)
    level = torch.tensor(rng.permutation(16) * 15 + 5, dtype=torch.uint8)
    kept = ForaminalTask(
        replace(FORAMINAL, augment=replace(FORAMINAL.augment, flip_exchanges_sides=False))
    )
    exchanged = ForaminalTask(FORAMINAL)
    batch = batch_of(kept, depths=(6, 10))
    batch = replace(batch, slices=level[:, None, None].expand(16, SIZE, SIZE).contiguous())
    follower = PatientFollower(kept.targets)
    plain, both = kept.run(follower, batch), kept.run(follower, batch, flip=True)
    np.testing.assert_allclose(both.z, plain.z)
    np.testing.assert_allclose(both.probabilities, plain.probabilities, atol=1e-7)
    # each way of undoing is wrong for the other network
    wrong = exchanged.run(follower, batch, flip=True)
    assert np.abs(wrong.z - plain.z).max() > 1
    teller = SideTeller(kept.targets)
    wrong, plain = kept.run(teller, batch, flip=True), kept.run(teller, batch)
    assert np.abs(wrong.z - plain.z).max() > 1
    # the published runs never averaged such a network with its mirror
    assert (exchanged.flips, kept.flips) == (True, False)


@RECIPES
def test_flip_is_symmetric(recipe):
    """Predicting the reversed volume with flip averaging mirrors the result, and nothing else."""
    task = get_task(recipe)
    torch.manual_seed(1)
    network = task.build_network().eval()
    batch = batch_of(task)
    reversed_slices = torch.cat([v.flip(0) for v in torch.split(batch.slices, batch.counts)])
    one = task.run(network, batch, flip=True)
    other = task.run(network, replace(batch, slices=reversed_slices), flip=True)
    back = task.undo_flip(other, batch.counts)
    np.testing.assert_allclose(back.probabilities, one.probabilities, atol=1e-5)
    np.testing.assert_allclose(back.xy, one.xy, atol=1e-3)
    np.testing.assert_allclose(back.z, one.z, atol=1e-4)


def test_mirroring_scores_twice_is_nothing():
    rng = np.random.default_rng(0)
    scores = SeriesScores(rng.random((2, 10, 3)), rng.random((2, 10, 2)), rng.random((2, 10)))
    task = ForaminalTask(FORAMINAL)
    once = task.undo_flip(scores, [5, 8])
    twice = task.undo_flip(once, [5, 8])
    assert (twice.probabilities == scores.probabilities).all()
    np.testing.assert_allclose(twice.z, scores.z)
    assert (once.probabilities[:, 0] == scores.probabilities[:, 5]).all()


@RECIPES
def test_decoding_gives_distributions_and_points_in_input_pixels(recipe):
    task = get_task(recipe)
    network = task.build_network().eval()
    batch = batch_of(task)
    with torch.no_grad():
        output = network(batch.slices, batch.counts)
    scores = task.decode(output, batch)
    np.testing.assert_allclose(scores.probabilities.sum(-1), 1, atol=1e-12)
    np.testing.assert_allclose(scores.xy, output.xy.numpy() * 4, rtol=1e-6)
    assert scores.z.shape == scores.probabilities.shape[:2] == (2, len(task.targets))


@RECIPES
def test_points_are_read_from_the_peaks_where_the_recipe_says_so(recipe):
    task = get_task(replace(recipe, network=replace(recipe.network, peak_radius=1)))
    network = task.build_network().eval()
    batch = batch_of(task)
    with torch.no_grad():
        output = network(batch.slices, batch.counts)
    scores = task.decode(output, batch)
    for b in range(2):
        for p in range(len(task.targets)):
            if output.volume_heatmaps is not None:
                plane = output.volume_heatmaps[b][p].amax(dim=0)
            else:
                plane = output.plane_heatmaps[b, p]
            top = int(plane.argmax())
            peak = np.array([top % plane.shape[1], top // plane.shape[1]])
            assert np.abs(scores.xy[b, p] / 4 - peak).max() <= 1


def test_score_leaves_out_missing_grades_and_weighs_the_others():
    task = CanalTask(CANAL)
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.3, 0.3, 0.4], [np.nan] * 3])
    row = replace(make_row(Condition.CANAL, 5), grades=np.array([0, 1, 2, -1, 2], np.int8))
    found = as_prediction("c", "1", row.targets, p, {})
    expected = -(np.log(0.7) + 2 * np.log(0.8) + 4 * np.log(0.6)) / 7
    assert task.evaluate([row], [found]) == {"score": pytest.approx(expected)}


def test_rows_by_fold():
    task = ForaminalTask(FORAMINAL)
    store = MadeStore(10)
    assert len(task.rows(store)) == 10
    assert [r.fold for r in task.rows(store, folds=[2, 3])] == [2, 3, 2, 3]
