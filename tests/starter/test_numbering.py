"""The names of discs: right on made chains with errors, and honest where they cannot be known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_discs import discs, looks

from lumbargrade.domain.outlines import SEGMENT_OF, Segment
from lumbargrade.domain.vocabulary import Level
from lumbargrade.starter import numbering
from lumbargrade.starter.numbering import Candidate, DiscNumbering, number

SEEDS = st.integers(0, 2**20)
SIZES = st.floats(0.85, 1.15)
ALL = tuple(range(Segment.T11_T12, Segment.S1_S2 + 1))


@settings(max_examples=20)
@given(SEEDS, SIZES, st.integers(-4, 4), st.integers(7, 11))
def test_a_whole_chain_is_named_and_certain(seed: int, size: float, first: int, last: int) -> None:
    found = number(discs(first, last, size=size, seed=seed))
    assert found.positions == tuple(range(first, last + 1))
    assert found.certain or last < Segment.L5_S1
    assert set(found.levels) == {v for v in Level if first <= SEGMENT_OF[v] <= last}


@settings(max_examples=20)
@given(SEEDS, st.permutations(range(8)), st.tuples(*[st.floats(-500, 500)] * 3))
def test_order_and_place_in_the_room_do_not_matter(
    seed: int, order: list[int], move: tuple[float, float, float]
) -> None:
    chain = discs(seed=seed)
    first = number(chain)
    moved = [replace(chain[i], centre=chain[i].centre + move) for i in order]
    other = number(moved)
    assert other.positions == tuple(first.positions[i] for i in order)
    assert other.confidence == pytest.approx(first.confidence, abs=1e-6)
    assert other.reason == first.reason


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 6), st.integers(-3, 3))
def test_one_wrong_look_is_outvoted(seed: int, place: int, error: int) -> None:
    chain = discs(seed=seed, sure=0.6)
    wrong = int(np.clip(ALL[place] + error, 1, 10))
    chain[place] = replace(chain[place], log_probabilities=looks(wrong, 0.999))
    assert number(chain).positions == ALL


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 6))
def test_a_missed_disc_leaves_a_gap(seed: int, place: int) -> None:
    chain = discs(seed=seed)
    del chain[place]
    found = number(chain)
    assert found.positions == ALL[:place] + ALL[place + 1 :]
    assert f"spacing: {Segment(ALL[place]).label} not found" in found.reason


@settings(max_examples=20)
@given(SEEDS, st.integers(0, 6), st.floats(0.3, 0.7), st.sampled_from([-30.0, -8, 0, 8, 30]))
def test_a_false_place_between_two_discs_is_left_out(
    seed: int, place: int, share: float, aside: float
) -> None:
    chain = discs(seed=seed)
    middle = chain[place].centre * (1 - share) + chain[place + 1].centre * share
    false = Candidate(middle + np.array([0, aside, 0]), 0.4, looks(ALL[place], 0.5))
    found = number([*chain, false])
    assert found.positions == (*ALL, None)
    assert "1 other place left out" in found.reason


@settings(max_examples=20)
@given(SEEDS, st.integers(2, 3))
def test_a_part_that_looks_one_level_too_low_is_outvoted(seed: int, count: int) -> None:
    found = number(discs(seed=seed, lower=dict.fromkeys(ALL[-count:], 1)))
    assert found.positions == ALL


@settings(max_examples=20)
@given(SEEDS, SIZES)
def test_a_field_that_ends_at_l3_gives_two_levels(seed: int, size: float) -> None:
    found = number(discs(-3, Segment.L2_L3, size=size, seed=seed))
    assert list(found.levels) == [Level.L1_L2, Level.L2_L3]
    assert found.reason.startswith("the field ends at L2/L3, counted from above")
    assert found.count_differs is None


def test_a_thoracic_field_gives_no_level() -> None:
    found = number(discs(-10, 1))
    assert not found.levels
    assert set(found.segments) == {Segment.HIGHER}


@settings(max_examples=20)
@given(SEEDS, st.integers(0, 24))
def test_places_at_random_are_no_spine(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    even = np.full(10, np.log(0.1))
    places = [Candidate(rng.uniform(-90, 90, 3), rng.uniform(0.1, 0.4), even) for _ in range(count)]
    found = number(places)
    assert found.positions == (None,) * count
    assert not found.levels
    assert not found.certain
    assert found.reason.startswith("no lumbar spine: ")


def test_discs_of_low_score_are_no_spine() -> None:
    assert number(discs(score=0.9)).levels
    assert not number(discs(score=0.03, sure=0.1, sacrum=False)).levels


def test_without_a_look_or_a_sacrum_the_numbering_is_uncertain() -> None:
    found = number(discs(Segment.L1_L2, Segment.L4_L5, sure=0.1, sacrum=False))
    assert not found.certain


def test_sacrum_against_looks_is_uncertain_and_the_other_numbering_is_the_runner_up() -> None:
    """Every disc looks one level lower than the sacrum says."""
    lower = tuple(p + 1 for p in ALL)
    uncertain = 0
    for seed in range(8):
        against = number(discs(seed=seed, lower=dict.fromkeys(ALL, 1)))
        assert against.confidence < number(discs(seed=seed)).confidence
        assert {against.positions, against.runner_up} == {ALL, lower}
        assert against.confidence + against.runner_up_probability > 0.9
        uncertain += not against.certain
    assert uncertain


def test_sacrum_seen_decides_and_is_said() -> None:
    even = discs(sure=0.1, noise=0, sacrum=True)
    assert number(even).positions == ALL
    assert number(even).reason.startswith("sacrum seen below")
    unseen = number(discs(sure=0.5, sacrum=False))
    assert unseen.reason.startswith("no clear sacrum seen below L5/S1")
    assert unseen.confidence < number(discs(sure=0.5)).confidence


def test_six_lumbar_bodies_need_t12_and_the_sacrum() -> None:
    assert number(discs(-1)).lumbar_bodies == 5
    six = dict.fromkeys(range(-1, Segment.L1_L2), 1)
    whole = number(discs(-1, lower=six))
    assert whole.positions == tuple(range(-1, 10))
    assert whole.count_differs is not None
    assert whole.count_differs > 0.3
    usual = number(discs(-1))
    assert usual.count_differs is not None
    assert usual.count_differs < 0.05
    short = number(discs(Segment.L1_L2))
    assert short.count_differs is None
    assert "counted from the sacrum" in short.reason


@settings(max_examples=20)
@given(SEEDS, st.integers(3, 7), st.floats(0.1, 0.9), st.floats(0.1, 0.9))
def test_probabilities_of_each_candidate_sum_to_one_over_all_numberings(
    seed: int, count: int, sure: float, score: float
) -> None:
    """Against all numberings of a small chain, listed one by one."""
    chain = numbering._Chain.of(discs(4, 3 + min(count, 4), seed=seed, sure=sure, score=score))
    small = chain.keep[:, :, 17:23]  # positions 2 to 7
    cut = replace(chain, keep=np.full_like(chain.keep, numbering._NEVER))
    cut.keep[:, :, 17:23] = small
    weights = {}
    n = len(chain.false)
    for places in product([None, *range(17, 23)], repeat=n):
        weights[places] = listed(cut, places)
    values = np.array(list(weights.values()))
    total = np.logaddexp.reduce(values)
    assert cut.total() == pytest.approx(total, abs=1e-6)
    marginals = cut.marginals()
    np.testing.assert_allclose(marginals.sum(axis=1), 1, atol=1e-9)
    for i in range(n):
        for place in (None, *range(17, 23)):
            share = sum(np.exp(w - total) for p, w in weights.items() if p[i] == place)
            at = -1 if place is None else place
            assert marginals[i, at] == pytest.approx(share, abs=1e-6)
    best = cut.best()
    kept = tuple(None if p is None else p - numbering.FIRST for p in best)
    assert single(cut, kept) == pytest.approx(max(single(cut, p) for p in weights), abs=1e-6)


def by_patient(chain: numbering._Chain, places: tuple[int | None, ...]) -> np.ndarray:
    weight = chain.prior.copy()
    for i, place in enumerate(places):
        weight = weight + (chain.false[i] if place is None else chain.keep[:, i, place])
    kept = [(i, p) for i, p in enumerate(places) if p is not None]
    for (i, a), (j, b) in pairwise(kept):
        if not 1 <= b - a <= numbering.LONGEST:
            return np.full_like(weight, numbering._NEVER)
        weight = weight + chain.steps[i, j][:, b - a - 1, b]
    for (h, _), (i, _), (j, _) in zip(kept, kept[1:], kept[2:], strict=False):
        weight = weight + chain.turns[h, i, j]
    return weight


def listed(chain: numbering._Chain, places: tuple[int | None, ...]) -> float:
    return float(np.logaddexp.reduce(by_patient(chain, places)))


def single(chain: numbering._Chain, places: tuple[int | None, ...]) -> float:
    return float(by_patient(chain, places).max())


@settings(max_examples=20)
@given(
    st.lists(
        st.tuples(
            st.tuples(*[st.floats(-150, 150)] * 3),
            st.floats(0, 1),
            st.lists(st.floats(-9, 0), min_size=10, max_size=10),
            st.none() | st.floats(0, 1),
        ),
        max_size=9,
    )
)
def test_whatever_is_given_no_segment_of_a_lumbar_disc_is_given_twice(
    rows: list[tuple[tuple[float, float, float], float, list[float], float | None]],
) -> None:
    found = number([Candidate(np.array(c), s, np.array(p), q) for c, s, p, q in rows])
    assert len(found.positions) == len(rows)
    assert 0 <= found.confidence <= 1
    assert 0 <= found.runner_up_probability <= 1
    for named in (found.positions, found.runner_up):
        kept = [p for p in named if p is not None]
        assert len(kept) == len(set(kept))
        heights = [c[0][2] for c, p in zip(rows, named, strict=False) if p is not None]
        pairs = sorted(zip(kept, heights, strict=True))
        assert [h for _, h in pairs] == sorted(heights, reverse=True)
    assert found.confidence + found.runner_up_probability <= 1 + 1e-9


def test_shifting_moves_all_names_and_the_result_says_so() -> None:
    found = number(discs())
    lower = found.shifted(1)
    assert lower.positions == tuple(p + 1 for p in ALL)
    assert lower.levels[Level.L5_S1] == found.levels[Level.L4_L5]
    assert found.shifted(0) is found
    said = lower.summary()
    assert (said.shift, said.certain, said.limit) == (1, True, numbering.CERTAIN)
    assert said.runner_up == found.summary().runner_up != ""
    assert said.confidence == found.confidence
    assert lower.shifted(-1).positions == found.positions
    assert DiscNumbering((12, None), 0.5, (), 0.0, "").shifted(1).positions == (None, None)


def test_the_runner_up_is_said_in_words() -> None:
    def words(other: tuple[int | None, ...]) -> str:
        return DiscNumbering((4, 5, 6, None), 0.6, other, 0.3, "").summary().runner_up

    assert words((2, 3, 4, None)) == "2 levels higher"
    assert words((5, 6, 7, None)) == "one level lower"
    assert words((4, None, 6, 5)) == "L2/L3 elsewhere"
    assert words(()) == ""


def test_a_numbering_set_by_the_user_is_certain() -> None:
    unsure = DiscNumbering((4, 5), 0.3, (), 0.0, "")
    assert not unsure.certain
    assert unsure.shifted(1).certain
    assert DiscNumbering((4, 5), numbering.CERTAIN, (), 0.0, "").certain


def test_more_places_than_can_be_weighed_are_left_out_by_score() -> None:
    rng = np.random.default_rng(0)
    extra = [
        Candidate(rng.uniform(-200, 200, 3), 0.05, np.full(10, np.log(0.1))) for _ in range(40)
    ]
    found = number([*extra, *discs()])
    assert found.positions == (*(None,) * 40, *ALL)
