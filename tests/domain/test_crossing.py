"""Which slices cut a level: exact distances, whatever the stacks look like."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lumbargrade.domain.views import REACH, cut_level, spine_directions
from made_stacks import SHAPE, make_series, make_stack, turned

HEIGHT, WIDTH = SHAPE

angles = st.floats(-180, 180)
lengths = st.floats(-300, 300)
rigid = st.builds(turned, angles, angles, angles)
places = st.tuples(lengths, lengths, lengths)
spacings = st.tuples(st.floats(0.3, 2.0), st.floats(0.3, 2.0))
pixels = st.tuples(st.floats(0, WIDTH - 1), st.floats(0, HEIGHT - 1))


@given(rigid, places, spacings, pixels, st.floats(-40, 40))
def test_the_distance_to_any_plane_is_the_one_that_was_walked(axes, middle, spacing, xy, distance):
    (slice_,) = make_stack(axes, middle, 1, spacing=spacing)
    foot = slice_.plane.to_patient(xy)
    point = foot + distance * slice_.plane.normal
    cut = cut_level(point, [make_series([slice_])], reach=41)
    found = cut.stacks[0].nearest
    assert found.z == 0
    assert found.distance == pytest.approx(distance, abs=1e-7)
    assert cut.nearest == pytest.approx(abs(distance), abs=1e-7)
    assert (found.x, found.y) == pytest.approx(xy, abs=1e-6)
    np.testing.assert_allclose(slice_.plane.to_patient((found.x, found.y)), foot, atol=1e-6)


@given(rigid, places, pixels, st.integers(1, 9), st.floats(1, 8), st.floats(-1, 10), st.booleans())
def test_slices_of_a_stack_come_nearest_first_with_their_signed_distances(
    axes, middle, xy, count, gap, at, backwards
):
    slices = make_stack(axes, middle, count, gap)
    point = slices[0].plane.to_patient(xy) + at * gap * slices[0].plane.normal
    away = {s.instance_number: (at - i) * gap for i, s in enumerate(slices)}
    series = make_series(slices[::-1] if backwards else slices)
    (stack,) = cut_level(point, [series], reach=100).stacks
    assert len(stack.slices) == count
    for cut in stack.slices:
        expected = away[series.slices[cut.z].instance_number]
        assert cut.distance == pytest.approx(expected, abs=1e-6)
        assert (cut.x, cut.y) == pytest.approx(xy, abs=1e-6)
    distances = np.round([abs(cut.distance) for cut in stack.slices], 3)
    assert (np.diff(distances) >= 0).all()


@given(rigid, places, st.floats(0, 20), st.booleans())
def test_a_level_beyond_the_end_is_not_covered_and_the_distance_is_said(
    axes, middle, beyond, above
):
    assume(abs(beyond - REACH) > 1e-6)
    slices = make_stack(axes, middle, 5, 4.0)
    end = slices[-1 if above else 0].plane
    point = end.to_patient((20, 20)) + (beyond if above else -beyond) * end.normal
    cut = cut_level(point, [make_series(slices)])
    assert cut.covered == (beyond < REACH)
    assert cut.nearest == pytest.approx(beyond, abs=1e-6)
    if not cut.covered:
        assert str(cut) == f"not covered: the nearest slice is {cut.nearest:.1f} mm away"


def test_a_point_beside_the_image_is_seen_by_no_slice():
    series = make_series(make_stack(shape=(60, 50)))
    for x, y, seen in ((24.9, 0, True), (25.1, 0, False), (0, -29.9, True), (0, -30.1, False)):
        cut = cut_level((x, y, 1.0), [series])
        assert cut.covered == seen
        if not seen:
            assert cut.nearest is None
            assert str(cut) == "not covered: no slice has the level in its field of view"


def test_padding_is_no_image():
    """A slice smaller than its volume shows nothing where the volume is padded."""
    small = make_stack(shape=(20, 20), count=1)
    large = make_stack(middle=(0, 0, 30), shape=(60, 60), count=1, first=2)
    series = make_series([*small, *large])
    assert not cut_level((15.0, 0.0, 0.0), [series]).covered
    assert cut_level((5.0, 0.0, 0.0), [series]).covered


def spine(tilts=(20, 10, 0, -10, -25)):
    """Five discs down a curved spine: centres and the rotation of each."""
    centres = np.array([[0.0, 5 * np.cos(i), -35.0 * i] for i in range(5)])
    return centres, [turned(x=t) for t in tilts]


def test_a_stack_for_each_disc_is_found_level_by_level():
    centres, tilts = spine()
    slices = [
        s
        for g, (c, t) in enumerate(zip(centres, tilts, strict=True))
        for s in make_stack(t, c, 3, group=g, first=10 * g)
    ]
    series = make_series(slices)
    directions = spine_directions(centres)
    for level, centre in enumerate(centres):
        cut = cut_level(centre, [series], along=directions[level])
        best = cut.stacks[0]
        assert (best.group, best.nearest.z) == (level, 3 * level + 1)
        assert best.nearest.distance == pytest.approx(0, abs=1e-9)
        assert str(cut) == f"series 1, slice {3 * level + 1} at 0.0 mm"


def test_one_long_stack_and_a_short_one_are_told_apart():
    centres, _ = spine()
    long = make_series(make_stack(middle=(0, 0, -70), count=41))
    short = make_series(make_stack(middle=(0, 0, -105), count=25), "2")
    assert all(cut_level(c, [long]).covered for c in centres)
    covered = [cut_level(c, [short]) for c in centres]
    assert [c.covered for c in covered] == [False, False, True, True, True]
    top = -105 + 12 * 4.0
    assert [c.nearest for c in covered[:2]] == [pytest.approx(0 - top), pytest.approx(-35 - top)]


def test_several_series_share_the_levels_and_the_nearer_is_the_better():
    upper = make_series(make_stack(middle=(0, 0, 10.0), count=5), "upper")
    lower = make_series(make_stack(middle=(0, 0, -11.0), count=5), "lower")
    for z, names in ((10.0, ["upper"]), (-12.0, ["lower"]), (0.4, ["upper", "lower"])):
        cut = cut_level((0, 0, z), [lower, upper])
        assert [s.series_id for s in cut.stacks] == names
    cut = cut_level((0, 0, 0.4), [lower, upper])
    assert [s.nearest.distance for s in cut.stacks] == pytest.approx([-1.6, 3.4])
    assert cut.nearest == pytest.approx(1.6)


def test_of_overlapping_stacks_the_one_across_the_spine_is_taken_unless_it_is_much_farther():
    flat = make_stack(count=1, middle=(0, 0, 0.6))
    askew = make_stack(turned(x=30), count=1, group=1)
    series = make_series([*askew, *flat])
    down = (0, 0, -1)
    assert [s.group for s in cut_level((0, 0, 0), [series], along=down).stacks] == [0, 1]
    assert [s.group for s in cut_level((0, 0, 0), [series]).stacks] == [1, 0]
    unknown = (np.nan, np.nan, np.nan)
    assert [s.group for s in cut_level((0, 0, 0), [series], along=unknown).stacks] == [1, 0]
    far = make_series([*askew, *make_stack(count=1, middle=(0, 0, 5.0))])
    assert [s.group for s in cut_level((0, 0, 0), [far], along=down).stacks] == [1, 0]


def test_a_point_that_is_nowhere_is_an_error():
    with pytest.raises(ValueError, match="must be finite"):
        cut_level((0, np.nan, 0), [make_series(make_stack())])


@given(places, st.lists(st.floats(1, 50), min_size=4, max_size=4), st.sets(st.integers(0, 4)))
def test_the_spine_goes_from_the_neighbour_above_to_the_one_below(start, steps, missing):
    down = np.array([0.0, 0.6, -0.8])
    points = np.asarray(start) + np.cumsum([0, *steps])[:, None] * down
    points[list(missing)] = np.nan
    directions = spine_directions(points)
    if len(missing) > 3:
        assert np.isnan(directions).all()
    else:
        np.testing.assert_allclose(directions, np.tile(down, (5, 1)), atol=1e-9)


def test_a_bent_spine_turns_from_level_to_level():
    points = np.array([[0, 0, 0], [0, 0, -10], [0, 10, -10], [0, 20, -10], [0, 20, -20]], float)
    directions = spine_directions(points)
    np.testing.assert_allclose(directions[0], (0, 0, -1))
    np.testing.assert_allclose(directions[1], np.array([0, 1, -1]) / np.sqrt(2))
    np.testing.assert_allclose(directions[2], (0, 1, 0))
    np.testing.assert_allclose(directions[4], (0, 0, -1))
