"""What each group of networks sees of a study, and what it says of it.

Networks are passed in: any function from arrays by name to arrays by name. Nothing here imports
torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lumbargrade.team_two_stage.crops import (
    CROP,
    GREY,
    crop_at,
    network_crop,
    plain_crop,
    stretched,
)
from lumbargrade.team_two_stage.decoding import Values, best_series
from lumbargrade.team_two_stage.members import Member
from lumbargrade.team_two_stage.series import PublishedSeries
from lumbargrade.team_two_stage.slices import (
    CANAL_SLICES,
    LEFT_SLICES,
    MIDDLE,
    RIGHT_SLICES,
    level_ranges,
    six_of,
    ten_slices,
    with_neighbours,
)
from lumbargrade.team_two_stage.state import Array, StudyState, level_stack
from lumbargrade.team_two_stage.volumes import LARGE_SIDE, SIDE, Slices, black, centre, nearest

#: A network: arrays by the names of its inputs to arrays by the names of its outputs.
Network = Callable[[Mapping[str, Array]], Mapping[str, Array]]

#: Inputs (slices, rows, columns) of the 3-D networks.
_JOINT, _SAGITTAL, _AXIAL = (48, 256, 256), (32, 384, 384), (96, 256, 256)
#: Centre of the axial slices that the fused networks read.
_FUSED_CENTRE = 256
#: The T2 crop beside an axial crop, before it is resized: slices, rows, columns.
_BESIDE = (7, 64, 128)
#: Whole slices that a network reads at once; more would only need more memory.
_AT_ONCE = 4


def volume_of(series: PublishedSeries | None) -> Slices:
    """Return the volume of a sagittal series; a black one if there is none, as published."""
    return black() if series is None else series.slices


def whole_slices(state: StudyState, view: str, network: Network) -> Array:
    """Find (x, y) in the middle of the ten slices of a sagittal series: (10,)."""
    volume = volume_of(state.case.t1 if view == "t1" else state.case.t2)
    image = volume[ten_slices(len(volume))[MIDDLE]]
    return np.asarray(network({"image": image[None, None]})["output"][0])


def sagittal_2d_t1(state: StudyState, member: Member, network: Network) -> Array:
    return whole_slices(state, "t1", network)


def sagittal_2d_t2(state: StudyState, member: Member, network: Network) -> Array:
    return whole_slices(state, "t2", network)


def sagittal_3d_both(state: StudyState, member: Member, network: Network) -> Array:
    """Find points in both sagittal series: (45,)."""
    both = [nearest(volume_of(s), _JOINT) for s in (state.case.t1, state.case.t2)]
    return np.asarray(network({"image": np.stack(both)[None]})["output"][0])


def sagittal_3d_t1(state: StudyState, member: Member, network: Network) -> Array:
    image = nearest(volume_of(state.case.t1), _SAGITTAL)
    return np.asarray(network({"image": image[None, None]})["output"][0])


def sagittal_3d_t2(state: StudyState, member: Member, network: Network) -> Array:
    image = nearest(volume_of(state.case.t2), _SAGITTAL)
    return np.asarray(network({"image": image[None, None]})["output"][0])


def axial_3d(state: StudyState, member: Member, network: Network) -> Array:
    """Find points in every axial series: (S, 30)."""
    images = (nearest(series.slices, _AXIAL) for series in state.axial)
    return np.stack([network({"image": image[None, None]})["output"][0] for image in images])


def axial_level(state: StudyState, member: Member, network: Network) -> Array:
    """Say how near every slice of all axial series is to every level: logits (Z, 2, 5)."""
    stacks = [level_stack(state.axial[i]) for i in state.level_order]
    return np.asarray(network({"image": np.concatenate(stacks)})["sides"][0])


def axial_2d(state: StudyState, member: Member, network: Network) -> Array:
    """Find x, y of each series, side and level in its slice: (S, 2, 5, 2), pixels."""
    found = []
    for series, z in zip(state.axial, state.axial_slices, strict=True):
        read, where = np.unique(z, return_inverse=True)
        outputs = [
            network({"image": series.slices[read[i : i + _AT_ONCE], None]})["output"]
            for i in range(0, len(read), _AT_ONCE)
        ]
        # left x, y and right x, y of each slice; each side is taken from its own slice
        sides = np.concatenate(outputs).reshape(-1, 2, 2)[where.reshape(z.shape)]
        found.append(np.stack([sides[0, :, 0], sides[1, :, 1]]))
    return np.stack(found)


def crops_around(
    state: StudyState, volume: Slices, points: Values, size: Any, least: int = 3
) -> Slices:
    """Cut crops (N, D, CROP, CROP) around points that are fractions of a sagittal volume.

    The published code stretches a short series to ``least`` slices, even if the crop needs more.
    """
    volume = stretched(volume, least if state.faults.short_series_fail else size[0])
    at = np.round(points * (SIDE, SIDE, len(volume)))
    return np.stack([network_crop(crop_at(volume, point, size)) for point in at])


def _twice(network: Network, image: Slices) -> Array:
    """Mean logits (N, 5, 3) of crops (10 or 5, D, H, W) and the same with columns mirrored."""
    passes = [network({"image": x[None]})["logits"] for x in (image, image[..., ::-1])]
    return np.asarray(np.mean(passes, axis=0)).reshape(-1, 5, 3)


def t1(state: StudyState, member: Member, network: Network) -> Array:
    """Grade left and right foramina on T1: logits (2, 5, 3)."""
    size = member.crop
    assert size is not None
    if state.case.t1 is None:
        return _twice(network, np.full((10, size[0], CROP, CROP), GREY, np.uint8))
    return _twice(network, crops_around(state, state.case.t1.slices, state.t1_points, size))


def t2(state: StudyState, member: Member, network: Network) -> Array:
    """Grade the canal on T2: logits (1, 5, 3)."""
    size = member.crop
    assert size is not None
    if state.case.t2 is None:
        return _twice(network, np.full((5, size[0], CROP, CROP), GREY, np.uint8))
    return _twice(network, crops_around(state, state.case.t2.slices, state.t2_points, size))


def beside(state: StudyState) -> Slices:
    """Return the T2 crops beside the axial ones, (10, 4, CROP, CROP), from the centre outwards."""
    if state.case.t2 is None:
        return np.full((10, 4, CROP, CROP), GREY, np.uint8)
    crops = crops_around(state, state.case.t2.slices, state.t2_points, _BESIDE, least=_BESIDE[0])
    return np.concatenate([crops[:, 3:], crops[:, 3::-1]])


def axial_crops(state: StudyState, slices: int) -> Slices:
    """Return the axial crops, (10, slices, 1 or 3, CROP, CROP); those of the right are mirrored."""
    size = (slices, CROP, CROP)
    if not state.axial:
        crops = np.full((2, 5, *size), GREY, np.uint8)
    else:
        best = best_series(state.axial_levels[..., 1], rounded=state.faults.rounded_confidence)
        cut = [
            _axial_crop(state, s, v, b, size)
            for v, row in enumerate(best)
            for b, s in enumerate(row)
        ]
        crops = np.stack(cut).reshape(2, 5, *size)
    crops = np.concatenate([crops[0], crops[1, ..., ::-1]])
    if slices < 5:
        return crops[:, :, None]
    return crops[:, with_neighbours(np.arange(slices), slices)]


def _axial_crop(state: StudyState, s: int, side: int, level: int, size: Any) -> Slices:
    series = state.axial[s]
    volume = series.large
    assert volume is not None
    x, y = state.axial_places[s, side, level] * LARGE_SIDE - (LARGE_SIDE - SIDE) // 2
    z = state.axial_levels[s, side, level, 0] * series.depth
    if state.faults.short_series_fail:
        if len(volume) < 5:  # published: the slices repeat, but z does not move with them
            volume = np.repeat(volume, 5 // len(volume), axis=0)
    elif len(volume) < size[0]:
        z *= size[0] / len(volume)
        volume = stretched(volume, size[0])
    return crop_at(volume, np.array([x, y, z]), size)


def axial(state: StudyState, member: Member, network: Network) -> Array:
    """Grade left and right recesses: logits (2, 5, 3)."""
    assert member.crop is not None
    inputs = {"sagittal": state.cached(beside)[None]}
    inputs["axial"] = state.cached(axial_crops, member.crop[0])[None]
    return np.asarray(network(inputs)["logits"][0])


def fused_sagittal(state: StudyState) -> Slices:
    """Return the sagittal crops of the fused networks, (25, 5, CROP, CROP)."""
    on_t1, on_t2 = (
        volume[ten_slices(len(volume))]
        for volume in (volume_of(state.case.t1), volume_of(state.case.t2))
    )
    t1_at, t2_at = state.flat_t1_points, state.flat_t2_points
    canal = [plain_crop(on_t2[CANAL_SLICES], point) for point in t2_at]
    left = [plain_crop(on_t1[LEFT_SLICES], point) for point in t1_at]
    right = [plain_crop(on_t1[RIGHT_SLICES], point) for point in t1_at]
    return np.stack([*canal, *left, *right, *canal, *canal])


def fused_axial(state: StudyState) -> Slices:
    """Return the axial slices of the fused networks, (5, 6 x series, 3, 256, 256)."""
    levels: list[list[Slices]] = [[] for _ in range(5)]
    for series, z in zip(state.axial, state.level_slices, strict=True):
        inner = centre(series.slices, _FUSED_CENTRE)
        for level, (first, last) in enumerate(level_ranges(z, series.depth)):
            count = last - first + 1
            levels[level].append(inner[first + with_neighbours(six_of(count), count)])
    return np.stack([np.concatenate(parts) for parts in levels])


def fused(state: StudyState, member: Member, network: Network) -> Array:
    """Grade all findings: logits (5 conditions, 5 levels, 3)."""
    inputs = {"sagittal": state.cached(fused_sagittal)[None]}
    inputs["axial"] = state.cached(fused_axial)[None]
    return np.asarray(network(inputs)["logits"][0])


#: Group -> what its networks do, in the order in which groups depend on each other.
RUNS: dict[str, Callable[[StudyState, Member, Network], Array]] = {
    run.__name__: run
    for run in (
        *(axial_3d, sagittal_2d_t1, sagittal_2d_t2, sagittal_3d_both),
        *(sagittal_3d_t1, sagittal_3d_t2, axial_level, axial_2d),
        *(fused, t1, t2, axial),
    )
}
