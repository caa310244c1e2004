"""Series made up for tests: a volume with geometry, and a row with points and grades."""

from __future__ import annotations

import cv2
import numpy as np

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.vocabulary import TARGETS, Condition, SeriesKind, Side
from lumbargrade.domain.volume import Volume, VolumeSlice
from lumbargrade.lsdc.rows import SeriesRow

KINDS = {Condition.FORAMINAL: SeriesKind.SAGITTAL_T1, Condition.CANAL: SeriesKind.SAGITTAL_T2}


def make_volume(depth: int = 9, height: int = 200, width: int = 160, seed: int = 0) -> Volume:
    """Smooth noise in sagittal slices, upright, from the patient's left to the right."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (depth, height, width)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(s, (0, 0), 3) for s in noise])
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255
    slices = tuple(
        VolumeSlice(
            instance_number=z + 1,
            plane=SlicePlane((-4.0 * z, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 1.0)),
            group=0,
            shape=(height, width),
        )
        for z in range(depth)
    )
    return Volume(smooth.astype(np.uint8), slices, "1", str(100 + seed))


def make_row(condition: Condition, depth: int = 9, seed: int = 0, fold: int = 0) -> SeriesRow:
    """Points down the middle of :func:`make_volume`, sides apart, grades at random."""
    rng = np.random.default_rng(seed)
    targets = TARGETS[condition]
    points = np.zeros((len(targets), 3), np.float32)
    for i, target in enumerate(targets):
        level = i % 5
        z = {Side.LEFT: 1, Side.RIGHT: depth - 2, None: depth // 2}[target.side]
        points[i] = 60 + 8 * level + rng.uniform(-2, 2), 40 + 28 * level + rng.uniform(-2, 2), z
    grades = rng.integers(-1, 3, len(targets)).astype(np.int8)
    return SeriesRow(
        str(1 + seed), str(100 + seed), fold, KINDS[condition], targets, points, grades
    )


class MadeStore:
    """Stands in for a volume store: series 100, 101, ... made on demand."""

    def __init__(self, count: int, depths: tuple[int, ...] = (9,)) -> None:
        self.count, self.depths = count, depths

    def _depth(self, seed: int) -> int:
        return self.depths[seed % len(self.depths)]

    def rows(self, condition: Condition, *, include_wrong_left_points: bool) -> list[SeriesRow]:
        return [make_row(condition, self._depth(i), i, fold=i % 5) for i in range(self.count)]

    def volume(self, study_id: str, series_id: str) -> Volume:
        seed = int(series_id) - 100
        return make_volume(self._depth(seed), seed=seed)

    def mean_shape(self, condition: Condition) -> np.ndarray:
        return make_row(condition).points[:, :2].astype(float) * 512 / 200 + [51.2, 0]
