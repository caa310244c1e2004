"""The two one-stage tasks: loss parts, decoding, flip averaging, score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np
import pytest
import torch

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
from lumbargrade.domain.vocabulary import TARGETS, Condition, Level, Side
from lumbargrade.inference.registry import get_inference
from lumbargrade.inference.series import SeriesInference, SeriesScores
from lumbargrade.models.registry import get_task
from lumbargrade.models.sagittal import CanalTask, ForaminalTask
from lumbargrade.models.torch_engine import TorchEngine
from lumbargrade.networks.one_stage import OneStageOutput
from lumbargrade.sampling.series import Sample, make_sample
from made_series import make_row, make_volume

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
        row = make_row(task.inference.condition, depth, seed=i)
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


class SideEngine(ABC):
    """A stand-in network that takes each side's points and grades from one slice of its choice."""

    name = "stand-in"

    def __init__(self, targets) -> None:
        self.left = [t.side is Side.LEFT for t in targets]

    @abstractmethod
    def choose(self, mean: np.ndarray) -> tuple[int, int]:
        """Slices of left and right, from the mean brightness of every slice."""

    def run(self, inputs):
        mean = inputs["slices"].mean(axis=(1, 2))
        left, right = self.choose(mean)
        z = np.array([left if is_left else right for is_left in self.left])
        level = mean[z] / 255
        grade = np.stack([1 - level, level * 0.75, level * 0.25], axis=-1)
        return {"grade": grade, "xy": np.stack([level * 10, level * 5], axis=-1), "z": z}


class SideTeller(SideEngine):
    """Finds the brightest slice of each half of the volume; left is the upper half.

    A mirrored volume must therefore give the same findings with sides exchanged, which is what flip
    averaging relies on.
    """

    def choose(self, mean):
        half = len(mean) // 2
        return half + int(mean[half:].argmax()), int(mean[:half].argmax())


class PatientFollower(SideEngine):
    """Finds the left by its look (it is brighter), whatever the order of the slices.

    A network that is trained on flips without an exchange of sides learns to do so.
    """

    def choose(self, mean):
        return int(mean.argmax()), int(mean.argmin())


def levels_of_grey(inference: SeriesInference, depth: int, seed: int = 0) -> Sample:
    """A series whose slices have one grey value each, all different."""
    sample = inference.sample(make_volume(depth))
    level = (np.random.default_rng(seed).permutation(depth) * 15 + 5).astype(np.uint8)
    return replace(sample, image=np.repeat(level, SIZE * SIZE).reshape(depth, SIZE, SIZE))


@pytest.mark.parametrize("depth", [6, 10])
def test_flip_average_of_an_exactly_mirrored_network_is_the_network_itself(depth):
    """Exchange of sides and mirroring of z are both needed for this to hold."""
    inference = get_inference(FORAMINAL)
    sample, engine = levels_of_grey(inference, depth), SideTeller(inference.targets)
    plain, both = inference.run(engine, sample), inference.run(engine, sample, flip=True)
    np.testing.assert_allclose(both.probabilities, plain.probabilities, atol=1e-7)
    np.testing.assert_allclose(both.xy, plain.xy, atol=1e-6)
    np.testing.assert_allclose(both.z, plain.z)
    assert (plain.z[:5] > plain.z[5:]).all()


def test_undoing_a_flip_leaves_the_sides_of_a_network_that_was_trained_without_the_exchange():
    """Each task undoes the flip that its network was trained with, and no other."""
    kept = get_inference(
        replace(FORAMINAL, augment=replace(FORAMINAL.augment, flip_exchanges_sides=False))
    )
    exchanged = get_inference(FORAMINAL)
    sample, follower = levels_of_grey(kept, 10, seed=13), PatientFollower(kept.targets)
    plain, both = kept.run(follower, sample), kept.run(follower, sample, flip=True)
    np.testing.assert_allclose(both.z, plain.z)
    np.testing.assert_allclose(both.probabilities, plain.probabilities, atol=1e-7)
    # each way of undoing is wrong for the other network
    wrong = exchanged.run(follower, sample, flip=True)
    assert np.abs(wrong.z - plain.z).max() > 1
    teller = SideTeller(kept.targets)
    wrong, plain = kept.run(teller, sample, flip=True), kept.run(teller, sample)
    assert np.abs(wrong.z - plain.z).max() > 1
    # the published runs never averaged such a network with its mirror
    assert (exchanged.flips, kept.flips) == (True, False)


def untrained(recipe: Recipe, seed: int = 1) -> TorchEngine:
    task = get_task(recipe)
    torch.manual_seed(seed)
    return TorchEngine(task, task.build_network().eval())


@RECIPES
def test_flip_is_symmetric(recipe):
    """Predicting the reversed volume with flip averaging mirrors the result, and nothing else."""
    engine, inference = untrained(recipe), get_inference(recipe)
    sample = inference.sample(make_volume(5))
    one = inference.run(engine, sample, flip=True)
    other = inference.run(engine, replace(sample, image=sample.image[::-1].copy()), flip=True)
    back = inference.undo_flip(other, 5)
    np.testing.assert_allclose(back.probabilities, one.probabilities, atol=1e-5)
    np.testing.assert_allclose(back.xy, one.xy, atol=1e-3)
    np.testing.assert_allclose(back.z, one.z, atol=1e-4)


def test_mirroring_scores_twice_is_nothing():
    rng = np.random.default_rng(0)
    scores = SeriesScores(rng.random((10, 3)), rng.random((10, 2)), rng.random(10))
    inference = get_inference(FORAMINAL)
    once = inference.undo_flip(scores, 5)
    twice = inference.undo_flip(once, 5)
    assert (twice.probabilities == scores.probabilities).all()
    np.testing.assert_allclose(twice.z, scores.z)
    assert (once.probabilities[0] == scores.probabilities[5]).all()


@RECIPES
def test_decoding_gives_distributions_and_points_in_input_pixels(recipe):
    engine, inference = untrained(recipe), get_inference(recipe)
    image = inference.sample(make_volume(5)).image
    scores = inference.decode(engine.run({"slices": image}))
    with torch.no_grad():
        output = engine.network(torch.from_numpy(image), [5])
    np.testing.assert_allclose(scores.probabilities.sum(-1), 1, atol=1e-12)
    np.testing.assert_allclose(scores.xy, output.xy[0].numpy() * 4, rtol=1e-6)
    assert scores.z.shape == scores.probabilities.shape[:1] == (len(inference.targets),)


@RECIPES
def test_points_are_read_from_the_peaks_where_the_recipe_says_so(recipe):
    """Of two humps the higher one is read, not a place between them."""
    recipe = replace(recipe, network=replace(recipe.network, peak_radius=1))
    inference = get_inference(recipe)
    count, spatial = len(inference.targets), 3 if recipe.network.decoder == "3d" else 2
    heatmaps = np.zeros((count, *(4, MASK, MASK)[3 - spatial :]), np.float32)
    for p, target in enumerate(inference.targets):
        y = 2 + 2 * list(Level).index(target.level)
        heatmaps[(p, *(2, y, 5)[3 - spatial :])] = 0.7
        heatmaps[(p, *(0, y, 14)[3 - spatial :])] = 0.3
    grade = np.full((count, 3), 1 / 3, np.float32)
    other = {"xy": np.zeros((count, 2), np.float32), "z": np.full(count, 3, np.float32)}
    scores = inference.decode({"grade": grade, "heatmaps": heatmaps, **other})
    levels = [list(Level).index(t.level) for t in inference.targets]
    assert scores.xy.tolist() == [[20, 4 * (2 + 2 * level)] for level in levels]
    assert set(scores.z) == {2 if spatial == 3 else 3}
