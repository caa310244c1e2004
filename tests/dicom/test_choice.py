"""Which series of a kind is graded, and why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.dicom.choice import Candidate, choose
from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume, VolumeSlice

T1, T2, AXIAL = SeriesKind
SMOOTH = np.tile(np.linspace(0, 255, 30).astype(np.uint8), (40, 1))


def sagittal(
    name="a", kind=T2, *, count=15, gap=4.4, pixel=0.6, height=260.0, top=130.0, frame="f"
):
    """A series whose images are ``height`` mm high; slices go from left to right."""
    shape = (round(height / pixel), 30)
    slices = tuple(
        VolumeSlice(
            z,
            SlicePlane((gap * (count / 2 - z), -40.0, top), (0, 1, 0), (0, 0, -1), (pixel, pixel)),
            0,
            shape,
        )
        for z in range(count)
    )
    pixels = np.broadcast_to(np.resize(SMOOTH, shape), (count, *shape))
    return Volume(pixels, slices, "study", name, kind, frame)


def axial(name="x", *, first=60.0, count=20, gap=4.0, tilt=0.0, pixel=0.6, frame="f"):
    """A stack of axial slices from ``first`` mm down, tilted by an angle in degrees."""
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    slices = tuple(
        VolumeSlice(
            z,
            SlicePlane((-9.0, -9.0, first - gap * z), (1, 0, 0), (0, c, s), (pixel, pixel)),
            0,
            (30, 30),
        )
        for z in range(count)
    )
    return Volume(
        np.broadcast_to(SMOOTH[:30], (count, 30, 30)), slices, "study", name, AXIAL, frame
    )


def chosen(*candidates):
    return {name for name, (ok, _) in choose(candidates).items() if ok}


def reason(name, *candidates):
    return choose(candidates)[name][1]


GOOD = Candidate(sagittal("good"), "5", "T2 SAG")
WORSE = {
    "covers 120 mm from head to feet": Candidate(sagittal("bad", height=120.0)),
    "covers 31 mm from left to right": Candidate(sagittal("bad", count=7)),
    "has fat suppression": Candidate(sagittal("bad"), fat_suppressed=True),
    "has slices 6.5 mm apart": Candidate(sagittal("bad", gap=6.5)),
    "has pixels of 1.00 mm": Candidate(sagittal("bad", pixel=1.0)),
    "shares a patient space with no other series": Candidate(sagittal("bad", frame="other")),
}


@pytest.mark.parametrize("why", WORSE)
def test_a_series_that_is_worse_is_not_used_and_the_reason_is_told(why):
    bad, partners = (
        WORSE[why],
        [Candidate(sagittal("t1", T1)), Candidate(sagittal("t0", T1, frame="f"))],
    )
    decided = choose([bad, GOOD, *partners])
    assert decided["good"][0]
    assert not decided["bad"][0]
    assert decided["bad"][1].startswith(why)
    assert "5 (T2 SAG)" in decided["bad"][1]
    assert decided["good"][1].startswith("the best of 2: ")


def test_a_noisy_repeat_is_not_used():
    rng = np.random.default_rng(0)
    clean = sagittal("clean")
    noisy = np.clip(clean.pixels + rng.normal(0, 20, clean.pixels.shape), 0, 255).astype(np.uint8)
    repeat = Candidate(replace(clean, pixels=noisy, series_id="noisy"), "9")
    assert chosen(repeat, Candidate(clean, "3")) == {"clean"}
    assert repeat.noise == pytest.approx(20 / 255, rel=0.2)


def test_coverage_has_priority_over_fat_suppression_and_fat_over_resolution():
    whole = Candidate(sagittal("whole"), fat_suppressed=True)
    low = Candidate(sagittal("low", height=120.0))
    assert chosen(whole, low) == {"whole"}
    coarse = Candidate(sagittal("coarse", pixel=1.0))
    assert chosen(whole, coarse) == {"coarse"}


def test_of_equal_series_the_later_one_is_used():
    first, second = Candidate(sagittal("b"), "9"), Candidate(sagittal("a"), "10")
    assert chosen(first, second) == {"a"}
    assert reason("b", first, second) == "no better than 10"
    assert reason("a", first, second) == "the best of 2: the last one made"


def test_another_part_of_the_spine_is_used_too():
    lumbar, thoracic = Candidate(sagittal("l")), Candidate(sagittal("t", top=350.0))
    assert chosen(lumbar, thoracic) == {"l", "t"}
    assert chosen(lumbar, Candidate(sagittal("t", top=450.0, frame="elsewhere"))) != {"l", "t"}
    assert chosen(lumbar, Candidate(sagittal("t", top=160.0))) != {"l", "t"}


def test_axial_stacks_are_joined_and_only_repeats_are_left_out():
    block = Candidate(axial("block", count=30))
    discs = [
        Candidate(axial(f"disc{i}", first=60.0 - 30 * i, count=3, tilt=12.0)) for i in range(3)
    ]
    assert chosen(block, *discs) == {"block", "disc0", "disc1", "disc2"}
    upper, lower = Candidate(axial("upper")), Candidate(axial("lower", first=-30.0))
    assert chosen(upper, lower) == {"upper", "lower"}
    dark = Candidate(axial("dark", count=30), "9", fat_suppressed=True)
    assert chosen(block, dark) == {"block"}
    assert reason("dark", block, dark) == "has fat suppression; block has no fat suppression"
    assert chosen(upper, dark) == {"upper", "dark"}


def test_requested_series_are_used_and_no_others_of_their_kind():
    asked = Candidate(sagittal("asked", height=120.0), requested=True)
    t1 = Candidate(sagittal("t1", T1))
    assert chosen(asked, GOOD, t1) == {"asked", "t1"}
    assert reason("good", asked, GOOD) == "not requested"


ANY = st.builds(
    lambda kind, dark, **values: (sagittal(kind=kind, **values), dark),
    kind=st.sampled_from([T1, T2]),
    dark=st.booleans(),
    count=st.integers(2, 20),
    gap=st.floats(1, 8),
    pixel=st.floats(0.5, 2),
    height=st.floats(30, 400),
    top=st.floats(-200, 400),
    frame=st.sampled_from(["", "f", "g"]),
)


@given(st.lists(ANY, min_size=1, max_size=5), st.randoms())
def test_every_kind_that_there_is_is_used_whatever_the_order(made, random):
    candidates = [
        Candidate(replace(volume, series_id=str(i)), str(i), fat_suppressed=dark)
        for i, (volume, dark) in enumerate(made)
    ]
    decided = choose(candidates)
    assert decided.keys() == {c.volume.series_id for c in candidates}
    assert all(why for _, why in decided.values())
    kinds = {c.volume.kind for c in candidates if decided[c.volume.series_id][0]}
    assert kinds == {c.volume.kind for c in candidates}
    shuffled = list(candidates)
    random.shuffle(shuffled)
    assert choose(shuffled) == decided
