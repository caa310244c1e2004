"""The axial slice of a level, and what is measured in it, with the truth as network output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.measurement import Measurements, Quality, Quantity, Site
from lumbargrade.domain.outlines import AXIAL_STRUCTURES, SEGMENT_OF, Structure
from lumbargrade.domain.upright import Turn
from lumbargrade.domain.vocabulary import Condition, Level, SeriesKind, Side, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.starter.axial import AxialReading, read_axial
from lumbargrade.starter.bodies import Landmarks
from lumbargrade.starter.grid import AxialCrop
from lumbargrade.starter.measurements import measure_axial, measure_axial_levels
from made_outlines import drawn
from made_stacks import AXIAL, make_series, make_stack, stored, turned

Array = NDArray[np.float64]
LEVEL = Level.L3_L4
#: Middle of the sac; the disc lies in front of it, in the plane z = 0.
CANAL = np.array([4.0, 10.0, 0.0])


def beside(left: float, back: float, head: float) -> Array:
    """A point so many mm from the middle of the sac."""
    return np.asarray(np.add(CANAL, (left, back, head)))


MARKS = Landmarks({SEGMENT_OF[LEVEL]: tuple(beside(0, -25, 0))}, {LEVEL: tuple(CANAL)})
#: Half height of the disc, mm; half width and half depth of the sac, mm.
THICK, SAC = 4.0, (9.0, 6.0)
#: Where the recesses lie, LPS mm from the sac: left deep, right narrow.
RECESSES = {Side.LEFT: np.array([13.0, -4.0, 0]), Side.RIGHT: np.array([-12.0, -5.0, 0])}
#: Where the facets begin behind the back of the disc, mm.
DEPTH = {Side.LEFT: 6.0, Side.RIGHT: 2.5}
SERIES = make_series(make_stack(middle=beside(2, -3, 0), shape=(150, 160), spacing=(0.8, 0.8)))


class Oracle:
    """The axial network with the truth: a vertebral column along z, turned about the canal point.

    It looks at the crops that `read_axial` makes, because the images are black.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, turn: Array | None = None) -> None:
        self.turn = np.eye(3) if turn is None else turn
        self.crops: list[AxialCrop] = []
        self.blind = self.swapped = False
        around = AxialCrop.around

        def seen(volume: Volume, z: int, centre: Array) -> AxialCrop:
            self.crops.append(around(volume, z, centre))
            return self.crops[-1]

        monkeypatch.setattr(AxialCrop, "around", seen)

    def __call__(self, images: NDArray[np.float32], /) -> Mapping[str, NDArray[np.float32]]:
        count = len(images)
        assert images.shape == (count, 1, 128, 128)
        assert images.dtype == np.float32
        crops, self.crops = self.crops[-count:], []
        drawn_maps = [self.maps(crop) for crop in crops]
        recesses = np.stack([r for _, r in drawn_maps])
        if self.swapped:
            recesses = recesses[:, ::-1]
        if self.blind:
            recesses = recesses - 20
        structures = np.stack([s for s, _ in drawn_maps])
        return {
            "structures": structures.astype(np.float32),
            "recesses": recesses.astype(np.float32),
        }

    def local(self, lps: Array) -> Array:
        return (lps - CANAL) @ self.turn

    def maps(self, crop: AxialCrop) -> tuple[Array, Array]:
        """Logits of structures (5, 128, 128) and recesses (2, 64, 64)."""
        fine = 4
        at = (np.arange(128 * fine) + 0.5) / fine - 0.5
        pixels = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
        x, y, z = self.local(crop.to_patient(pixels)).T
        back = -8.0  # of the disc, before the middle of the sac
        front = (np.abs(x) < 24) & (np.abs(y - back + 17) < 17)
        parts = {
            Structure.BODY: front & (np.abs(z) > THICK),
            Structure.DISC: front & (np.abs(z) <= THICK),
            Structure.SAC: np.hypot(x / SAC[0], y / SAC[1]) < 1,
            Structure.FACET: ((x > 9) & (y > back + DEPTH[Side.LEFT]) & (x < 20) & (y < 12))
            | ((x < -9) & (y > back + DEPTH[Side.RIGHT]) & (x > -20) & (y < 12)),
        }
        share = {s: m.reshape(128, fine, 128, fine).mean(axis=(1, 3)) for s, m in parts.items()}
        share[Structure.OTHER] = 1 - sum(share.values())
        logits = np.log(np.maximum([share[s] for s in AXIAL_STRUCTURES], 1e-6))
        j, i = np.meshgrid(np.arange(64), np.arange(64))
        middle = np.stack([j, i], axis=-1).reshape(-1, 2) * 2 + 0.5
        places = self.local(crop.to_patient(middle))
        heat = []
        for side in Side:
            off = np.linalg.norm((places - RECESSES[side])[:, :2], axis=1)
            p = np.clip(np.exp(-0.5 * (off / 2.5) ** 2), 1e-5, 1 - 1e-5)
            heat.append(np.log(p / (1 - p)).reshape(64, 64))
        return logits, np.array(heat)

    def recess(self, side: Side, plane: SlicePlane) -> Array:
        """The recess in a slice: the column is cut where the slice passes."""
        line = self.turn @ np.array([0, 0, 1.0])
        start = CANAL + self.turn @ RECESSES[side]
        normal = plane.normal
        return start + line * ((np.asarray(plane.position) - start) @ normal / (line @ normal))


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Oracle:
    return Oracle(monkeypatch)


def measured(reading: AxialReading) -> Measurements:
    return measure_axial_levels(reading)


TRUTH = {
    Site(Quantity.SAC_AREA, LEVEL): (np.pi * SAC[0] * SAC[1], 2.0),
    Site(Quantity.SAC_DIAMETER, LEVEL): (2 * SAC[1], 0.2),
    Site(Quantity.RECESS_DEPTH, LEVEL, Side.LEFT): (DEPTH[Side.LEFT], 0.3),
    Site(Quantity.RECESS_DEPTH, LEVEL, Side.RIGHT): (DEPTH[Side.RIGHT], 0.3),
}


def test_the_slice_of_the_disc_is_chosen_and_measured(oracle: Oracle) -> None:
    reading = read_axial([SERIES], MARKS, oracle)
    (one,) = reading.levels[LEVEL]
    assert one.outlined.instance_number == 3
    assert one.distance == pytest.approx(0, abs=1e-6)
    assert (one.share, one.remark) == (pytest.approx(1, abs=0.01), "")
    points, _ = reading.points()
    for side in Side:
        target = Target(Condition.SUBARTICULAR, LEVEL, side)
        point = points[target]
        assert point.patient == pytest.approx(CANAL + RECESSES[side], abs=0.05)
        assert SERIES.to_patient(point.voxel) == pytest.approx(point.patient, abs=1e-6)
        assert (point.series_id, point.instance_number) == ("1", 3)
    m = measured(reading)
    for site, (expected, tolerance) in TRUTH.items():
        assert m.found[site].value == pytest.approx(expected, abs=tolerance), site.name
        assert m.found[site].quality is Quality.GOOD
        assert m.found[site].closed == (site.quantity is Quantity.SAC_AREA)
    line = np.array(m.found[Site(Quantity.RECESS_DEPTH, LEVEL, Side.RIGHT)].line)
    assert line[:, 0] == pytest.approx(CANAL[0] - 12, abs=0.1)
    assert line[0, 1] == pytest.approx(CANAL[1] - 8, abs=0.2)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("way", list(product((False, True), repeat=3)))
def test_the_way_a_series_is_stored_changes_nothing(
    oracle: Oracle, way: tuple[bool, bool, bool], backwards: bool
) -> None:
    other = stored(SERIES, Turn(*way), backwards=backwards)
    plain, again = (read_axial([v], MARKS, oracle) for v in (SERIES, other))
    assert again.levels[LEVEL][0].outlined.instance_number == 3
    before, after = plain.points()[0], again.points()[0]
    for target, point in before.items():
        assert after[target].patient == pytest.approx(point.patient, abs=0.02)
    values = [{s: x.value for s, x in measured(r).found.items()} for r in (plain, again)]
    assert values[1] == pytest.approx(values[0], abs=0.05)


def test_in_a_mirrored_patient_left_and_right_are_exchanged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Mirrored(Oracle):
        def local(self, lps: Array) -> Array:
            return super().local(lps) * [-1, 1, 1]

        def __call__(self, images: NDArray[np.float32], /) -> Mapping[str, NDArray[np.float32]]:
            out = dict(super().__call__(images))
            return {**out, "recesses": out["recesses"][:, ::-1]}

    plain = measured(read_axial([SERIES], MARKS, Oracle(monkeypatch)))
    other = measured(read_axial([SERIES], MARKS, Mirrored(monkeypatch)))
    for site, one in plain.found.items():
        assert other.found[site.mirror()].value == pytest.approx(one.value, abs=0.15), site.name


def test_a_turned_patient_and_a_tilted_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = turned(x=15, z=10)
    oracle = Oracle(monkeypatch, turn)
    marks = Landmarks({SEGMENT_OF[LEVEL]: tuple(CANAL + turn @ [0, -25.0, 0])}, MARKS.canals)
    series = make_series(make_stack(turn @ AXIAL, CANAL, 5, shape=(150, 160), spacing=(0.8, 0.8)))
    reading = read_axial([series], marks, oracle)
    for side in Side:
        point = reading.points()[0][Target(Condition.SUBARTICULAR, LEVEL, side)]
        assert point.patient == pytest.approx(CANAL + turn @ RECESSES[side], abs=0.1)
    for site, (expected, tolerance) in TRUTH.items():
        assert measured(reading).found[site].value == pytest.approx(expected, abs=2 * tolerance)


def test_a_slice_that_is_oblique_against_the_canal_is_doubtful(oracle: Oracle) -> None:
    slices = make_stack(turned(x=25) @ AXIAL, CANAL, 7, shape=(150, 160), spacing=(0.8, 0.8))
    series = make_series(slices)
    (one,) = read_axial([series], MARKS, oracle).levels[LEVEL]
    area = measured(AxialReading({LEVEL: (one,)}, {})).found[Site(Quantity.SAC_AREA, LEVEL)]
    assert area.quality is Quality.DOUBTFUL
    assert area.remark == "the slice is oblique by 25 degrees against the canal"
    cut = one.outlined.plane
    for side, point in one.recesses.items():
        assert point.patient == pytest.approx(oracle.recess(side, cut), abs=0.3)


def test_the_disc_decides_between_slices(monkeypatch: pytest.MonkeyPatch, oracle: Oracle) -> None:
    monkeypatch.setattr("test_axial.THICK", 1.0)
    # the landmarks lie 3 mm too high, so that the slice of the body is nearer than that of the disc
    high = Landmarks(
        {SEGMENT_OF[LEVEL]: tuple(beside(0, -25, 3))},
        {LEVEL: tuple(beside(0, 0, 3))},
    )
    (one,) = read_axial([SERIES], high, oracle).levels[LEVEL]
    assert one.outlined.instance_number == 3
    assert one.distance == pytest.approx(3)


def test_a_stack_that_shows_only_the_body_has_no_slice(oracle: Oracle) -> None:
    away = make_series(make_stack(middle=beside(0, 0, 6), count=1, shape=(150, 160)))
    reading = read_axial([away], MARKS, oracle)
    assert reading.absent[LEVEL] == "no axial slice near L3/L4 shows its disc"
    further = make_series(make_stack(middle=beside(0, 0, 11.5), count=1, shape=(150, 160)))
    reading = read_axial([further], MARKS, oracle)
    assert reading.absent[LEVEL] == "no axial slice cuts L3/L4 (the nearest is 11.5 mm away)"
    aside = make_series(make_stack(middle=beside(200, 0, 0), shape=(150, 160)))
    reading = read_axial([aside], MARKS, oracle)
    assert reading.absent[LEVEL] == "L3/L4 lies outside the axial images"
    points, absent = reading.points()
    assert not points
    assert absent[Target(Condition.SUBARTICULAR, LEVEL, Side.LEFT)] == reading.absent[LEVEL]
    site = Site(Quantity.SAC_AREA, LEVEL)
    assert measured(reading).absent[site] == "L3/L4 lies outside the axial images"


def test_without_series_or_points_levels_are_absent(oracle: Oracle) -> None:
    assert set(read_axial([], MARKS, oracle).absent.values()) == {"the study has no axial series"}
    sagittal = replace(SERIES, kind=SeriesKind.SAGITTAL_T2)
    assert read_axial([sagittal], MARKS, oracle).absent.keys() == set(Level)
    reading = read_axial([SERIES], MARKS, oracle)
    assert reading.absent[Level.L1_L2] == "no point of the canal was found at L1/L2"


def test_the_best_of_several_series_comes_first(oracle: Oracle) -> None:
    worse = make_series(make_stack(middle=beside(0, 0, 2), count=1, shape=(150, 160)), series="2")
    reading = read_axial([worse, SERIES], MARKS, oracle)
    assert [one.outlined.series_id for one in reading.levels[LEVEL]] == ["1", "2"]
    assert {p.series_id for p in reading.points()[0].values()} == {"1"}
    assert {x.series_id for x in measured(reading).found.values()} == {"1"}


def test_recesses_that_are_not_seen_or_on_the_wrong_side_are_absent(oracle: Oracle) -> None:
    oracle.blind = True
    reading = read_axial([SERIES], MARKS, oracle)
    assert not reading.points()[0]
    reason = measured(reading).absent[Site(Quantity.RECESS_DEPTH, LEVEL, Side.LEFT)]
    assert reason == "the left recess of L3/L4 was not found"
    oracle.blind, oracle.swapped = False, True
    reading = read_axial([SERIES], MARKS, oracle)
    points, absent = reading.points()
    assert not points
    assert absent[Target(Condition.SUBARTICULAR, LEVEL, Side.LEFT)] == (
        "the left recess of L3/L4 was found in an impossible place (-12 mm to the left)"
    )
    assert Site(Quantity.SAC_AREA, LEVEL) in measured(reading).found


def test_a_sac_that_is_cut_or_not_outlined_is_absent(oracle: Oracle) -> None:
    (one,) = read_axial([SERIES], MARKS, oracle).levels[LEVEL]
    area = Site(Quantity.SAC_AREA, LEVEL)
    recess = Site(Quantity.RECESS_DEPTH, LEVEL, Side.LEFT)
    at, places = one.outlined, {s: p.patient for s, p in one.recesses.items() if p.patient}

    def changed(structure: Structure, mask: Array | float, **more: object) -> Measurements:
        probabilities = {**at.probabilities, structure: at.probabilities[structure] * mask}
        changed = replace(at, probabilities=probabilities, **more)
        return measure_axial(changed, LEVEL, one.canal, places)

    assert area in changed(Structure.SAC, 1.0).found
    assert changed(Structure.SAC, 0.0).absent[area] == "the sac is not outlined at L3/L4"
    field = np.ones((128, 128), bool)
    field[:, 70:] = False
    cut = changed(Structure.SAC, 1.0, field=field)
    assert cut.absent[area] == "the sac is cut by the edge of the image at L3/L4"
    stripes = np.ones((128, 128))
    stripes[:, 58:60] = 0
    split = changed(Structure.SAC, stripes).found[area]
    assert (split.quality, split.remark) == (
        Quality.DOUBTFUL,
        "the outline of the sac is in pieces",
    )
    no_facet = changed(Structure.FACET, 0.0).absent[recess]
    assert no_facet == "disc and facet are not outlined on both sides of the recess (left L3/L4)"


def test_parts_of_pixels_count() -> None:
    """The drawing that other tests trust: a turned square has its area and its centre."""
    square = np.array([[20, 4.3], [35.7, 20], [20, 35.7], [4.3, 20]])
    image = drawn([square], (30, 30), 1.5)
    assert image.sum() * 1.5**2 == pytest.approx(2 * 15.7**2, rel=0.02)
    assert (image.sum(axis=0) @ np.arange(30)) * 1.5 / image.sum() == pytest.approx(20, abs=0.1)
