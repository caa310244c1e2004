"""Cut the crops that a network sees from a study's volumes, around guide points."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from lumbargrade.config import AugmentConfig, CropConfig
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.point import Point
from lumbargrade.domain.reasons import joined, no_point, no_series, no_slice
from lumbargrade.domain.views import LevelCut, Spaces, cut_level, find_spaces, spine_directions
from lumbargrade.domain.vocabulary import Level, SeriesKind, Side, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.sampling.crops import Crop, CropGrid, View, cut_crop, empty_crop
from lumbargrade.sampling.guides import CENTRE, LEFT, RIGHT, guide_for
from lumbargrade.sampling.intensity import IntensityDraw, apply_intensity, draw_intensity

#: The ten places of a view, in the order of targets with sides: left L1/L2 to L5/S1, then right.
PLACES: tuple[tuple[Side, Level], ...] = tuple((s, v) for s in Side for v in Level)

_LEVELS = tuple(Level)


@dataclass(frozen=True, eq=False)
class CropDraw:
    """Everything random about the crops of one study.

    Attributes:
        shift: (5, 3, 3) mm added to the guide points.
        turn: (3, 10) rotation of each crop in its plane, degrees; views as `SeriesKind`.
        zoom: (3, 10) magnification.
        intensity: change of grey values of each view.
        dropped: views that are left out.
    """

    shift: FloatArray
    turn: FloatArray
    zoom: FloatArray
    intensity: tuple[IntensityDraw, ...]
    dropped: frozenset[SeriesKind]


def draw_crops(
    rng: np.random.Generator,
    config: AugmentConfig,
    jitter: Sequence[float],
    views: Sequence[SeriesKind] = tuple(SeriesKind),
) -> CropDraw:
    """Draw the augmentation of one study.

    Args:
        rng: the only source of randomness.
        config: ranges and probabilities.
        jitter: standard deviation of the guide points along patient x, y, z, mm.
        views: views that may be dropped; at least one is kept.
    """
    shift = rng.normal(0.0, 1.0, (len(_LEVELS), 3, 3)) * np.asarray(jitter, float)
    shape = (len(SeriesKind), len(PLACES))
    turn = rng.uniform(-config.rotation, config.rotation, shape)
    zoom = 1 + rng.uniform(config.scale_min, config.scale_max, shape)
    intensity = tuple(draw_intensity(rng, config) for _ in SeriesKind)
    drop = rng.random(len(views)) < config.drop_view
    if drop.all():
        drop[rng.integers(len(views))] = False
    dropped = frozenset(v for v, d in zip(views, drop, strict=True) if d)
    return CropDraw(shift, turn, zoom, intensity, dropped)


@dataclass(frozen=True, eq=False)
class StudyCrops:
    """The crops of one study.

    Attributes:
        views: kind -> ten crops in the order of `PLACES`. On T2 a level's left and right crop show
            the same slices, around the canal, in opposite order.
        covered: kind -> (10,) whether the crop has a valid slice.
        cuts: how the axial series cut each level; None if the level has no point there.
        spaces: which series share a space.
    """

    views: Mapping[SeriesKind, tuple[Crop, ...]]
    covered: Mapping[SeriesKind, NDArray[np.bool_]]
    cuts: tuple[LevelCut | None, ...]
    spaces: Spaces

    def images(self, kind: SeriesKind) -> NDArray[np.uint8]:
        """Return all crops of a view, (10, D, S, S)."""
        return np.stack([c.image for c in self.views[kind]])

    def valid(self, kind: SeriesKind) -> NDArray[np.bool_]:
        """Return which slices of the crops are valid, (10, D)."""
        return np.stack([c.valid for c in self.views[kind]])

    def seen_in(self, target: Target) -> list[SeriesKind]:
        """Return the views with a crop of the target's level and, if it has one, its side."""
        places = [i for i, (s, v) in enumerate(PLACES) if _shows(target, s, v)]
        return [kind for kind, covered in self.covered.items() if covered[places].any()]

    def why_unseen(self, target: Target, there: Collection[SeriesKind | None]) -> str:
        """Return why no view shows a target; empty if a view does.

        Args:
            target: what was to be graded.
            there: kinds of the study's series.
        """
        if self.seen_in(target):
            return ""
        level = target.level
        reasons = []
        for kind in self.views:
            cut = self.cuts[_LEVELS.index(level)] if kind is SeriesKind.AXIAL_T2 else None
            if kind not in there:
                reasons.append(no_series([kind]))
            elif cut is not None and not cut.covered:
                reasons.append(no_slice(level, cut))
            else:
                reasons.append(no_point(level, kind))
        return joined(reasons)


def _shows(target: Target, side: Side, level: Level) -> bool:
    return level is target.level and target.side in (None, side)


def cut_study(
    volumes: Sequence[Volume],
    points: Sequence[Point],
    config: CropConfig,
    *,
    kinds: Sequence[SeriesKind] = tuple(SeriesKind),
    draw: CropDraw | None = None,
) -> StudyCrops:
    """Cut every crop that the series and points of a study allow.

    Of several sagittal series of a kind, the one with the most points is used. Axial slices are
    chosen level by level from all axial series.

    Args:
        volumes: series of the study; each has its kind.
        points: where the levels are.
        config: sizes.
        kinds: views that are wanted.
        draw: the augmentation; None for no augmentation.
    """
    spaces = find_spaces(volumes)
    views: dict[SeriesKind, tuple[Crop, ...]] = {}
    cuts: list[LevelCut | None] = [None] * len(_LEVELS)
    for kind in kinds:
        mine = [v for v in volumes if v.kind is kind]
        if draw is not None and kind in draw.dropped:
            mine = []
        if kind.sagittal:
            crops = _sagittal(kind, _preferred(mine, points), points, spaces, config, draw)
        else:
            crops, cuts = _axial(mine, points, spaces, config, draw)
        crops = list(_recoloured(crops, kind, draw))
        if kind is SeriesKind.SAGITTAL_T2:
            crops += [c.reversed() for c in crops]
        views[kind] = tuple(crops)
    covered = {k: np.array([bool(c.valid.any()) for c in crops]) for k, crops in views.items()}
    return StudyCrops(views, covered, tuple(cuts), spaces)


def _preferred(volumes: Sequence[Volume], points: Sequence[Point]) -> Volume | None:
    if not volumes:
        return None
    return max(volumes, key=lambda v: sum(p.series_id == v.series_id for p in points))


def _shifted(guide: FloatArray, draw: CropDraw | None) -> FloatArray:
    return guide if draw is None else guide + draw.shift


def _sagittal(
    kind: SeriesKind,
    volume: Volume | None,
    points: Sequence[Point],
    spaces: Spaces,
    config: CropConfig,
    draw: CropDraw | None,
) -> list[Crop]:
    """Cut T1 crops around each foramen and T2 crops around the canal."""
    grid = CropGrid(config.sagittal_size, config.sagittal_mm, config.neighbours)
    if volume is None:
        return [empty_crop(grid)] * len(PLACES if kind is SeriesKind.SAGITTAL_T1 else _LEVELS)
    guide = _shifted(guide_for(volume.series_id, points, spaces), draw)
    both = kind is SeriesKind.SAGITTAL_T1
    wanted = PLACES if both else PLACES[: len(_LEVELS)]
    points_of = [
        guide[_LEVELS.index(level), (LEFT if side is Side.LEFT else RIGHT) if both else CENTRE]
        for side, level in wanted
    ]
    middles = _slices_at(volume, np.array(points_of))
    crops = []
    for i, ((side, _), at, middle) in enumerate(zip(wanted, points_of, middles, strict=True)):
        if middle is None:
            crops.append(empty_crop(grid))
        else:
            turned = _turned(kind, i, draw)
            crops.append(cut_crop(volume, middle, at, grid, View.sagittal(side), **turned))
    return crops


def _slices_at(volume: Volume, points: FloatArray) -> list[int | None]:
    """Return the slice nearest to each point (N, 3); None if unknown or outside the image."""
    voxels = volume.from_patient(points)
    found: list[int | None] = []
    for (x, y, z), middle in zip(voxels, volume.nearest_slices(voxels[:, 2]).tolist(), strict=True):
        if not np.isfinite([x, y, z]).all():
            found.append(None)
            continue
        height, width = volume.slices[middle].shape
        inside = -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5
        found.append(middle if inside else None)
    return found


def _axial(
    volumes: Sequence[Volume],
    points: Sequence[Point],
    spaces: Spaces,
    config: CropConfig,
    draw: CropDraw | None,
) -> tuple[list[Crop], list[LevelCut | None]]:
    """Cut axial crops around each recess, in the slice that cuts the level."""
    grid = CropGrid(config.axial_size, config.axial_mm, config.neighbours)
    by_id = {v.series_id: v for v in volumes}
    cuts: list[LevelCut | None] = [None] * len(_LEVELS)
    crops = [empty_crop(grid)] * len(PLACES)
    if not volumes:
        return crops, cuts
    together: dict[int, list[Volume]] = {}
    for volume in volumes:
        together.setdefault(spaces.of_series[volume.series_id], []).append(volume)
    groups = [
        (group, _shifted(guide_for(group[0].series_id, points, spaces), draw))
        for group in together.values()
    ]
    for at, level in enumerate(_LEVELS):
        found = []
        for group, guide in groups:
            centre, along = guide[at, CENTRE], spine_directions(guide[:, CENTRE])[at]
            if np.isfinite(centre).all():
                found.append((cut_level(centre, group, along=along), centre))
        if not found:
            continue
        far = float("inf")
        cut, centre = min(found, key=lambda f: (not f[0].covered, _or(f[0].nearest, far)))
        cuts[at] = cut
        if not cut.covered:
            continue
        volume = by_id[cut.stacks[0].series_id]
        for i, (side, other) in enumerate(PLACES):
            if other is level:
                turned = _turned(SeriesKind.AXIAL_T2, i, draw)
                crops[i] = cut_crop(
                    volume,
                    cut.stacks[0].nearest.z,
                    centre,
                    grid,
                    View.axial(side),
                    offset=(config.lateral_mm, 0.0),
                    **turned,
                )
    return crops, cuts


class _Turn(TypedDict):
    turn: float
    zoom: float


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _turned(kind: SeriesKind, place: int, draw: CropDraw | None) -> _Turn:
    if draw is None:
        return {"turn": 0.0, "zoom": 1.0}
    view = tuple(SeriesKind).index(kind)
    return {"turn": float(draw.turn[view, place]), "zoom": float(draw.zoom[view, place])}


def _recoloured(crops: Sequence[Crop], kind: SeriesKind, draw: CropDraw | None) -> Sequence[Crop]:
    """Change the grey values of all crops of a view in the same way, in place."""
    if draw is not None:
        for crop in crops:
            if crop.valid.any():
                apply_intensity(draw.intensity[tuple(SeriesKind).index(kind)], crop.image)
    return crops
