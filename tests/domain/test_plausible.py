"""Points of real-looking spines are never refused; each broken rule is told of its own levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lumbargrade.domain.plausible import Verdict, judge
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Level, Side, Target
from lumbargrade.domain.volume import Volume
from made_spines import T1, T2, VOLUMES, Points, axial, places, rotation, sagittal, spine

LEVELS = list(Level)


def between(low: float, high: float, count: int) -> st.SearchStrategy[tuple[float, ...]]:
    return st.tuples(*[st.floats(low, high)] * count)


@settings(max_examples=150, deadline=None)
@given(
    size=st.floats(22.0, 42.0),
    uneven=between(0.85, 1.15, 4),
    bends=between(-12.0, 12.0, 4),
    lordosis=st.floats(0.0, 1.0),
    curve=between(-12.0, 12.0, 4),
    apart=st.floats(22.0, 55.0),
    angles=between(-20.0, 20.0, 3),
    jitter=st.integers(0, 2**32 - 1),
)
@example(  # a small spine whose last vertebra is tilted
    size=22.0, uneven=(1.0, 1.0, 1.0, 0.875), bends=(0.0,) * 4, lordosis=0.0,
    curve=(0.0, 0.0, 0.0, -12.0), apart=46.0, angles=(0.0, 0.0, 0.0), jitter=1_424_655_668,
)  # fmt: skip
def test_a_plausible_spine_is_never_refused(
    size, uneven, bends, lordosis, curve, apart, angles, jitter
) -> None:
    turn = rotation(angles)
    steps = tuple(size * u for u in uneven)
    bent = tuple(b + lordosis * e for b, e in zip(bends, (-10, -3, 8, 24), strict=True))
    rng = np.random.default_rng(jitter)
    points = spine(steps, bent, curve, apart, turn)
    points = {t: p + rng.uniform(-0.04, 0.04, 3) * size for t, p in points.items()}
    assert judge(places(points), VOLUMES) == Verdict()


def of_levels(*levels: Level, condition: Condition | None = None) -> set[Target]:
    return {t for t in FINDINGS if t.level in levels and condition in (None, t.condition)}


def moved(target: Target, by: tuple[float, float, float]) -> Callable[[Points], Points]:
    return lambda points: {**points, target: points[target] + np.array(by)}


def exchanged(level: Level, condition: Condition) -> Callable[[Points], Points]:
    left, right = (Target(condition, level, side) for side in Side)
    return lambda p: {**p, left: p[right], right: p[left]}


def at(target: Target, other: Target) -> Callable[[Points], Points]:
    return lambda points: {**points, target: points[other] + np.array([0.0, 0.5, 0.5])}


CANAL = [Target(Condition.CANAL, level) for level in LEVELS]
LEFT = [Target(Condition.FORAMINAL, level, Side.LEFT) for level in LEVELS]
RECESS = Target(Condition.SUBARTICULAR, Level.L3_L4, Side.RIGHT)

RULES = {
    "twice_the_same_disc": (at(CANAL[4], CANAL[3]), of_levels(Level.L5_S1), "not in order"),
    "a_level_too_low": (moved(CANAL[4], (0, 15, -45)), of_levels(Level.L5_S1), "per level apart"),
    "out_of_order": (moved(CANAL[2], (0, 0, -80)), of_levels(Level.L3_L4), "are not in order"),
    "sideways": (moved(CANAL[4], (30, 0, 0)), of_levels(Level.L5_S1), "mm sideways"),
    "behind_the_curve": (moved(CANAL[1], (0, 45, 0)), of_levels(Level.L2_L3), "smooth curve"),
    "foramen_at_another_level": (moved(LEFT[4], (0, 0, -30)), {LEFT[4]}, "unevenly spaced"),
    "foramen_higher_than_the_canal": (
        lambda p: moved(LEFT[0], (0, 0, 11))(moved(CANAL[0], (0, 0, -11))(p)),
        of_levels(Level.L1_L2),
        "apart in height",
    ),
    "foramen_higher_and_hardly_less_even_than_the_canal": (
        lambda p: moved(LEFT[0], (0, 0, 12))(moved(CANAL[0], (0, 0, -10))(p)),
        of_levels(Level.L1_L2),
        "apart in height",
    ),
    "recess_at_another_height": (
        lambda p: moved(RECESS, (0, 0, 11))(moved(CANAL[2], (0, 0, -11))(p)),
        {RECESS},
        "apart in height",
    ),
    "sides_exchanged": (
        exchanged(Level.L2_L3, Condition.SUBARTICULAR),
        of_levels(Level.L2_L3, condition=Condition.SUBARTICULAR),
        "16 mm to the right of the right one",
    ),
    "foramina_too_near": (
        lambda p: {**p, **{t: p[t] * [0.2, 1, 1] for t in of_levels(Level.L4_L5)}},
        of_levels(Level.L4_L5, condition=Condition.FORAMINAL), "only 7 mm apart",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_a_broken_rule_is_told_of_the_levels_concerned(name: str) -> None:
    broken, expected, words = RULES[name]
    verdict = judge(places(broken(spine())), VOLUMES)
    assert not verdict.refused
    assert set(verdict.absent) == expected
    assert all(words in why for why in verdict.absent.values()), verdict.absent
    ends = {t.level for t in expected if of_levels(t.level) == expected} & {LEVELS[0], LEVELS[-1]}
    assert [f"{end.label} was not found" in note for end in ends for note in verdict.notes] == (
        [True] * len(ends)
    )
    assert bool(verdict.notes) == bool(ends)


def turned_quarter(points: Points) -> Points:
    return {t: rotation((90, 0, 0)) @ p for t, p in points.items()}


def upside_down(points: Points) -> Points:
    return {t: p * [1, 1, -1] for t, p in points.items()}


def another_numbering(points: Points) -> Points:
    """All foramina a level above the canal points of their names, in an even row."""
    return {
        t: p + np.array([0, 0, 31.0 * (t.condition is Condition.FORAMINAL)])
        for t, p in points.items()
    }


def anywhere(points: Points) -> Points:
    rng = np.random.default_rng(4)
    return {t: rng.uniform(-90, 90, 3) * [0.4, 1, 1] for t in points}


@pytest.mark.parametrize("change", [turned_quarter, upside_down, another_numbering, anywhere])
def test_points_of_no_spine_refuse_the_study(change: Callable[[Points], Points]) -> None:
    verdict = judge(places(change(spine())), VOLUMES)
    assert verdict.refused.startswith("the points found are not those of a lumbar spine: ")


@pytest.mark.parametrize(("count", "refused"), [(4, False), (5, True)])
def test_a_study_is_refused_if_most_of_its_points_are_blamed(count: int, refused: bool) -> None:
    points = spine(apart=16.0)  # little enough that exchanged points stay in their curve
    for level in LEVELS[:count]:
        points = exchanged(level, Condition.FORAMINAL)(points)
    verdict = judge(places(points), VOLUMES)
    assert bool(verdict.refused) == refused
    kept = set() if refused else of_levels(*LEVELS[:count], condition=Condition.FORAMINAL)
    assert set(verdict.absent) == kept


def test_of_two_views_that_disagree_the_uneven_one_is_blamed() -> None:
    points = spine()
    assert not judge(places(points), VOLUMES).absent
    for target, by in zip(LEFT, (25, 29, 32, 2, 0), strict=True):
        points[target] = points[target] + np.array([0.0, 0, by])
    verdict = judge(places(points), VOLUMES)
    assert not verdict.refused
    assert set(verdict.absent) == set(LEFT[:3])


def test_views_of_different_spaces_are_not_compared() -> None:
    volumes = tuple(
        replace(v, frame_of_reference=f)
        for v, f in zip(VOLUMES, ("1.2", "1.3", "1.3"), strict=True)
    )
    assert judge(places(another_numbering(spine()), volumes), volumes) == Verdict()


def test_foramina_alone_are_a_spine_too() -> None:
    alone = {t: p for t, p in spine().items() if t.condition is Condition.FORAMINAL}
    assert judge(places(alone), VOLUMES) == Verdict()
    off = moved(LEFT[1], (0, 0, 25))(alone)
    assert set(judge(places(off), VOLUMES).absent) == {LEFT[1]}
    assert judge(places(turned_quarter(alone)), VOLUMES).refused
    level = alone[LEFT[1]] - alone[LEFT[2]]
    numbered_otherwise = {**alone, **{t: alone[t] - level for t in LEFT}}
    assert "apart in height" in judge(places(numbered_otherwise), VOLUMES).refused


def low(height: int) -> tuple[Volume, ...]:
    return sagittal(T1, height), sagittal(T2, height), axial()


@pytest.mark.parametrize(
    ("past", "absent", "note"),
    [
        (40.0, set(), ""),
        (15.0, set(), "the image ends less than 25 mm below L5/S1"),
        (3.0, {Level.L5_S1}, "L5/S1 was not found"),
        (-20.0, {Level.L5_S1}, "L5/S1 was not found"),
        (-33.0, {Level.L4_L5, Level.L5_S1}, "L5/S1 was not found"),
    ],
)
def test_levels_at_the_edge_or_beyond_are_absent_and_numbering_is_uncertain(
    past: float, absent: set[Level], note: str
) -> None:
    """The image ends this far, mm, below L5/S1; padding below it is no image."""
    points = spine()
    volumes = low(round(150 - points[CANAL[4]][2] + past))
    verdict = judge(places(points, volumes), volumes)
    assert not verdict.refused
    assert set(verdict.absent) == of_levels(*absent)
    words = [f"the numbering of the levels is uncertain: {note}"] if note else []
    assert list(verdict.notes) == words
    for target, why in verdict.absent.items():
        assert why.startswith(target.level.label)
        assert "outside the image" in why or "is cut off" in why


def test_without_either_end_nothing_tells_the_levels_apart() -> None:
    points = spine()
    top = points[CANAL[0]][2] + 15
    height = round(top - points[CANAL[4]][2] + 2)
    volumes = (sagittal(T1, height, top), sagittal(T2, height, top), axial())
    refused = judge(places(points, volumes), volumes).refused
    assert "the numbering of the levels is uncertain" in refused
    assert "above L1/L2" in refused
    assert "L5/S1 was not found" in refused


def test_points_without_a_place_in_the_patient_say_nothing() -> None:
    unknown: Mapping[Target, Point] = {
        t: replace(p, patient=None) for t, p in places(turned_quarter(spine())).items()
    }
    assert judge(unknown, VOLUMES) == Verdict()
    assert judge({}, VOLUMES) == Verdict()
