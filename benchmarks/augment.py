"""Augmented samples per second at 15 x 320 x 320, against TorchIO doing the same kinds of change.

Both flip, turn and scale in the plane, change the grey curve, and blur or add noise, as often and
as strongly as the foraminal recipe. TorchIO moves no points and knows neither homographies nor a
blackout, so it does less. ``python -m benchmarks.augment`` prints the rows.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from lumbargrade.config import AugmentConfig
from lumbargrade.dataset.augment import draw_augmentation
from lumbargrade.dataset.rows import SeriesRow
from lumbargrade.dataset.samples import annotated_points, make_sample
from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.vocabulary import TARGETS, Condition, SeriesKind
from lumbargrade.domain.volume import Volume, VolumeSlice

DEPTH, SIZE = 15, 320


def _series(side: int) -> tuple[Volume, SeriesRow]:
    noise = np.random.default_rng(0).integers(0, 256, (DEPTH, side, side), dtype=np.uint8)
    pixels = np.stack([cv2.GaussianBlur(s, (9, 9), 0) for s in noise])
    slices = tuple(
        VolumeSlice(
            instance_number=z + 1,
            plane=SlicePlane((4.0 * z, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (0.6, 0.6)),
            group=0,
            shape=(side, side),
        )
        for z in range(DEPTH)
    )
    points = [
        (side * (0.45 + 0.02 * (i % 5)), side * (0.2 + 0.14 * (i % 5)), 11 - 8 * (i // 5))
        for i in range(10)
    ]
    row = SeriesRow(
        study_id=1,
        series_id=2,
        fold=0,
        kind=SeriesKind.SAGITTAL_T1,
        targets=TARGETS[Condition.FORAMINAL],
        points=np.array(points, np.float32),
        grades=np.zeros(10, np.int8),
    )
    return Volume(pixels, slices, "1", "2"), row


def _ours(side: int) -> Callable[[int], Any]:
    volume, row = _series(side)
    config, mean_shape = AugmentConfig(), row.points[:, :2] * 512 / side

    def one(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        draw = draw_augmentation(
            rng, config, row.points, annotated_points(row), (side, side), SIZE, mean_shape
        )
        return make_sample(volume, row, size=SIZE, draw=draw)

    return one


def _torchio() -> Callable[[int], Any]:
    import torch
    import torchio as tio

    volume, _ = _series(SIZE)
    image = torch.from_numpy(volume.pixels[None].astype(np.float32))
    change = tio.Compose(
        [
            tio.RandomFlip(axes=(0,), flip_probability=0.5),
            tio.RandomAffine(
                scales=(1, 1, 0.75, 1.35, 0.75, 1.35), degrees=(-20, 20, 0, 0, 0, 0), p=0.9
            ),
            tio.RandomGamma(log_gamma=0.2, p=0.75),
            tio.OneOf(
                {tio.RandomBlur(std=(0, 0, 0, 1, 0, 1)): 3, tio.RandomNoise(std=6): 1}, p=0.5
            ),
        ]
    )  # fmt: skip

    def one(seed: int) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            subject = tio.Subject(image=tio.ScalarImage(tensor=image))
            return change(subject).image.data.to(torch.uint8)

    return one


def _milliseconds(one: Callable[[int], Any], repeats: int) -> float:
    """Mean over augmentations (they differ in cost), median over three rounds."""
    one(0)
    rounds = []
    for _ in range(3):
        start = time.perf_counter()
        for seed in range(repeats):
            one(seed)
        rounds.append((time.perf_counter() - start) / repeats * 1e3)
    return statistics.median(rounds)


def run(repeats: int = 40) -> list[dict[str, Any]]:
    """One row per way of making an augmented sample, all in one thread."""
    import torch

    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        times = {
            "lumbargrade": _milliseconds(_ours(SIZE), repeats),
            "lumbargrade, from 512 x 512": _milliseconds(_ours(512), repeats),
            "TorchIO": _milliseconds(_torchio(), max(3, repeats // 4)),
        }
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])
    ours = times["lumbargrade"]
    return [
        {
            "benchmark": f"augmented sample, {DEPTH} x {SIZE} x {SIZE}",
            "case": name,
            "ms": round(ms, 2),
            "per_second": round(1000 / ms, 1),
            "ratio": round(ms / ours, 2),
        }
        for name, ms in times.items()
    ]


if __name__ == "__main__":
    for row in run():
        print(json.dumps(row))
