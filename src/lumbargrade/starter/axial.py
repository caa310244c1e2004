"""Choose the axial slice of each level, and find the sac, the disc and both recesses in it.

The slice is chosen from what it shows: of the slices near the back edge of the disc, the one whose
part before that edge is most of all disc, weighed with its distance to the edge. A stack may be
tilted against the disc, and a study may have several series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.heat_maps import HeatMaps
from lumbargrade.domain.outlines import AXIAL_STRUCTURES, SEGMENT_OF, Structure
from lumbargrade.domain.point import Point, Xyz
from lumbargrade.domain.series_outlines import SeriesOutlines
from lumbargrade.domain.upright import LEFT
from lumbargrade.domain.views import spine_directions
from lumbargrade.domain.vocabulary import Condition, Level, SeriesKind, Side, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.starter.bodies import Landmarks
from lumbargrade.starter.grid import AxialCrop, Images, fine, fine_matrix, summit
from lumbargrade.starter.outlined import Outlined, moments_of, plane_of, region_at

#: Slices up to this far from the back edge of the disc are looked at, mm.
NEAR = 8.0
#: Where the back edge of a disc lies between its centre (0) and the middle of the sac (1).
_EDGE = 0.7
#: The same if the disc's centre is unknown: this far before the middle of the sac, mm.
_BEFORE_SAC = 8.0
#: A slice at this distance from the back edge of the disc counts exp(-1/2) as much, mm.
_SPREAD = 4.0
#: Half width and depth of the part before the back edge in which disc and body are counted, mm.
_BESIDE, _BEFORE = 12.0, 12.0
#: Share of disc against body: below the first, a slice does not show the disc; below the second, it
#: shows disc and body.
_SHOWN, _ALONE = 0.3, 0.6
#: Smallest height of the peak of a recess.
_PEAK = 0.2
#: Distance of a recess from the middle of the sac, mm: beyond half the width of a narrow sac, and
#: not further than the inner edge of a pedicle (half of a canal up to 32 mm wide) with some room.
_ASIDE = (3.0, 22.0)
#: Grid pixels per pixel of the map of recesses.
_STRIDE = 2


class AxialNetwork(Protocol):
    """The axial network: logits of a batch.

    Args:
        images: float32 (B, 1, 128, 128).

    Returns:
        ``structures`` (B, 5, 128, 128), in the order of `AXIAL_STRUCTURES`, and ``recesses``
        (B, 2, 64, 64), left and right.
    """

    def __call__(self, images: Images, /) -> Mapping[str, NDArray[np.float32]]: ...


@dataclass(frozen=True, eq=False, slots=True)
class AxialLevel:
    """The slice of a level in one series.

    Attributes:
        level: the level.
        crop: the part of the slice that the network saw.
        outlined: the same with its structures.
        heat: maps of the left and right recess times 255, uint8 (2, H / 2, W / 2).
        canal: the level's canal point, LPS mm.
        normal: direction of the spine at the level, towards the head (3,).
        recesses: the points that were found.
        absent: why the recess of a side was not found.
        share: share of disc against body before the back edge of the disc, 0 to 1.
        distance: of the slice from the back edge of the disc, mm, not negative.
        remark: why the slice is not a good one; empty if it is.
    """

    level: Level
    crop: AxialCrop
    outlined: Outlined
    heat: NDArray[np.uint8]
    canal: Xyz
    normal: FloatArray
    recesses: Mapping[Side, Point]
    absent: Mapping[Side, str]
    share: float
    distance: float
    remark: str

    @property
    def score(self) -> float:
        """How well the slice shows the disc, 0 to 1."""
        return _score(self.share, self.distance)


@dataclass(frozen=True, eq=False, slots=True)
class AxialReading:
    """The axial slices of a study.

    Attributes:
        levels: for each level that an axial slice shows, the slice of every series, best first.
        absent: why each other level has no slice.
    """

    levels: Mapping[Level, tuple[AxialLevel, ...]]
    absent: Mapping[Level, str]

    def outlines(self) -> list[SeriesOutlines]:
        """What is outlined in the slices of the levels, by series."""
        seen: dict[str, list[AxialLevel]] = {}
        for level in self.levels.values():
            for one in level:
                seen.setdefault(one.outlined.series_id, []).append(one)
        return [
            SeriesOutlines(
                series_id,
                AXIAL_STRUCTURES,
                np.array([one.crop.z for one in levels]),
                np.stack([one.outlined.stored() for one in levels]),
                np.stack([one.crop.to_native for one in levels]),
            )
            for series_id, levels in seen.items()
        ]

    def heat_maps(self) -> list[HeatMaps]:
        """Where the recesses are seen in the slices of the levels, for use outside the starter."""
        shows = tuple((Condition.SUBARTICULAR, side) for side in Side)
        to_grid = fine_matrix(_STRIDE)
        return [
            HeatMaps(
                one.outlined.series_id,
                shows,
                np.array([one.crop.z]),
                one.heat[None],
                (one.crop.to_native @ to_grid)[None],
            )
            for level in self.levels.values()
            for one in level
        ]

    def points(self) -> tuple[dict[Target, Point], dict[Target, str]]:
        """Return the recess of each side and level, from the best series that shows it.

        The second part says why each other subarticular target has no point.
        """
        found: dict[Target, Point] = {}
        absent: dict[Target, str] = {}
        for level in Level:
            for side in Side:
                target = Target(Condition.SUBARTICULAR, level, side)
                shown = self.levels.get(level, ())
                point = next((one.recesses[side] for one in shown if side in one.recesses), None)
                if point is not None:
                    found[target] = point
                else:
                    absent[target] = shown[0].absent[side] if shown else self.absent[level]
        return found, absent


def read_axial(
    volumes: Sequence[Volume], landmarks: Landmarks, network: AxialNetwork
) -> AxialReading:
    """Find the slice of each level in every axial series, and the recesses in it.

    Args:
        volumes: series of the study that share the space of the landmarks; others than axial ones
            are ignored.
        landmarks: named points from the sagittal series.
        network: the axial network.
    """
    axial = [v for v in volumes if v.kind is SeriesKind.AXIAL_T2]
    guides = _guides(landmarks)
    levels: dict[Level, tuple[AxialLevel, ...]] = {}
    absent: dict[Level, str] = {}
    for level in Level:
        if not axial:
            absent[level] = "the study has no axial series"
        elif level not in guides:
            absent[level] = f"no point of the canal was found at {level.label}"
        else:
            tried = [_read_level(v, level, guides[level], network) for v in axial]
            shown = [one for one in tried if isinstance(one, AxialLevel)]
            if shown:
                levels[level] = tuple(sorted(shown, key=lambda one: -one.score))
            else:
                absent[level] = "; ".join(dict.fromkeys(str(one) for one in tried))
    return AxialReading(levels, absent)


@dataclass(frozen=True, eq=False, slots=True)
class _Guide:
    """Where a level lies: the canal point, the back edge of the disc and the normal (3,) each."""

    canal: FloatArray
    edge: FloatArray
    normal: FloatArray


def _guides(marks: Landmarks) -> dict[Level, _Guide]:
    """Return where each level with a canal point lies.

    The disc's plane contains the direction from the disc's centre to the canal point and the
    patient's left. Without the disc, it is perpendicular to the row of canal points.
    """
    nowhere = (np.nan,) * 3
    canals = np.array([marks.canals.get(level, nowhere) for level in Level], float)
    along = spine_directions(canals)
    guides = {}
    for i, level in enumerate(Level):
        if level not in marks.canals:
            continue
        canal = canals[i]
        normal = -along[i] if np.isfinite(along[i]).all() else np.array([0.0, 0.0, 1.0])
        edge = canal - _BEFORE_SAC * np.cross(normal, LEFT)
        if SEGMENT_OF[level] in marks.discs:
            disc = np.array(marks.discs[SEGMENT_OF[level]])
            edge = disc + _EDGE * (canal - disc)
            normal = np.cross(LEFT, canal - disc)
            normal = normal / np.linalg.norm(normal)
        guides[level] = _Guide(canal, edge, normal)
    return guides


def _read_level(
    volume: Volume, level: Level, guide: _Guide, network: AxialNetwork
) -> AxialLevel | str:
    """Return the slice of a level in a series, or why it has none."""
    local = volume.in_slices(guide.edge)[0]
    shapes = np.array([s.shape for s in volume.slices])
    inside = ((local[:, :2] >= -0.5) & (local[:, :2] <= shapes[:, ::-1] - 0.5)).all(axis=1)
    if not inside.any():
        return f"{level.label} lies outside the axial images"
    away = np.abs(local[:, 2])
    zs = np.flatnonzero(inside & (away <= NEAR))
    if not zs.size:
        nearest = away[inside].min()
        return f"no axial slice cuts {level.label} (the nearest is {nearest:.1f} mm away)"
    crops = [AxialCrop.around(volume, int(z), guide.canal) for z in zs]
    output = network(np.stack([crop.image() for crop in crops])[:, None])
    shares = softmax(np.asarray(output["structures"], float), axis=1)
    seen = [_outlined(crop, p) for crop, p in zip(crops, shares, strict=True)]
    parts = [_disc_share(one, guide.edge) for one in seen]
    scores = [_score(part, away[z]) for part, z in zip(parts, zs, strict=True)]
    best = int(np.argmax(scores))
    if parts[best] < _SHOWN:
        return f"no axial slice near {level.label} shows its disc"
    heat = expit(np.asarray(output["recesses"][best], float))
    recesses, absent = _recesses(crops[best], seen[best], heat, level, guide.canal)
    remark = "" if parts[best] >= _ALONE else "the slice cuts the body beside the disc"
    return AxialLevel(
        level,
        crops[best],
        seen[best],
        np.rint(heat * 255).astype(np.uint8),
        _xyz(guide.canal),
        guide.normal,
        recesses,
        absent,
        parts[best],
        float(away[zs[best]]),
        remark,
    )


def _score(share: float, distance: float) -> float:
    return float(share * np.exp(-0.5 * (distance / _SPREAD) ** 2))


def _outlined(crop: AxialCrop, probabilities: FloatArray) -> Outlined:
    """Return a crop with its structures; ``probabilities`` is (5, H, W)."""
    height, width = crop.grey.shape
    rows, columns = np.indices((height, width))
    native = crop.voxels(np.column_stack([columns.ravel(), rows.ravel()]))[:, :2]
    shape = crop.volume.slices[crop.z].shape
    inside = ((native >= -0.5) & (native <= np.array(shape[::-1]) - 0.5)).all(axis=1)
    return Outlined(
        dict(zip(AXIAL_STRUCTURES, probabilities, strict=True)),
        plane_of(crop.to_patient([[0, 0], [1, 0], [0, 1]])),
        SeriesKind.AXIAL_T2,
        crop.volume.series_id,
        crop.volume.slices[crop.z].instance_number,
        inside.reshape(height, width),
    )


def _disc_share(at: Outlined, edge: FloatArray) -> float:
    """Return the share of disc against body before the back edge of the disc; 0 without either.

    The place comes from the sagittal series, because a herniated disc moves the front of the sac.
    """
    middle, back = at.from_patient(edge)[0].tolist()
    rows, columns = np.indices(at.field.shape) * at.mm
    window = (np.abs(columns - middle) <= _BESIDE) & (
        np.abs(rows - back + _BEFORE / 2) < _BEFORE / 2
    )
    disc = float(at.probability(Structure.DISC)[window].sum())
    body = float(at.probability(Structure.BODY)[window].sum())
    return disc / (disc + body) if disc + body > 0.2 * window.sum() else 0.0


def _recesses(
    crop: AxialCrop, at: Outlined, heat: FloatArray, level: Level, canal: FloatArray
) -> tuple[dict[Side, Point], dict[Side, str]]:
    """Return the points of the recesses, and why a side has none.

    Args:
        crop: the slice.
        at: the same with its structures.
        heat: (2, H / 2, W / 2), left and right.
        level: the level.
        canal: the canal point (3,), LPS mm.
    """
    sac = region_at(at.probability(Structure.SAC), at.from_patient(canal)[0], at.mm, NEAR)
    middle = canal
    if sac is not None:
        middle = np.array(at.to_patient([moments_of(sac, at.mm).centre])[0])
    found: dict[Side, Point] = {}
    absent: dict[Side, str] = {}
    for side, one in zip(Side, heat, strict=True):
        name = f"the {side} recess of {level.label}"
        row, column = np.unravel_index(int(one.argmax()), one.shape)
        if one[row, column] < _PEAK:
            absent[side] = f"{name} was not found"
            continue
        peak = [column + summit(one[row], int(column)), row + summit(one[:, column], int(row))]
        point = crop.point(Target(Condition.SUBARTICULAR, level, side), fine(peak, _STRIDE))
        off = np.subtract(point.patient or middle, middle)
        aside = float(off @ LEFT) * (1 if side is Side.LEFT else -1)
        if aside < _ASIDE[0] or np.linalg.norm(off) > _ASIDE[1]:
            absent[side] = f"{name} was found in an impossible place ({aside:.0f} mm to the {side})"
        else:
            found[side] = point
    return found, absent


def _xyz(values: FloatArray) -> Xyz:
    x, y, z = values.tolist()
    return x, y, z
