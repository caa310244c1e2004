"""Measurements of painted phantoms against the numbers of their anatomy."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.measurement import Measurements, Quantity, Site
from lumbargrade.domain.outlines import AXIAL_STRUCTURES, Segment, Structure
from lumbargrade.domain.vocabulary import Condition, Level, SeriesKind, Side, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.phantom.anatomy import L1, LEVEL_CELL, SACRUM, Anatomy, sample_anatomy
from lumbargrade.phantom.paint import paint
from lumbargrade.starter.axial import AxialReading, read_axial
from lumbargrade.starter.bodies import Landmarks
from lumbargrade.starter.grid import AxialCrop
from lumbargrade.starter.measurements import measure_axial_levels, measure_sagittal
from lumbargrade.starter.outlined import Outlined, plane_of
from made_stacks import SAGITTAL, make_series, make_stack

Array = NDArray[np.float64]
SEEDS = (3, 8)
#: Outlines are painted this many times finer than the grid.
FINE = 2
VALUES = np.ones(17, np.float32)


@cache
def patient(seed: int) -> Anatomy:
    return sample_anatomy(np.random.default_rng(seed))


def landmarks(anatomy: Anatomy) -> Landmarks:
    def at(index: int, u: float, v: float, w: float) -> tuple[float, float, float]:
        x, y, z = anatomy.locate(index, u, v, w).tolist()
        return x, y, z

    first = LEVEL_CELL[Level.L1_L2] - 1
    discs, canals = {}, {}
    for i in range(6):
        depth = anatomy.bodies[first + i].depth
        discs[Segment(Segment.T12_L1 + i)] = at(first + i, 0, -0.5 * depth, 0)
    for level, index in LEVEL_CELL.items():
        cell = anatomy.cells[index]
        canals[level] = at(index, 0, cell.sac_front + cell.sac_axes[1], 0)
    foramina = {
        (level, side): tuple(anatomy.landmark(Target(Condition.FORAMINAL, level, side)).tolist())
        for level in Level
        for side in Side
    }
    return Landmarks(discs, canals, foramina)


def shares(anatomy: Anatomy, plane: SlicePlane, shape: tuple[int, int]) -> dict[Structure, Array]:
    """The share of each structure in the pixels of a plane."""
    dy, dx = plane.spacing
    corner = plane.to_patient([-0.5 + 0.5 / FINE, -0.5 + 0.5 / FINE])
    x, y, z = corner.tolist()
    fine = SlicePlane((x, y, z), plane.row, plane.column, (dy / FINE, dx / FINE))
    size = (shape[0] * FINE, shape[1] * FINE)
    labels = paint(anatomy, fine, size, VALUES).structures
    blocks = labels.reshape(shape[0], FINE, shape[1], FINE)
    return {s: (blocks == s).mean(axis=(1, 3)) for s in Structure}


class Oracle:
    """The axial network with the labels of a phantom."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, anatomy: Anatomy) -> None:
        self.anatomy = anatomy
        self.crops: list[AxialCrop] = []
        around = AxialCrop.around

        def seen(volume: Volume, z: int, centre: Array) -> AxialCrop:
            self.crops.append(around(volume, z, centre))
            return self.crops[-1]

        monkeypatch.setattr(AxialCrop, "around", seen)

    def __call__(self, images: NDArray[np.float32], /) -> Mapping[str, NDArray[np.float32]]:
        crops, self.crops = self.crops[-len(images) :], []
        structures, recesses = [], []
        for crop in crops:
            plane = plane_of(crop.to_patient([[0, 0], [1, 0], [0, 1]]))
            found = shares(self.anatomy, plane, (128, 128))
            found[Structure.BODY] = found[Structure.BODY] + found[Structure.SACRUM]
            structures.append(np.log(np.maximum([found[s] for s in AXIAL_STRUCTURES], 1e-4)))
            recesses.append([self.heat(crop, side) for side in Side])
        return {
            "structures": np.array(structures, np.float32),
            "recesses": np.array(recesses, np.float32),
        }

    def heat(self, crop: AxialCrop, side: Side) -> Array:
        marks = [
            self.anatomy.landmark(Target(Condition.SUBARTICULAR, level, side)) for level in Level
        ]
        normal = crop.volume.slices[crop.z].plane
        place = min(marks, key=lambda mark: abs(normal.from_patient(mark)[2]))
        x, y = (crop.from_patient([place])[0] - 0.5) / 2
        rows, columns = np.indices((64, 64))
        heat = np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / (2.5 / 1.5) ** 2)
        heat = np.clip(heat, 1e-5, 1 - 1e-5)
        return np.log(heat / (1 - heat))


def axial_series(anatomy: Anatomy) -> Volume:
    """A stack through every disc, along it."""
    slices = []
    for group, (level, index) in enumerate(LEVEL_CELL.items()):
        frame = anatomy.bodies[index].frame + anatomy.bodies[index + 1].frame
        frame /= np.linalg.norm(frame, axis=1)[:, None]
        axes = np.column_stack([frame[0], frame[1], np.cross(frame[0], frame[1])])
        middle = anatomy.landmark(Target(Condition.CANAL, level))
        first = 1 + 3 * group
        slices += make_stack(
            axes, middle, 3, 4.0, shape=(180, 180), spacing=(0.9, 0.9), group=group, first=first
        )
    return make_series(slices)


@cache
def sagittal(seed: int) -> Measurements:
    anatomy = patient(seed)
    middle = anatomy.locate(LEVEL_CELL[Level.L3_L4], 0, 0, 0)
    slices = make_stack(SAGITTAL, middle, 17, 4.0, shape=(192, 128), spacing=(1.5, 1.5))
    field = np.ones((192, 128), bool)
    outlined = [
        Outlined(
            shares(anatomy, s.plane, s.shape),
            s.plane,
            SeriesKind.SAGITTAL_T2,
            "5",
            s.instance_number,
            field,
        )
        for s in slices
    ]
    return measure_sagittal(outlined, landmarks(anatomy))


def reading(seed: int, monkeypatch: pytest.MonkeyPatch) -> AxialReading:
    anatomy = patient(seed)
    return read_axial([axial_series(anatomy)], landmarks(anatomy), Oracle(monkeypatch, anatomy))


def whole(anatomy: Anatomy, level: Level) -> bool:
    """Whether no extrusion of the disc cuts into the sac."""
    return anatomy.cells[LEVEL_CELL[level]].hernia[0] < 1


@pytest.mark.parametrize("seed", SEEDS)
def test_sac_and_recesses_of_axial_slices(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    anatomy, found = patient(seed), reading(seed, monkeypatch)
    m = measure_axial_levels(found)
    points, _ = found.points()
    for group, (level, index) in enumerate(LEVEL_CELL.items()):
        cell = anatomy.cells[index]
        # the middle one of the three slices of the level's stack
        assert found.levels[level][0].outlined.instance_number == 2 + 3 * group
        for side in Side:
            target = Target(Condition.SUBARTICULAR, level, side)
            off = np.subtract(points[target].patient, anatomy.landmark(target))
            assert np.linalg.norm(off) < 1.5
            depth = m.found[Site(Quantity.RECESS_DEPTH, level, side)].value
            # the facet lies behind the ligament that closes the recess
            assert depth > cell.sides[side].recess_depth - 1
        if whole(anatomy, level):
            area = m.found[Site(Quantity.SAC_AREA, level)].value
            assert area == pytest.approx(cell.sac_area, rel=0.03)
            depth = m.found[Site(Quantity.SAC_DIAMETER, level)].value
            assert depth == pytest.approx(2 * cell.sac_axes[1], abs=0.6)


@pytest.mark.parametrize("seed", SEEDS)
def test_sac_foramina_and_lordosis_of_sagittal_slices(seed: int) -> None:
    anatomy, m = patient(seed), sagittal(seed)
    for level, index in LEVEL_CELL.items():
        cell = anatomy.cells[index]
        for side in Side:
            width, height = (2 * axis for axis in cell.sides[side].foramen_axes)
            tall = m.found[Site(Quantity.FORAMEN_HEIGHT, level, side)].value
            wide = m.found[Site(Quantity.FORAMEN_WIDTH, level, side)].value
            assert tall == pytest.approx(height, rel=0.15)
            assert wide == pytest.approx(width, rel=0.15)
        if whole(anatomy, level) and level is not Level.L5_S1:  # there the sac tapers
            depth = m.found[Site(Quantity.SAGITTAL_SAC_DIAMETER, level)].value
            assert depth == pytest.approx(2 * cell.sac_axes[1], abs=1.0)
    first, last = (anatomy.bodies[i].frame for i in (L1, SACRUM))
    tilts = [np.degrees(np.arctan2(-f[1] @ [0, 0, 1], f[1] @ [0, 1, 0])) for f in (first, last)]
    lordosis = m.found[Site(Quantity.LORDOSIS)].value
    # endplates are wedged and tilted against the frames of their bodies
    assert lordosis == pytest.approx(tilts[0] - tilts[1], abs=12)


@pytest.mark.parametrize("seed", SEEDS)
def test_slips_of_sagittal_slices(seed: int) -> None:
    anatomy, m = patient(seed), sagittal(seed)
    for level, index in LEVEL_CELL.items():
        upper, lower = anatomy.bodies[index], anatomy.bodies[index + 1]
        corners = (
            upper.wall - upper.frame[2] * upper.height / 2,
            lower.wall + lower.frame[2] * lower.height / 2,
        )
        back = upper.frame[1] + lower.frame[1]
        slip = (corners[1] - corners[0]) @ back / np.linalg.norm(back)
        # half of the difference of the depths counts as a slip
        depths = upper.depth * (1 - upper.taper), lower.depth
        slip -= (depths[1] - depths[0]) / 2
        assert m.found[Site(Quantity.LISTHESIS, level)].value == pytest.approx(slip, abs=0.8)
