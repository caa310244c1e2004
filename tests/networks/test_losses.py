"""Every loss against a plain, slow reading of its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from lumbargrade.networks import losses

WEIGHTS = torch.tensor([1.0, 2.0, 4.0])


def random_maps(*shape: int, spatial: int, seed: int = 0, sharpness: float = 3.0) -> torch.Tensor:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * sharpness
    return logits.flatten(-spatial).softmax(-1).view(shape)


def slow_jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    total = 0.0
    for a, b in zip(p.ravel().tolist(), q.ravel().tolist(), strict=True):
        m = (a + b) / 2
        total += 0.5 * (a * math.log(a / m) if a else 0) + 0.5 * (b * math.log(b / m) if b else 0)
    return total


def slow_grade_loss(log_probs, grades, weights) -> float:
    top = bottom = 0.0
    for row, grade in zip(log_probs, grades, strict=True):
        if grade >= 0:
            top -= weights[grade] * row[grade]
            bottom += weights[grade]
    return top / bottom if bottom else 0.0


@settings(max_examples=40)
@given(st.lists(st.integers(-1, 2), min_size=1, max_size=12), st.integers(0, 99))
def test_grade_loss_ignores_missing_and_weighs_like_cross_entropy(grades, seed):
    logits = torch.randn(len(grades), 3, generator=torch.Generator().manual_seed(seed))
    target = torch.tensor(grades)
    log_probs = logits.log_softmax(-1)
    found = losses.grade_nll(log_probs, target, WEIGHTS)
    slow = slow_grade_loss(log_probs.tolist(), grades, [1, 2, 4])
    assert float(found) == pytest.approx(slow, rel=1e-5, abs=1e-7)
    if max(grades) >= 0:
        expected = F.cross_entropy(logits, target, WEIGHTS, ignore_index=-1)
        torch.testing.assert_close(found, expected)


def test_grade_loss_of_nothing_is_zero_with_zero_gradient():
    logits = torch.randn(4, 3, requires_grad=True)
    loss = losses.grade_nll(logits.log_softmax(-1), torch.full((4,), -1), WEIGHTS)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_coordinate_error_is_the_mean_over_annotated_coordinates():
    rng = np.random.default_rng(0)
    predicted, truth = rng.normal(size=(2, 3, 5, 2))
    annotated = rng.random((3, 5)) < 0.6
    squares = [
        (predicted[b, p, c] - truth[b, p, c]) ** 2
        for b in range(3) for p in range(5) for c in range(2) if annotated[b, p]
    ]  # fmt: skip
    found = losses.coordinate_error(*map(torch.tensor, (predicted, truth, annotated)))
    assert float(found) == pytest.approx(np.mean(squares))
    z = losses.coordinate_error(*map(torch.tensor, (predicted[..., 0], truth[..., 0], annotated)))
    assert float(z) == pytest.approx(np.mean(((predicted - truth)[..., 0] ** 2)[annotated]))


def test_slice_loss_reads_the_true_slice_of_volumes_of_any_depth():
    depths, points = (4, 7), 5
    log_probs = [torch.randn(points, d).log_softmax(-1) for d in depths]
    z = torch.tensor([[0, 1, 2, 3, 3], [0, 2, 4, 6, 5]], dtype=torch.float32)
    annotated = torch.tensor([[True, True, False, True, True], [True] * 5])
    expected = [
        -float(log_probs[b][p, int(z[b, p])])
        for b in range(2) for p in range(points) if annotated[b, p]
    ]  # fmt: skip
    assert float(losses.slice_nll(log_probs, z, annotated)) == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("spatial", [2, 3])
def test_jensen_shannon_equals_the_slow_sum(spatial):
    shape = (4, 3, 6, 5)[: 1 + spatial]
    p, q = random_maps(*shape, spatial=spatial), random_maps(*shape, spatial=spatial, seed=1)
    found = losses.jensen_shannon(p, q, spatial)
    for i in range(4):
        slow = slow_jensen_shannon(p[i].double().numpy(), q[i].double().numpy())
        assert float(found[i]) == pytest.approx(slow, abs=1e-6)


@settings(max_examples=30)
@given(st.integers(0, 999), st.floats(0.1, 20))
def test_divergence_from_one_voxel_equals_the_slow_sum(seed, sharpness):
    heatmap = random_maps(3, 5, 4, spatial=3, seed=seed, sharpness=sharpness)
    truth = torch.zeros_like(heatmap)
    truth[1, 2, 3] = 1
    slow = slow_jensen_shannon(heatmap.double().numpy(), truth.double().numpy())
    assert float(losses.jensen_shannon_to_one(heatmap[1, 2, 3])) == pytest.approx(slow, abs=2e-6)


@pytest.mark.parametrize("spatial", [2, 3])
def test_cross_entropy_equals_the_slow_sum_and_is_least_at_the_truth(spatial):
    shape = (4, 3, 6, 5)[: 1 + spatial]
    p, q = random_maps(*shape, spatial=spatial), random_maps(*shape, spatial=spatial, seed=1)
    found = losses.cross_entropy(p, q, spatial)
    at_truth = losses.cross_entropy(q, q, spatial)
    for i in range(4):
        slow = -sum(b * math.log(a) for a, b in zip(p[i].flatten(), q[i].flatten(), strict=True))
        assert float(found[i]) == pytest.approx(float(slow), rel=1e-5)
        assert found[i] > at_truth[i]


def test_cross_entropy_of_one_voxel_is_its_log_probability_and_still_pulls_from_far():
    assert float(losses.cross_entropy_to_one(torch.tensor(0.25))) == pytest.approx(math.log(4))
    logits = torch.zeros(1, 1, 9, 9)
    logits[..., 0, 0] = 20.0  # sure of the wrong corner
    logits.requires_grad_()
    heatmap = logits.flatten(2).softmax(-1).view(1, 1, 9, 9)
    xy, annotated = torch.tensor([[[8.0, 8.0]]]), torch.tensor([[True]])
    pulls = {}
    for kind in ("jensen_shannon", "cross_entropy"):
        loss = losses.plane_heatmap_loss(heatmap, xy, annotated, 1.0, kind)
        (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
        pulls[kind] = float(gradient.abs().max())
    assert pulls["cross_entropy"] > 0.5
    assert pulls["jensen_shannon"] < 1e-4


def test_divergence_is_zero_for_the_truth_and_log_2_for_its_opposite():
    assert float(losses.jensen_shannon_to_one(torch.tensor(1.0))) == pytest.approx(0, abs=1e-6)
    assert float(losses.jensen_shannon_to_one(torch.tensor(0.0))) == pytest.approx(math.log(2))
    p = random_maps(1, 8, 8, spatial=2)
    assert float(losses.jensen_shannon(p, p, 2)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_gradients_stay_finite_where_the_softmax_underflows(scale, sigma):
    logits = (torch.randn(2, 3, 4, 8, 8) * scale).requires_grad_()
    heatmaps = logits.flatten(2).softmax(-1).view(logits.shape)
    xy, z = torch.full((2, 3, 2), 3.4), torch.full((2, 3), 2.0)
    annotated = torch.ones(2, 3, dtype=torch.bool)
    loss = losses.volume_heatmap_loss(list(heatmaps), xy, z, annotated, sigma)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def slow_gaussian(centre, shape, sigmas) -> np.ndarray:
    """centre and sigmas in the order of shape."""
    grid = np.zeros(shape)
    for index in np.ndindex(*shape):
        grid[index] = math.exp(
            -sum((i - c) ** 2 / (2 * s**2) for i, c, s in zip(index, centre, sigmas, strict=True))
        )
    return grid / grid.sum()


def test_gaussian_truth_is_normalised_and_in_place():
    centres = torch.tensor([[2.3, 4.1], [0.0, 7.0]])
    found = losses.gaussian_truth(centres, (8, 6), (1.0, 1.0))
    for (x, y), grid in zip(centres.tolist(), found, strict=True):
        np.testing.assert_allclose(grid, slow_gaussian((y, x), (8, 6), (1, 1)), atol=1e-6)
    solid = losses.gaussian_truth(torch.tensor([[2.3, 4.1, 1.2]]), (3, 8, 6), (1.0, 2.0, 2.0))
    expected = slow_gaussian((1.2, 4.1, 2.3), (3, 8, 6), (1, 2, 2))
    np.testing.assert_allclose(solid[0], expected, atol=1e-6)


def test_gaussian_truth_far_outside_the_grid_is_still_a_distribution():
    found = losses.gaussian_truth(torch.tensor([[500.0, -500.0]]), (8, 6), (1.0, 1.0))
    assert float(found.sum()) == pytest.approx(1)
    assert float(found[0, 0, 5]) == pytest.approx(1)


@pytest.mark.parametrize("sigma", [0.0, 1.5])
def test_volume_heatmap_loss_equals_the_slow_one(sigma):
    depths = (3, 5)
    heatmaps = [random_maps(4, d, 6, 7, spatial=3, seed=d) for d in depths]
    rng = np.random.default_rng(1)
    xy = rng.uniform(0, 5.4, (2, 4, 2))
    z = np.stack([rng.integers(0, d, 4) for d in depths]).astype(float)
    annotated = rng.random((2, 4)) < 0.7
    slow = []
    for b in range(2):
        for p in range(4):
            if not annotated[b, p]:
                continue
            shape = heatmaps[b].shape[1:]
            if sigma:
                truth = slow_gaussian((z[b, p], xy[b, p, 1], xy[b, p, 0]), shape, (1, sigma, sigma))
            else:
                truth = np.zeros(shape)
                truth[int(z[b, p]), round(xy[b, p, 1]), round(xy[b, p, 0])] = 1
            slow.append(slow_jensen_shannon(heatmaps[b][p].double().numpy(), truth))
    found = losses.volume_heatmap_loss(
        heatmaps, torch.tensor(xy), torch.tensor(z), torch.tensor(annotated), sigma
    )
    assert float(found) == pytest.approx(np.mean(slow), abs=2e-6)


@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_plane_heatmap_loss_equals_the_slow_one(sigma):
    heatmaps = random_maps(2, 5, 6, 7, spatial=2)
    rng = np.random.default_rng(2)
    xy = rng.uniform(0, 5.4, (2, 5, 2))
    annotated = rng.random((2, 5)) < 0.7
    slow = []
    for b, p in zip(*np.nonzero(annotated), strict=True):
        x, y = xy[b, p]
        truth = np.zeros((6, 7))
        truth[round(y), round(x)] = 1
        if sigma:
            truth = slow_gaussian((y, x), (6, 7), (sigma, sigma))
        slow.append(slow_jensen_shannon(heatmaps[b, p].double().numpy(), truth))
    found = losses.plane_heatmap_loss(heatmaps, torch.tensor(xy), torch.tensor(annotated), sigma)
    assert float(found) == pytest.approx(np.mean(slow), abs=2e-6)


@settings(max_examples=40)
@given(st.integers(0, 100_000))
def test_grade_map_is_read_half_at_the_point_and_an_eighth_at_each_neighbour(seed):
    """At the default distance the neighbours are the four pixels next to that of the point."""
    rng = np.random.default_rng(seed)
    grade_map = torch.tensor(rng.normal(size=(2, 3, 6, 7))).float().log_softmax(1)
    xy = torch.tensor(rng.uniform(-0.4, [6.4, 5.4], (2, 2, 2)), dtype=torch.float32)
    xy[0, 1], xy[1, 0] = torch.zeros(2), torch.tensor([6.0, 5.0])
    grades = torch.tensor([[0, 2], [1, 2]])
    found = losses.grade_map_nll(grade_map, xy, grades)
    for b in range(2):
        for p in range(2):
            x, y, slow = round(float(xy[b, p, 0])), round(float(xy[b, p, 1])), 0.0
            shares = ((0, 0, 0.5), (1, 0, 0.125), (-1, 0, 0.125), (0, 1, 0.125), (0, -1, 0.125))
            for dx, dy, share in shares:
                j, i = min(max(y + dy, 0), 5), min(max(x + dx, 0), 6)
                slow -= share * float(grade_map[b, int(grades[b, p]), j, i])
            assert float(found[b, p]) == pytest.approx(slow, rel=1e-5)


@settings(max_examples=60)
@given(st.integers(0, 100_000))
def test_half_a_pixel_away_two_of_four_neighbours_are_the_pixel_itself(seed):
    """A map that costs 1 at the point's own pixel and nothing elsewhere counts the reads of it."""
    rng = np.random.default_rng(seed)
    xy = torch.tensor(rng.uniform(1, 8, (4, 5, 2)), dtype=torch.float32)
    at = xy.round().long()
    for b, p in np.ndindex(4, 5):
        grade_map = torch.zeros(1, 3, 10, 10)
        grade_map[:, :, at[b, p, 1], at[b, p, 0]] = -1.0
        args = grade_map, xy[b : b + 1, p : p + 1], torch.tensor([[int(rng.integers(3))]])
        assert float(losses.grade_map_nll(*args, 0.5)) == pytest.approx(0.5 + 2 * 0.125)
        assert float(losses.grade_map_nll(*args, 1.0)) == pytest.approx(0.5)


@settings(max_examples=60)
@given(st.integers(0, 100_000), st.sampled_from([0.5, 1.0, 2.25]))
def test_grade_map_reads_equal_those_of_the_published_runs(seed, distance):
    """Each of five places is rounded to a pixel and kept inside; weighted means are added up."""
    rng = np.random.default_rng(seed)
    grade_map = torch.tensor(rng.normal(0, 3, (2, 3, 9, 7))).float().log_softmax(1)
    xy = torch.tensor(rng.uniform(-0.4, 6.4, (2, 5, 2)), dtype=torch.float32)
    grades = torch.tensor(rng.integers(-1, 3, (2, 5)))
    grades[0, 0] = 1
    slow = 0.0
    for dx, dy in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)):
        x = torch.round(xy[..., 0] + dx * distance).long().clamp(0, 6)
        y = torch.round(xy[..., 1] + dy * distance).long().clamp(0, 8)
        log_probs = torch.stack([grade_map[b, :, y[b], x[b]].T for b in range(2)])
        share = 0.125 if dx or dy else 0.5
        slow += share * float(
            F.nll_loss(log_probs.flatten(0, 1), grades.flatten(), WEIGHTS, ignore_index=-1)
        )
    read = losses.grade_map_nll(grade_map, xy, grades, distance)
    assert float(losses.weighted_mean_by_grade(read, grades, WEIGHTS)) == pytest.approx(slow)


def slow_match(predicted, truth, annotated, grades, sides, distance):
    """Walk over predictions; look for the nearest marked truth of the same side."""
    result = []
    for b in range(len(predicted)):
        row = []
        for i in range(len(sides)):
            best = None
            for j in range(len(sides)):
                if sides[j] != sides[i] or not annotated[b][j]:
                    continue
                apart = abs(predicted[b][i] - truth[b][j])
                if best is None or apart < best[0]:
                    best = apart, j
            hit = best is not None and best[0] <= distance
            row.append((hit, grades[b][best[1]] if hit else -1))
        result.append(row)
    return result


@settings(max_examples=80)
@given(st.integers(0, 100_000))
def test_dynamic_matching_equals_the_slow_search(seed):
    rng = np.random.default_rng(seed)
    sides = [0] * 5 + [1] * 5
    truth = np.tile(np.linspace(10, 60, 5), 2) + rng.normal(0, 2, (3, 10))
    predicted = truth[:, rng.permutation(10)] + rng.normal(0, 3, (3, 10))
    annotated = rng.random((3, 10)) < 0.8
    grades = rng.integers(-1, 3, (3, 10))
    found = losses.match_grades(
        torch.tensor(predicted, dtype=torch.float32),
        torch.tensor(truth, dtype=torch.float32),
        torch.tensor(annotated),
        torch.tensor(grades),
        torch.tensor(sides),
        3.0,
    )
    args = np.float32(predicted).tolist(), np.float32(truth).tolist()
    slow = slow_match(*args, annotated.tolist(), grades.tolist(), sides, 3.0)
    for b in range(3):
        for p in range(10):
            assert (bool(found.matched[b, p]), int(found.grades[b, p])) == slow[b][p]


def test_a_prediction_one_level_too_low_is_graded_as_the_level_it_found():
    truth = torch.tensor([[10.0, 20, 30, 40, 50] * 2])
    grades = torch.tensor([[0, 1, 2, 0, 1, 2, 2, 2, 2, 2]])
    predicted = truth.clone()
    predicted[0, 0] = 20.5  # asked for the first level, found the second
    predicted[0, 4] = 56.0  # found none
    side = torch.tensor([0] * 5 + [1] * 5)
    found = losses.match_grades(
        predicted, truth, torch.ones(1, 10, dtype=torch.bool), grades, side, 3.0
    )
    assert found.grades[0].tolist() == [1, 1, 2, 0, -1, 2, 2, 2, 2, 2]
    assert found.matched[0].tolist() == [True] * 4 + [False] + [True] * 5


def test_half_precision_inputs_give_fp32_losses():
    heatmaps = random_maps(2, 5, 8, 8, spatial=2).half()
    xy, annotated = torch.full((2, 5, 2), 3.0), torch.ones(2, 5, dtype=torch.bool)
    for loss in (
        losses.plane_heatmap_loss(heatmaps, xy, annotated, 0.0),
        losses.plane_heatmap_loss(heatmaps, xy, annotated, 1.0),
        losses.coordinate_error(xy.half() + 300, xy, annotated),
        losses.grade_nll(torch.randn(4, 3).log_softmax(-1).half(), torch.arange(4) % 3, WEIGHTS),
    ):
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
