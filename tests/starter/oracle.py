"""A sagittal network that knows the anatomy: its outputs are made from the places of a phantom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.outlines import Mark, Segment, Structure
from lumbargrade.domain.vocabulary import Condition, Level, Side, Target
from lumbargrade.domain.volume import Volume, VolumeSlice
from lumbargrade.phantom.anatomy import BODIES, L1, SACRUM, Anatomy
from lumbargrade.phantom.study import SeriesPlan, StudyPlan
from lumbargrade.starter.grid import SagittalGrid, fine
from lumbargrade.starter.numbering import segment_at

Outputs = dict[str, NDArray[np.float32]]

#: Distances over which marks fade: in the plane, and across slices by mark, mm.
_WIDTH = 4.0
_ACROSS = {Mark.CANAL: 5.0, Mark.FORAMEN: 3.0, Mark.DISC: 12.0, Mark.BODY: 12.0}


@dataclass(frozen=True)
class Places:
    """The places of one patient, LPS mm, by mark; the segment of each disc."""

    marks: Mapping[Mark, NDArray[np.float64]]
    segments: tuple[Segment, ...]
    sacral: tuple[bool, ...]
    targets: Mapping[Target, NDArray[np.float64]]


def places_of(anatomy: Anatomy, first: int = L1 - 3) -> Places:
    """Discs and bodies from T10 to S1/S2, canal and foramina of the graded levels."""
    cells = range(first, SACRUM + 1)
    discs, segments = [], []
    for i in cells:
        upper, lower = anatomy.bodies[i], anatomy.bodies[i + 1]
        discs.append((upper.centre + lower.centre) / 2)
        segments.append(segment_at(Segment.L1_L2 + i - L1))
    targets = [Target(Condition.CANAL, v) for v in Level]
    targets += [Target(Condition.FORAMINAL, v, s) for v in Level for s in Side]
    at = {t: np.asarray(anatomy.landmark(t)) for t in targets}
    bodies = range(first, SACRUM + 2)
    return Places(
        {
            Mark.CANAL: np.array([p for t, p in at.items() if t.side is None]),
            Mark.FORAMEN: np.array([p for t, p in at.items() if t.side is not None]),
            Mark.DISC: np.array(discs),
            Mark.BODY: np.array([anatomy.bodies[i].centre for i in bodies]),
        },
        tuple(segments),
        tuple(BODIES[i].startswith("S") for i in bodies),
        at,
    )


def volume_of(study: StudyPlan, plan: SeriesPlan, *, coarser: int = 3, frame: str = "f") -> Volume:
    """A planned series with larger pixels, in the order of its slices; nothing is painted."""
    shape = (plan.shape[0] // coarser, plan.shape[1] // coarser)
    slices = []
    for number, plane in enumerate(plan.planes, start=1):
        dy, dx = (s * coarser for s in plane.spacing)
        large = SlicePlane(plane.position, plane.row, plane.column, (dy, dx))
        slices.append(VolumeSlice(number, large, 0, shape))
    pixels = np.full((len(slices), *shape), 100, np.uint8)
    return Volume(pixels, tuple(slices), study.study_id, plan.series_id, plan.kind, frame)


def outputs(volume: Volume, places: Places) -> Outputs:
    """What the network should see in every slice of a series."""
    grid = SagittalGrid.of(volume)
    depth, height, width = grid.grey.shape
    heat = np.zeros((depth, len(Mark), height // 2, width // 2))
    structures = np.zeros((depth, 6, height, width), np.float32)
    segments = np.zeros((depth, len(Segment), height // 4, width // 4), np.float32)
    for k in range(depth):
        patient = _patient(grid, k, 2, heat.shape[2:])
        normal = volume.slices[int(grid.maps.zs[k])].plane.normal
        for mark, found in places.marks.items():
            for place in found:
                side = (patient - place) @ normal
                squared = ((patient - place) ** 2).sum(-1) - side**2
                spot = np.exp(-squared / 2 / _WIDTH**2 - side**2 / 2 / _ACROSS[mark] ** 2)
                heat[k, mark] = np.maximum(heat[k, mark], spot)
        off = _patient(grid, k, 4, segments.shape[2:])[:, :, None] - places.marks[Mark.DISC]
        nearest = np.hypot(off[..., 1], off[..., 2]).argmin(-1)
        seen = np.array(places.segments)[nearest]
        np.put_along_axis(segments[k], seen[None], 3.0, axis=0)
        pixels = _patient(grid, k, 1, (height, width))
        for place, sacral in zip(places.marks[Mark.BODY], places.sacral, strict=True):
            off = pixels - place
            inside = np.hypot(off[..., 1], off[..., 2]) < 8
            structures[k, Structure.SACRUM if sacral else Structure.BODY][inside] = 9
    clipped = np.clip(heat, 1e-6, 1 - 1e-6)
    marks = np.log(clipped / (1 - clipped)).astype(np.float32)
    return {"structures": structures, "segments": segments, "marks": marks}


def _patient(
    grid: SagittalGrid, k: int, stride: int, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    rows, columns = np.indices(shape)
    points = np.stack([fine(columns, stride), fine(rows, stride), np.full(shape, float(k))], -1)
    return grid.to_patient(points.reshape(-1, 3)).reshape(*shape, 3)


class Oracle:
    """Gives the outputs of series after series, slice after slice, as they are asked for."""

    def __init__(self, *series: Outputs) -> None:
        names = series[0] if series else {}
        self.left = {n: [one for s in series for one in s[n]] for n in names}
        self.asked: list[int] = []

    def __call__(self, images: NDArray[np.float32], /) -> Outputs:
        assert images.dtype == np.float32
        assert images.shape[1] == 3
        self.asked.append(len(images))
        out = {}
        for name, rows in self.left.items():
            out[name] = np.stack(rows[: len(images)])
            del rows[: len(images)]
        return out

    @property
    def done(self) -> bool:
        """Whether every slice was asked for."""
        return not any(self.left.values())


def slices_of(one: Outputs, chosen: Sequence[int]) -> Outputs:
    """The outputs of some slices."""
    return {name: rows[list(chosen)] for name, rows in one.items()}
