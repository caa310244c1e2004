"""Values to uint8: the fast way equals the published way bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lumbargrade.dicom.reader import to_uint8


def published(stack: list[np.ndarray]) -> list[np.ndarray]:
    """The specification, literally."""
    values = np.concatenate([s.ravel() for s in stack])
    if values.dtype.kind == "i":
        values = values.astype(np.int64)  # numpy's percentile overflows where values lie far apart
    low, high = np.percentile(values, (0.1, 99.9))
    if high <= low:
        return [np.zeros(s.shape, np.uint8) for s in stack]
    return [((np.clip(s, low, high) - low) / (high - low) * 255).astype(np.uint8) for s in stack]


@given(
    kind=st.sampled_from([np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float64]),
    shapes=st.lists(hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), min_size=1, max_size=3),
    spread=st.sampled_from([0, 1, 3, 100, 30000]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_kind_of_values_scales_as_published(kind, shapes, spread, seed):
    rng = np.random.default_rng(seed)
    low = max(-spread, np.iinfo(kind).min) if np.dtype(kind).kind in "iu" else -spread
    high = min(spread, np.iinfo(kind).max) if np.dtype(kind).kind in "iu" else spread
    stack = [rng.integers(low, high, s, endpoint=True).astype(kind) for s in shapes]
    for ours, expected in zip(to_uint8(stack), published(stack), strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_extreme_values_of_the_type_keep_their_order(kind):
    info = np.iinfo(kind)
    ramp = np.linspace(info.min, info.max, 5000).astype(kind).reshape(50, 100)
    (scaled,) = to_uint8([ramp])
    assert (np.diff(scaled.ravel().astype(int)) >= 0).all()
    assert scaled.min() == 0
    assert scaled.max() == 255


@pytest.mark.parametrize("kind", [np.int8, np.int16])
def test_signed_values_far_apart_do_not_overflow(kind):
    info = np.iinfo(kind)
    (scaled,) = to_uint8([np.array([[info.min, info.max]], kind)])
    assert scaled.tolist() == [[0, 255]]


def test_a_stack_of_one_value_is_black():
    (scaled,) = to_uint8([np.full((5, 5), 700, np.uint16)])
    assert not scaled.any()
