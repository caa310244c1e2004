"""Where augmentation puts points, and that everything random was drawn before."""

from __future__ import annotations

import random
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lumbargrade.config import AugmentConfig, load_recipe
from lumbargrade.domain.geometry import apply_homography, fit_to_frame, scale_frame
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.lsdc.mean_shape import FRAME
from lumbargrade.sampling.augment import (
    AugmentDraw,
    align_by_consensus,
    align_similarity,
    apply_to_points,
    draw_augmentation,
    draw_homography,
    draw_similarity,
)
from lumbargrade.sampling.series import annotated_points, make_sample
from made_series import make_row, make_volume

SIZE = 128
SHAPE = (200, 160)
STILL = AugmentConfig(
    flip=0, similarity=0, homography=0, blackout=0, brightness_contrast=0, blur_or_noise=0
)


def mean_shape() -> np.ndarray:
    x = np.tile(np.linspace(240, 280, 5), 2)
    return np.stack([x, np.tile(np.linspace(120, 390, 5), 2)], axis=1)


def draw(config: AugmentConfig, seed: int = 0, condition: Condition = Condition.FORAMINAL):
    row = make_row(condition)
    shape = mean_shape()[: len(row.points)]
    rng = np.random.default_rng(seed)
    return draw_augmentation(rng, config, row.points, annotated_points(row), SHAPE, SIZE, shape)


@given(
    st.floats(0.2, 3), st.floats(-180, 180), st.floats(-200, 200), st.floats(-200, 200),
    st.integers(2, 10), st.integers(0, 999),
)  # fmt: skip
def test_align_recovers_any_similarity(scale, degrees, dx, dy, count, seed):
    points = np.random.default_rng(seed).uniform(0, 500, (count, 2))
    a = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    found = align_similarity(points, points @ turn.T + [dx, dy])
    np.testing.assert_allclose(found[:2, :2], turn, atol=1e-6)
    np.testing.assert_allclose(found[:2, 2], [dx, dy], atol=1e-4)


def test_align_is_the_least_squares_solution():
    rng = np.random.default_rng(3)
    source, target = rng.uniform(0, 512, (2, 10, 2))
    equations, right = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        equations += [[x, -y, 1, 0], [y, x, 0, 1]]
        right += [u, v]
    (a, b, tx, ty), *_ = np.linalg.lstsq(np.array(equations), np.array(right))
    np.testing.assert_allclose(
        align_similarity(source, target), [[a, -b, tx], [b, a, ty], [0, 0, 1]], atol=1e-8
    )


@pytest.mark.parametrize("align", [align_similarity, align_by_consensus])
def test_align_needs_two_distinct_points(align):
    assert align(np.zeros((0, 2)), np.zeros((0, 2))) is None
    assert align(np.array([[3.0, 4.0]]), np.array([[5.0, 6.0]])) is None
    assert align(np.ones((2, 2)), mean_shape()[:2]) is None
    assert align(np.ones((4, 2)), mean_shape()[:4]) is None
    two = align(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[5.0, 5.0], [7.0, 7.0]]))
    np.testing.assert_allclose(two, [[2, 0, 5], [0, 2, 5], [0, 0, 1]], atol=1e-5)


@settings(max_examples=40)
@given(st.floats(0.4, 2.5), st.floats(-180, 180), st.integers(2, 9), st.integers(0, 999))
def test_consensus_leaves_out_what_least_squares_gives_way_to(scale, degrees, wrong, seed):
    """Nine points follow one similarity and one lies elsewhere."""
    rng = np.random.default_rng(seed)
    source = mean_shape() + rng.uniform(-5, 5, (10, 2))
    a = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    target = source @ turn.T + rng.uniform(-50, 50, 2)
    target[wrong] += rng.choice([-1, 1], 2) * rng.uniform(40, 80, 2)
    away = [
        np.linalg.norm(apply_homography(align(source, target), source) - target, axis=1)
        for align in (align_by_consensus, align_similarity)
    ]
    others = np.arange(10) != wrong
    assert away[0][others].max() < 0.01
    assert away[0][wrong] > 40
    assert away[1][others].max() > 3


def test_consensus_gives_equal_maps_for_equal_points_whatever_was_drawn_before():
    rng = np.random.default_rng(8)
    source = mean_shape() + rng.normal(0, 8, (10, 2))
    first = align_by_consensus(source, mean_shape())
    cv2.setRNGSeed(5)
    align_by_consensus(mean_shape()[::-1], mean_shape())
    assert (align_by_consensus(source, mean_shape()) == first).all()


def test_the_recipe_chooses_the_alignment():
    """Without scale, turn and shift the drawn map is the alignment, but for a shift."""
    still = AugmentConfig(scale_min=0, scale_max=0, rotation=0, shift_min=0, shift_max=0)
    points = mean_shape() + np.random.default_rng(1).normal(0, 8, (10, 2))
    for name, align in (("least_squares", align_similarity), ("ransac", align_by_consensus)):
        config = replace(still, alignment=name)
        matrix = draw_similarity(np.random.default_rng(0), config, points, mean_shape())
        expected = align(points, mean_shape())
        np.testing.assert_allclose(matrix[:2, :2], expected[:2, :2], atol=1e-9)
    different = align_similarity(points, mean_shape()) - align_by_consensus(points, mean_shape())
    assert np.abs(different[:2, :2]).max() > 0.005


def box_centres(config: AugmentConfig, count: int = 400) -> np.ndarray:
    """Middles of the boxes of similarity-augmented points, from the middle of the frame."""
    rng = np.random.default_rng(4)
    found = []
    for _ in range(count):
        matrix = draw_similarity(rng, config, mean_shape(), mean_shape())
        moved = apply_homography(matrix, mean_shape())
        found.append((moved.min(0) + moved.max(0)) / 2 - (FRAME - 1) / 2)
    return np.array(found)


@pytest.mark.parametrize(
    ("config", "low", "high"),
    [
        (AugmentConfig(), -10, 10),
        (load_recipe("one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01").augment, -0.25, 0.35),
        (load_recipe("one-stage-scs/pvt_v2_b4-decoder2d-01").augment, -0.2, 0.2),
    ],
    ids=["ours", "foraminal", "canal"],
)
def test_points_are_recentred_within_the_limits_of_the_recipe(config, low, high):
    """Uniform along x and y: sd 5.8 px for ours, 0.17 and 0.12 px for the published runs."""
    assert (config.shift_min, config.shift_max) == (low, high)
    centres = box_centres(config)
    assert (centres >= low - 1e-6).all()
    assert (centres <= high + 1e-6).all()
    width = high - low
    np.testing.assert_allclose(centres.mean(0), (low + high) / 2, atol=0.08 * width)
    np.testing.assert_allclose(centres.std(0), width / np.sqrt(12), rtol=0.1)
    assert abs(np.corrcoef(centres.T)[0, 1]) < 0.2


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.floats(-300, 300), st.floats(0, 300), st.floats(0, 60))
def test_no_shift_brings_points_nearer_to_the_edge_than_the_border(seed, least, width, border):
    config = AugmentConfig(shift_min=least, shift_max=least + width, border=border)
    matrix = draw_similarity(np.random.default_rng(seed), config, mean_shape(), mean_shape())
    moved = apply_homography(matrix, mean_shape())
    assert (moved >= border - 1e-9).all()
    assert (moved <= FRAME - 1 - border + 1e-9).all()


@settings(max_examples=60)
@given(st.integers(0, 10_000))
def test_similarity_keeps_points_inside_at_the_published_scale_and_angle(seed):
    config = AugmentConfig()
    rng = np.random.default_rng(seed)
    points = mean_shape() * rng.uniform(0.4, 1.2) + rng.uniform(-90, 90, 2)
    matrix = draw_similarity(rng, config, points, mean_shape())
    moved = apply_homography(matrix, points)
    assert (moved >= config.border - 1e-9).all()
    assert (moved <= FRAME - 1 - config.border + 1e-9).all()
    np.testing.assert_allclose((moved.min(0) + moved.max(0)) / 2, (FRAME - 1) / 2, atol=10.001)
    # what is left after the alignment to the mean shape is the drawn scale and angle
    drawn = matrix @ np.linalg.inv(align_similarity(points, mean_shape()))
    assert 0.75 <= np.sqrt(np.linalg.det(drawn[:2, :2])) <= 1.35
    assert abs(np.rad2deg(np.arctan2(drawn[1, 0], drawn[0, 0]))) <= 20


def test_similarity_uses_the_whole_range():
    drawn = []
    for seed in range(300):
        matrix = draw_similarity(
            np.random.default_rng(seed), AugmentConfig(), mean_shape(), mean_shape()
        )
        angle = np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0]))
        drawn.append((np.sqrt(np.linalg.det(matrix[:2, :2])), angle))
    scale, angle = np.array(drawn).T
    assert scale.min() < 0.8
    assert scale.max() > 1.3
    assert angle.min() < -17
    assert angle.max() > 17


def test_similarity_gives_up_on_a_shape_that_does_not_fit():
    shape = mean_shape() * [1, 5]
    assert draw_similarity(np.random.default_rng(0), AugmentConfig(), shape, shape) is None


@settings(max_examples=60)
@given(st.integers(0, 10_000))
def test_homography_keeps_points_inside_and_does_not_fold(seed):
    config = AugmentConfig()
    matrix = draw_homography(np.random.default_rng(seed), config, mean_shape())
    if matrix is None:
        return
    moved = apply_homography(matrix, mean_shape())
    assert (moved >= config.homography_border).all()
    assert (moved <= FRAME - 1 - config.homography_border).all()
    last = FRAME - 1.0
    corners = np.array([[0, 0], [last, 0], [last, last], [0, last]])
    assert np.abs(apply_homography(matrix, corners) - corners).max() <= 0.25 * FRAME + 1e-3
    assert (corners @ matrix[2, :2] + 1 > 0).all()


def test_homography_has_a_border_of_its_own():
    """Points 8 px inside the frame stay within 5 px of its edge, and cannot stay within 30."""
    points = np.array([[8.0, 8.0], [503.0, 8.0], [503.0, 503.0], [8.0, 503.0]])
    near = AugmentConfig(border=200, corners=0.003, homography_border=5)
    far = replace(near, border=0, homography_border=30)
    assert draw_homography(np.random.default_rng(0), near, points) is not None
    assert draw_homography(np.random.default_rng(0), far, points) is None


def test_homography_gives_up_when_points_cannot_stay():
    far = np.array([[-300.0, 0.0], [900.0, 511.0]])
    assert draw_homography(np.random.default_rng(0), AugmentConfig(), far) is None


def test_without_chance_the_map_is_the_plain_resize():
    np.testing.assert_allclose(draw(STILL).matrix, fit_to_frame(SHAPE, SIZE), atol=1e-12)


def test_kinds_are_drawn_as_often_as_asked():
    plain = fit_to_frame(SHAPE, SIZE)
    kinds = {"none": 0, "similarity": 0, "homography": 0, "flip": 0, "blackout": 0}
    for seed in range(1500):
        d = draw(AugmentConfig(), seed)
        perspective = np.abs(d.matrix[2, :2]).max() > 1e-12
        same = np.allclose(d.matrix, plain)
        kinds["homography" if perspective else "none" if same else "similarity"] += 1
        kinds["flip"] += d.flip
        kinds["blackout"] += d.blackout is not None
    expected = {"none": 0.1, "similarity": 0.7, "homography": 0.2, "flip": 0.5, "blackout": 0.5}
    for name, share in expected.items():
        assert kinds[name] / 1500 == pytest.approx(share, abs=0.045), name


@settings(max_examples=40)
@given(st.integers(0, 10_000))
def test_points_go_where_their_pixels_go(seed):
    """A bright dot painted at a point is found at the moved point."""
    row = make_row(Condition.FORAMINAL)
    config = replace(AugmentConfig(), brightness_contrast=0, blur_or_noise=0, blackout=0)
    d = draw(config, seed)
    volume = make_volume()
    pixels = np.zeros_like(volume.pixels)
    for x, y, z in row.points:
        cv2.circle(pixels[int(z)], (round(float(x)), round(float(y))), 3, 255, -1)
    rounded = row.points.round()
    sample = make_sample(
        replace(volume, pixels=pixels), replace(row, points=rounded), size=SIZE, draw=d
    )
    grid = np.mgrid[:SIZE, :SIZE]
    for x, y, z in sample.points:
        near = np.hypot(grid[0] - y, grid[1] - x) < 6
        weight = sample.image[int(z)] * near
        assert weight.sum() > 0
        centre = (weight * grid).sum(axis=(1, 2)) / weight.sum()
        assert np.hypot(centre[0] - y, centre[1] - x) < 0.6


def test_points_by_matrix_equal_points_step_by_step():
    row = make_row(Condition.FORAMINAL)
    matrix = np.array([[0.9, 0.1, 5], [-0.1, 0.9, 3], [1e-4, 2e-4, 1]])
    d = AugmentDraw(matrix=matrix, flip=True)
    moved = apply_to_points(d, row.points, depth=9)
    for before, after in zip(row.points, moved, strict=True):
        x, y, w = (sum(m * c for m, c in zip(r, (*before[:2], 1), strict=True)) for r in matrix)
        np.testing.assert_allclose(after, [x / w, y / w, 8 - before[2]], rtol=1e-5)


def test_missing_points_stay_missing_and_do_no_harm():
    row = make_row(Condition.FORAMINAL)
    row.points[[2, 7]] = np.nan
    for seed in range(20):
        rng = np.random.default_rng(seed)
        d = draw_augmentation(
            rng, AugmentConfig(), row.points, annotated_points(row), SHAPE, SIZE, mean_shape()
        )
        assert np.isfinite(d.matrix).all()
        sample = make_sample(make_volume(), row, size=SIZE, draw=d)
        assert (np.isnan(sample.points).any(axis=1) == ~sample.annotated).all()
        assert (~sample.annotated).sum() == 2


def test_a_series_without_points_is_still_augmented():
    row = make_row(Condition.FORAMINAL)
    row.points[:] = np.nan
    config = replace(AugmentConfig(), similarity=1, homography=0, blackout=1)
    none = annotated_points(row)
    d = draw_augmentation(
        np.random.default_rng(0), config, row.points, none, SHAPE, SIZE, mean_shape()
    )
    assert d.blackout is None
    np.testing.assert_allclose(d.matrix, fit_to_frame(SHAPE, SIZE), atol=1e-12)


@settings(max_examples=60)
@given(st.integers(0, 10_000))
def test_blackout_lies_above_the_topmost_point(seed):
    d = draw(replace(AugmentConfig(), blackout=1), seed)
    top = apply_homography(d.matrix, make_row(Condition.FORAMINAL).points[:, :2])[:, 1].min()
    if d.blackout is None:
        assert top < 2
        return
    assert 0 <= d.blackout.x0 < d.blackout.x1 <= SIZE
    assert 0 <= d.blackout.y0 < d.blackout.y1 <= top


def test_equal_seeds_give_equal_samples_and_global_random_state_is_untouched():
    before = np.random.get_state()[1].copy(), random.getstate(), torch.get_rng_state()  # noqa: NPY002
    row, volume = make_row(Condition.FORAMINAL), make_volume()
    first = [make_sample(volume, row, size=SIZE, draw=draw(AugmentConfig(), s)) for s in range(12)]
    again = [make_sample(volume, row, size=SIZE, draw=draw(AugmentConfig(), s)) for s in range(12)]
    for a, b in zip(first, again, strict=True):
        assert (a.image == b.image).all()
        assert (a.points == b.points).all()
    assert (np.random.get_state()[1] == before[0]).all()  # noqa: NPY002
    assert random.getstate() == before[1]
    assert (torch.get_rng_state() == before[2]).all()


def test_frame_of_512_and_input_are_one_map():
    np.testing.assert_allclose(
        scale_frame(FRAME, SIZE) @ fit_to_frame(SHAPE, FRAME), fit_to_frame(SHAPE, SIZE)
    )
