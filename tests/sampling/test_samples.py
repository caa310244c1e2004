"""A sample against the volume it comes from."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.config import AugmentConfig
from lumbargrade.domain.geometry import apply_homography, fit_to_frame, scale_frame
from lumbargrade.domain.vocabulary import Condition, Side
from lumbargrade.sampling.augment import AugmentDraw, draw_augmentation
from lumbargrade.sampling.series import fitted, make_sample, shrinkage, warp_volume
from made_series import make_row, make_volume

PLAIN = AugmentConfig(
    similarity=0.0, homography=0.0, blackout=0.0, brightness_contrast=0.0, blur_or_noise=0.0
)


def slow_warp(plane: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Linear interpolation, pixel by pixel, black outside."""
    inverse = np.linalg.inv(matrix)
    height, width = plane.shape
    result = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            x, y, w = inverse @ [column, row, 1]
            x, y = x / w, y / w
            left, top = int(np.floor(x)), int(np.floor(y))
            for j, i in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                if 0 <= j < height and 0 <= i < width:
                    weight = (1 - abs(x - i)) * (1 - abs(y - j))
                    result[row, column] += weight * plane[j, i]
    return result


@pytest.mark.parametrize(
    "matrix",
    [
        fit_to_frame((60, 50), 48),
        np.array([[0.8, 0.3, 2], [-0.3, 0.8, 9], [0, 0, 1.0]]),
        np.array([[0.9, 0.1, 2], [0.05, 0.8, 1], [1e-3, -5e-4, 1.0]]),
    ],
    ids=["resize", "similarity", "homography"],
)
def test_warp_equals_the_slow_one(matrix):
    pixels = make_volume(depth=2, height=60, width=50).pixels
    fast = warp_volume(pixels, matrix, 48)
    for z in range(2):
        # OpenCV interpolates on a grid of 1/32 pixel
        assert np.abs(fast[z] - slow_warp(pixels[z], matrix, 48)).max() < 2.5


def test_plain_resize_of_a_square_image_is_opencv_resize():
    pixels = make_volume(depth=2, height=100, width=100).pixels
    found = warp_volume(pixels, fit_to_frame((100, 100), 64), 64)
    for z in range(2):
        expected = cv2.resize(pixels[z], (64, 64), interpolation=cv2.INTER_LINEAR)
        assert np.abs(found[z].astype(int) - expected).max() <= 1


def test_an_image_of_the_input_size_is_unchanged():
    pixels = make_volume(depth=2, height=64, width=64).pixels
    assert (warp_volume(pixels, fit_to_frame((64, 64), 64), 64) == pixels).all()


def centred(image: np.ndarray, size: int) -> np.ndarray:
    """The published resize of an image with slices last: whole pixels, black border."""
    height, width, depth = image.shape
    scale = size / max(height, width)
    small = cv2.resize(image, None, fx=scale, fy=scale).reshape(-1, round(width * scale), depth)
    top, left = (size - small.shape[0]) // 2, (size - small.shape[1]) // 2
    result = np.zeros((size, size, depth), np.uint8)
    result[top : top + small.shape[0], left : left + small.shape[1]] = small
    return result


@pytest.mark.parametrize(
    ("height", "width"),
    [(120, 90), (77, 121), (64, 64), (50, 50), (301, 64), (140, 141), (200, 200), (90, 200)],
)
def test_published_recipes_resize_to_a_frame_first(height: int, width: int) -> None:
    """Twice, as the images that the released weights saw; once leaves other grey values."""
    volume = make_volume(depth=7, height=height, width=width)
    row = make_row(Condition.CANAL, depth=7)
    found = make_sample(volume, row, size=64, frame=100)
    slices_last = np.ascontiguousarray(volume.pixels.transpose(1, 2, 0))
    expected = centred(centred(slices_last, 100), 64).transpose(2, 0, 1)
    np.testing.assert_array_equal(found.image, expected)
    if (height, width) != (64, 64):
        once = make_sample(volume, row, size=64)
        assert np.abs(once.image.astype(int) - found.image).mean() > 0.5


def test_more_slices_than_opencv_has_channels_are_resized_alike() -> None:
    volume = make_volume(depth=700, height=24, width=20)
    found, matrix = fitted(volume.pixels, 12)
    for part in (slice(0, 350), slice(350, 700)):
        some, same = fitted(volume.pixels[part], 12)
        np.testing.assert_array_equal(found[part], some)
        np.testing.assert_array_equal(matrix, same)


@pytest.mark.parametrize("perspective", [0.0, 4e-4])
def test_published_recipes_augment_in_the_frame_and_resize_after(perspective: float) -> None:
    """So augmented images are as smooth as in the published runs; one map leaves sharper ones."""
    volume = make_volume(depth=7, height=120, width=90)
    turn = np.array([[0.9, 0.2, -5], [-0.2, 0.9, 10], [perspective, 0, 1.0]])
    frame, size = 160, 100
    slices_last = np.ascontiguousarray(volume.pixels.transpose(1, 2, 0))
    turned = cv2.warpPerspective(centred(slices_last, frame), turn, (frame, frame))
    expected = centred(turned, size).transpose(2, 0, 1)
    # the frame of these numbers is the same by `fit_to_frame`, as the border is whole pixels
    draw = AugmentDraw(scale_frame(frame, size) @ turn @ fit_to_frame((120, 90), frame))
    row = make_row(Condition.CANAL, depth=7)
    found = make_sample(volume, row, size=size, draw=draw, frame=frame)
    assert np.abs(found.image.astype(int) - expected).max() <= 3
    assert np.abs(found.image.astype(int) - expected).mean() < 0.1


@given(st.integers(40, 130), st.integers(40, 130), st.sampled_from([0, 90, 128]), st.booleans())
def test_points_lie_on_what_they_mark_with_and_without_a_frame(
    height: int, width: int, frame: int, augmented: bool
) -> None:
    rng = np.random.default_rng(height * width)
    x, y = rng.integers(15, width - 15), rng.integers(15, height - 15)
    volume = make_volume(depth=1, height=height, width=width)
    pixels = np.zeros_like(volume.pixels)
    pixels[0, y - 3 : y + 4, x - 3 : x + 4] = 255  # a block survives any resampling
    volume = replace(volume, pixels=pixels)
    row = make_row(Condition.CANAL, depth=1)
    points = np.tile(np.array([x, y, 0], np.float32), (len(row.targets), 1))
    row = replace(row, points=points)
    draw = None
    if augmented:
        turn = np.array([[0.9, 0.2, -5], [-0.2, 0.9, 10], [0, 0, 1.0]])
        draw = AugmentDraw(matrix=turn @ fit_to_frame((height, width), 96))
    found = make_sample(volume, row, size=96, draw=draw, frame=frame)
    image = found.image[0].astype(float)
    assert image.sum() > 0
    grid_y, grid_x = np.mgrid[:96, :96]
    centre = np.array([(image * g).sum() / image.sum() for g in (grid_x, grid_y)])
    assert np.abs(found.points[0, :2] - centre).max() < 0.3
    back = found.maps.to_native(found.points[:1])[0]
    assert np.abs(back - [x, y, 0]).max() < 1e-3


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_strong_shrinking_averages_blocks(factor):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32 * factor, 32 * factor), np.uint8)
    found = warp_volume(pixels, fit_to_frame(pixels.shape[1:], 32), 32)
    blocks = pixels.reshape(32, factor, 32, factor).mean(axis=(1, 3))
    assert np.abs(found[0] - blocks).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(301, 200), (199, 500), (640, 640)])
def test_a_dot_is_found_where_the_map_says_also_after_strong_shrinking(height, width):
    pixels = np.zeros((1, height, width), np.uint8)
    cv2.circle(pixels[0], (90, 70), 9, 255, -1)
    matrix = fit_to_frame((height, width), 96)
    found = warp_volume(pixels, matrix, 96)[0].astype(float)
    y, x = np.mgrid[:96, :96]
    centre = (found * x).sum() / found.sum(), (found * y).sum() / found.sum()
    np.testing.assert_allclose(centre, apply_homography(matrix, (90, 70)), atol=0.1)


def test_shrinkage_of_a_resize_is_its_scale():
    assert shrinkage(fit_to_frame((200, 100), 50), (200, 100)) == pytest.approx(0.25)


@given(st.integers(32, 700), st.integers(32, 700), st.sampled_from([64, 320, 384]))
def test_native_points_survive_resize_and_back(height, width, size):
    matrix = fit_to_frame((height, width), size)
    points = np.array([[0, 0], [width - 1, height - 1], [width / 3, height / 7]])
    back = apply_homography(np.linalg.inv(matrix), apply_homography(matrix, points))
    np.testing.assert_allclose(back, points, atol=0.01)


def test_validation_sample_holds_labels_as_they_are():
    row, volume = make_row(Condition.FORAMINAL), make_volume()
    sample = make_sample(volume, row, size=100)
    assert sample.image.shape == (9, 100, 100)
    assert sample.image.dtype == np.uint8
    assert sample.annotated.all()
    assert (sample.grades == row.grades).all()
    assert (sample.points[:, 2] == row.points[:, 2]).all()
    native = sample.maps.to_native(sample.points)
    np.testing.assert_allclose(native, row.points, atol=1e-3)


def test_flip_exchanges_sides_by_name():
    """After the flip, what is called left lies in the slices where the right was."""
    row, volume = make_row(Condition.FORAMINAL, seed=4), make_volume()
    matrix = fit_to_frame(volume.pixels.shape[1:], 100)
    plain = make_sample(volume, row, size=100)
    flipped = make_sample(
        volume, row, size=100, draw=AugmentDraw(matrix, flip=True, exchange_sides=True)
    )
    assert (flipped.image == plain.image[::-1]).all()
    for i, target in enumerate(row.targets):
        j = row.targets.index(replace(target, side=target.side.mirror()))
        assert flipped.grades[i] == plain.grades[j]
        assert (flipped.points[i, :2] == plain.points[j, :2]).all()
        assert flipped.points[i, 2] == 8 - plain.points[j, 2]
        # left stays on the side of low slice numbers
        assert (flipped.points[i, 2] < 4) == (target.side is Side.LEFT)


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(3, 14))
def test_a_part_of_the_slices_holds_every_point_where_it_was_drawn(seed, count, depth):
    """Slices are left out at the ends; pixels under the points stay, flipped or not."""
    config = replace(PLAIN, slices=count, flip=0.5)
    row, volume = make_row(Condition.FORAMINAL, depth), make_volume(depth, 60, 50)
    rng = np.random.default_rng(seed)
    marked = np.ones(10, bool)
    draw = draw_augmentation(
        rng, config, row.points, marked, (60, 50), 64, row.points[:, :2], depth
    )
    sample = make_sample(volume, row, size=64, draw=draw)
    whole = make_sample(volume, row, size=64)
    assert len(sample.image) == min(depth, max(count, depth - 2))  # points are in 1 .. depth - 2
    order = [row.targets.index(t.mirror() if draw.exchange_sides else t) for t in row.targets]
    for i, j in enumerate(order):
        assert (sample.points[i, :2] == whole.points[j, :2]).all()
        assert sample.grades[i] == whole.grades[j]
        here, there = int(sample.points[i, 2]), int(whole.points[j, 2])
        assert (sample.image[here] == whole.image[there]).all()


def test_a_part_of_the_slices_lies_anywhere_around_the_points():
    row = make_row(Condition.CANAL, 15)
    config = replace(PLAIN, slices=6, flip=0.0)
    marked, shape = np.ones(5, bool), row.points[:, :2]
    starts = {
        draw_augmentation(
            np.random.default_rng(s), config, row.points, marked, (60, 50), 64, shape, 15
        ).slices[0]
        for s in range(200)
    }
    assert starts == set(range(2, 8))  # the points are in slice 7


def test_bugged_flip_reverses_slices_and_leaves_the_names():
    row, volume = make_row(Condition.FORAMINAL, seed=4), make_volume()
    draw = AugmentDraw(fit_to_frame(volume.pixels.shape[1:], 100), flip=True)
    plain, flipped = (
        make_sample(volume, row, size=100),
        make_sample(volume, row, size=100, draw=draw),
    )
    assert (flipped.grades == plain.grades).all()
    assert (flipped.points[:, :2] == plain.points[:, :2]).all()
    assert (flipped.points[:, 2] == 8 - plain.points[:, 2]).all()
    for target, point in zip(row.targets, flipped.points, strict=True):
        assert (point[2] < 4) == (target.side is Side.RIGHT)


def test_flip_of_the_canal_changes_slices_only():
    row, volume = make_row(Condition.CANAL), make_volume()
    draw = AugmentDraw(fit_to_frame(volume.pixels.shape[1:], 100), flip=True, exchange_sides=True)
    sample = make_sample(volume, row, size=100, draw=draw)
    assert (sample.grades == row.grades).all()
    assert (sample.points[:, 2] == 8 - row.points[:, 2]).all()
