"""Outlines, measurements and places of the report lie on the pixels of upright slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.measurement import Measurement, Quality, Quantity
from lumbargrade.domain.outlines import Structure
from lumbargrade.domain.point import Point
from lumbargrade.domain.series_outlines import SeriesOutlines
from lumbargrade.domain.upright import Turn
from lumbargrade.domain.vocabulary import FINDINGS, Level, SeriesKind
from lumbargrade.domain.volume import Volume
from lumbargrade.report.embedded import Shown, embed
from lumbargrade.report.layers import measurements_of, outlines_of, places_of, window_of
from made_series import make_volume

T2 = SeriesKind.SAGITTAL_T2


def volume() -> Volume:
    return replace(make_volume(depth=4, height=60, width=50), kind=T2)


def stored(own: Volume, turn: Turn, *, backwards: bool) -> Volume:
    """The same series, stored with turned pixels, and in the other order of slices."""
    slices = tuple(
        replace(s, plane=turn.plane(s.plane, s.shape), shape=turn.shape(s.shape))
        for s in own.slices
    )
    step = -1 if backwards else 1
    return replace(own, pixels=turn.pixels(own.pixels)[::step], slices=slices[::step])


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("turn", [Turn(True), Turn(columns=True), Turn(True, False, True)])
def test_everything_is_drawn_where_it_is_however_the_series_is_stored(
    turn: Turn, backwards: bool
) -> None:
    plain = volume()
    other = stored(plain, turn, backwards=backwards)
    a, b = Shown.of(plain), Shown.of(other)
    assert np.array_equal(a.volume.pixels, b.volume.pixels)
    lps = plain.to_patient([(12.0, 33.0, 1.0), (30.0, 40.0, 1.0)])
    voxels = other.from_patient(lps)
    target = FINDINGS[0]
    point = Point(target, other.series_id, -1, tuple(voxels[0]), tuple(lps[0]))
    found = Finding(target, (0.1, 0.2, 0.7), point)
    place = places_of([b], StudyPrediction("1", {target: found}))[target.column]
    assert [place["x"], place["y"], place["z"]] == pytest.approx([12, 33, 1], abs=0.01)
    line = tuple(map(tuple, lps.tolist()))
    measured = Measurement(
        Quantity.SAC_DIAMETER, Level.L3_L4, None, 9.0, T2, other.series_id, -1, line=line
    )
    (drawn,) = measurements_of(b, [measured])[1]
    assert np.allclose(drawn["line"], [(12, 33), (30, 40)], atol=0.01)


def test_an_outline_runs_around_its_pixels() -> None:
    own = volume()
    grid = np.zeros((1, 2, 20, 20), np.uint8)
    grid[0, 1, 5:11, 4:9] = 255
    grid[0, 0] = 255 - grid[0, 1]
    # grid pixels are two native pixels wide; their upper left corners coincide
    to_native = np.array([[[2.0, 0, 0.5], [0, 2, 0.5], [0, 0, 1]]])
    outlines = SeriesOutlines(
        own.series_id, (Structure.OTHER, Structure.SAC), np.array([2]), grid, to_native
    )
    ((name, flat),) = outlines_of(Shown.of(own), [outlines])[2]
    corners = np.array(flat).reshape(-1, 2) / 4
    assert name == "sac"
    # columns 4 to 8 of the grid are columns 8 to 17, rows 5 to 10 are rows 10 to 21
    assert corners.min(axis=0) == pytest.approx([8, 10], abs=1)
    assert corners.max(axis=0) == pytest.approx([17, 21], abs=1)
    assert outlines_of(Shown.of(own), [replace(outlines, series_id="other")]) == {}


def test_doubtful_measurements_and_those_without_a_line() -> None:
    own = volume()
    line = tuple(map(tuple, own.to_patient([(5.0, 5, 2), (9, 9, 2)]).tolist()))
    doubtful = {"quality": Quality.DOUBTFUL, "remark": "cut"}
    plain = Measurement(Quantity.DISC_HEIGHT_BACK, Level.L1_L2, None, 7.26, T2, own.series_id, 3)
    found = measurements_of(Shown.of(own), [plain, replace(plain, line=line, **doubtful)])
    assert list(found) == [2]
    (one,) = found[2]
    assert (one["disc"], one["doubtful"]) == (0, True)
    assert one["label"] == "disc height back 7.3 (?) mm"


def test_the_window_is_that_of_the_spine() -> None:
    own = make_volume(depth=4, height=200, width=160)
    pixels = np.full(own.pixels.shape, 250, np.uint8)
    pixels[1:, 30:170, 20:140] = np.linspace(0, 100, 120).astype(np.uint8)
    shown = Shown.of(replace(own, kind=T2, pixels=pixels))
    places = [{"x": 80.0, "y": y, "z": 2.5} for y in (70.0, 130.0)]
    centre, width = window_of(shown, places)
    assert (centre, width) == (pytest.approx(50, abs=3), pytest.approx(50, abs=4))
    assert window_of(shown, []) == (pytest.approx(125, abs=2), pytest.approx(250, abs=2))


def test_images_take_at_most_the_bytes_that_they_may() -> None:
    rng = np.random.default_rng(0)
    noise = [
        replace(volume(), pixels=rng.integers(0, 256, (4, 60, 50), np.uint8)) for _ in range(3)
    ]
    shown = [Shown.of(v) for v in noise]
    full = embed(shown)
    size = sum(map(len, full.blocks))
    assert not full.reduced
    assert [len(b.split("\n")) for b in full.blocks] == [4, 4, 4]
    less = embed(shown, size - 1)
    assert sum(map(len, less.blocks)) < size
    assert less.quality < full.quality
    kept = [sum(map(bool, embed(shown, most).blocks)) for most in range(0, size, 2000)]
    assert kept == sorted(kept)
    assert set(kept) == {0, 1, 2, 3}
