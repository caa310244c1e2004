"""Augmented samples at 15 x 320 x 320, against TorchIO making the same kinds of change.

Both flip, turn and scale in the plane, change the grey curve, and blur or add noise, as often and
as strongly as the foraminal recipe. TorchIO moves no points and makes neither homographies nor a
blackout, so it does less; but it interpolates in three dimensions, in floating point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torchio as tio

from lumbargrade.config import AugmentConfig
from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.vocabulary import TARGETS, Condition, SeriesKind
from lumbargrade.domain.volume import Volume, VolumeSlice
from lumbargrade.lsdc.rows import SeriesRow
from lumbargrade.sampling.augment import draw_augmentation
from lumbargrade.sampling.series import annotated_points, make_sample

pytestmark = pytest.mark.benchmark(group="an augmented sample")


def series(depth: int, side: int) -> tuple[Volume, SeriesRow]:
    noise = np.random.default_rng(0).integers(0, 256, (depth, side, side), dtype=np.uint8)
    pixels = np.stack([cv2.GaussianBlur(s, (9, 9), 0) for s in noise])
    slices = tuple(
        VolumeSlice(
            instance_number=z + 1,
            plane=SlicePlane((4.0 * z, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (0.6, 0.6)),
            group=0,
            shape=(side, side),
        )
        for z in range(depth)
    )
    points = [
        (side * (0.45 + 0.02 * (i % 5)), side * (0.2 + 0.14 * (i % 5)), (depth - 1) * (1 - i // 5))
        for i in range(10)
    ]
    row = SeriesRow(
        study_id="1",
        series_id="2",
        fold=0,
        kind=SeriesKind.SAGITTAL_T1,
        targets=TARGETS[Condition.FORAMINAL],
        points=np.array(points, np.float32),
        grades=np.zeros(10, np.int8),
    )
    return Volume(pixels, slices, "1", "2"), row


def lumbargrade(depth: int, side: int) -> Callable[[int], Any]:
    """A function from a seed to a sample: image, points, grades and the map back."""
    volume, row = series(depth, side)
    config, mean_shape = AugmentConfig(), row.points[:, :2] * 512 / side

    def one(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        draw = draw_augmentation(
            rng, config, row.points, annotated_points(row), (side, side), side, mean_shape, depth
        )
        return make_sample(volume, row, size=side, draw=draw)

    return one


def torchio(depth: int, side: int) -> Callable[[int], Any]:
    """A function from a seed to an image; it starts from floats, whose making is not timed."""
    volume, _ = series(depth, side)
    image = torch.from_numpy(volume.pixels[None].astype(np.float32))
    blur, noise = tio.RandomBlur(std=(0, 0, 0, 1, 0, 1)), tio.RandomNoise(std=6)
    change = tio.Compose(
        [
            tio.RandomFlip(axes=(0,), flip_probability=0.5),
            tio.RandomAffine(
                scales=(1, 1, 0.75, 1.35, 0.75, 1.35), degrees=(-20, 20, 0, 0, 0, 0), p=0.9
            ),
            tio.RandomGamma(log_gamma=0.2, p=0.75),
            tio.OneOf({blur: 3, noise: 1}, p=0.5),
        ]
    )

    def one(seed: int) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            subject = tio.Subject(image=tio.ScalarImage(tensor=image))
            return change(subject).image.data.to(torch.uint8)

    return one


def _samples(benchmark: Any, one: Callable[[int], Any], seeds: range) -> None:
    benchmark(lambda: [one(seed) for seed in seeds][-1])


@pytest.fixture
def size(tiny: bool) -> tuple[int, int]:
    """Slices and side of a volume."""
    return (3, 64) if tiny else (15, 320)


@pytest.fixture
def seeds(tiny: bool) -> range:
    """Seeds of the samples of one round, the same for both."""
    return range(2 if tiny else 40)


def bench_torchio(benchmark: Any, size: tuple[int, int], seeds: range) -> None:
    _samples(benchmark, torchio(*size), seeds)


def bench_lumbargrade(benchmark: Any, size: tuple[int, int], seeds: range) -> None:
    _samples(benchmark, lumbargrade(*size), seeds)
