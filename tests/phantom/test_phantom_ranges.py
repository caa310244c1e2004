"""The table of ranges: every row has a reason and is drawn, and draws stay in their bounds."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lumbargrade.phantom
from lumbargrade.phantom.ranges import Draws, Range, ranges

PARTS = ("anatomy", "image")
ROWS = [(part, name) for part in PARTS for name in ranges(part)]


def _trees() -> list[ast.Module]:
    folder = Path(lumbargrade.phantom.__file__).parent
    return [ast.parse(path.read_text("utf-8")) for path in sorted(folder.glob("*.py"))]


def _calls(method: str) -> set[str]:
    """Names that are drawn by a method, where the name is written in the call."""
    return {
        node.args[0].value
        for tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == method
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }


@pytest.mark.parametrize(("part", "name"), ROWS)
def test_a_row_is_complete(part, name):
    row = ranges(part)[name]
    assert len(row.reason) > 10
    if row.chance is not None:
        assert 0 < row.chance < 1
    else:
        assert row.low < row.high
        assert (row.mean is None) == (row.spread is None)
    if row.mean is not None and row.spread is not None:
        assert row.low < row.mean < row.high
        assert row.spread > 0


def test_every_row_is_used():
    written = {
        node.value
        for tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert [name for _, name in ROWS if name not in written] == []


def test_every_name_that_is_drawn_is_a_row_of_its_kind():
    table = {name: row for part in PARTS for name, row in ranges(part).items()}
    numbers, events = _calls("number"), _calls("happens")
    assert len(numbers) > 50
    assert len(events) > 10
    assert {n for n in numbers if n not in table or table[n].chance is not None} == set()
    assert {n for n in events if n not in table or table[n].chance is None} == set()


@given(
    st.integers(0, 2**32),
    st.floats(-50, 50),
    st.floats(0.1, 50),
    st.floats(0, 1),
    st.none() | st.floats(0.1, 100),
)
def test_draws_stay_in_their_bounds(seed, low, width, place, spread):
    mean = None if spread is None else low + place * width
    row = Range("why", low, low + width, mean, spread)
    rng = np.random.default_rng(seed)
    assert all(low <= row.draw(rng) <= low + width for _ in range(20))


def test_events_are_as_common_as_their_chance():
    rng = np.random.default_rng(0)
    row = Range("why", chance=0.2)
    assert np.mean([row.happens(rng) for _ in range(2000)]) == pytest.approx(0.2, abs=0.04)


def test_an_event_is_no_number_and_a_number_no_event():
    draws = Draws(np.random.default_rng(0), "anatomy")
    with pytest.raises(ValueError, match="chance"):
        draws.number("scoliosis")
    with pytest.raises(ValueError, match="range"):
        draws.happens("size")
