"""Which series share a space: by frame of reference if it can be trusted, else by the images."""

from __future__ import annotations

import pytest

from lumbargrade.domain.views import find_spaces, images_overlap
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume
from made_stacks import SAGITTAL, make_series, make_stack

T1, T2, AXIAL = SeriesKind


def study(t1: str, t2: str, axial: str, *, axial_at: float = 0.0) -> list[Volume]:
    """Three series by their frames; the axial one may lie elsewhere."""
    return [
        make_series(make_stack(SAGITTAL), "t1", T1, t1),
        make_series(make_stack(SAGITTAL), "t2", T2, t2),
        make_series(make_stack(middle=(0, 0, axial_at)), "ax", AXIAL, axial),
    ]


def test_one_frame_is_one_space():
    spaces = find_spaces(study("f", "f", "f"))
    assert set(spaces.of_series.values()) == {0}
    assert spaces.problems == ()
    assert spaces.shared("t1", "ax")


def test_one_frame_is_one_space_even_where_images_do_not_meet():
    spaces = find_spaces(study("f", "f", "f", axial_at=500))
    assert set(spaces.of_series.values()) == {0}
    assert spaces.problems == ()


def test_frames_that_are_all_different_say_nothing_and_images_that_meet_are_together():
    spaces = find_spaces(study("a", "b", "c"))
    assert set(spaces.of_series.values()) == {0}
    assert spaces.problems == ()


def test_frames_that_are_all_different_and_images_apart():
    spaces = find_spaces(study("a", "b", "c", axial_at=500))
    assert not spaces.shared("t2", "ax")
    assert spaces.shared("t1", "t2")
    (problem,) = spaces.problems
    assert (problem.study, problem.series, problem.fatal) == ("9", "ax", False)
    assert "Axial T2 lies apart in space" in problem.what


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_two_that_share_a_frame_make_the_third_a_stranger_even_where_images_meet(odd):
    frames = ["same", "same", "same"]
    frames[odd] = "other"
    volumes = study(*frames)
    assert images_overlap(volumes[0], volumes[2])
    spaces = find_spaces(volumes)
    mine, others = volumes[odd], [v for i, v in enumerate(volumes) if i != odd]
    assert spaces.shared(others[0].series_id, others[1].series_id)
    assert not any(spaces.shared(mine.series_id, v.series_id) for v in others)
    (problem,) = spaces.problems
    assert (problem.study, problem.series, problem.fatal) == ("9", mine.series_id, False)
    assert f"{mine.kind} lies in another frame of reference" in problem.what


def test_without_frames_images_decide():
    assert set(find_spaces(study("", "", "")).of_series.values()) == {0}
    spaces = find_spaces(study("", "", "", axial_at=500))
    assert not spaces.shared("t1", "ax")
    assert [p.series for p in spaces.problems] == ["ax"]


def test_a_series_without_a_frame_belongs_to_the_series_that_its_images_meet():
    volumes = [
        *study("f", "f", "", axial_at=500),
        make_series(make_stack(middle=(0, 0, 500)), "far", AXIAL, "g"),
    ]
    near = find_spaces([*study("f", "f", ""), volumes[-1]])
    assert near.shared("ax", "t2")
    assert not near.shared("ax", "far")
    spaces = find_spaces([*volumes[:2], volumes[3], volumes[2]])
    assert spaces.shared("ax", "far")
    assert not spaces.shared("ax", "t2")


def test_an_unknown_series_shares_nothing():
    spaces = find_spaces(study("f", "f", "f"))
    assert not spaces.shared("t1", "7")
    assert not spaces.shared("7", "7")


def test_a_single_series_has_a_space_and_no_problem():
    spaces = find_spaces([make_series(make_stack(), "ax", frame="")])
    assert dict(spaces.of_series) == {"ax": 0}
    assert spaces.problems == ()
    assert find_spaces([]).of_series == {}


def test_images_that_touch_meet():
    first = make_series(make_stack(count=1))
    assert images_overlap(first, make_series(make_stack(middle=(50, 0, 0), count=1)))
    assert not images_overlap(first, make_series(make_stack(middle=(50.1, 0, 0), count=1)))
