"""Values to uint8: the fast way equals the published way bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lumbargrade.dicom.scaling import Grey, Image, scaled_volume, to_uint8
from lumbargrade.domain.volume import padded


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


GREYS = (
    Grey(),
    Grey(inverse=True),
    Grey(slope=2.5, intercept=-100.25),
    Grey(slope=-0.3, intercept=1e-3),
    Grey(slope=0.1, intercept=7, inverse=True),
)


@given(
    kind=st.sampled_from([np.uint8, np.int8, np.uint16, np.int16]),
    greys=st.lists(st.sampled_from(GREYS), min_size=1, max_size=5),
    spread=st.sampled_from([0, 1, 3, 100, 30000]),
    pad=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_rescaled_values_scale_as_if_each_had_been_converted(kind, greys, spread, pad, seed):
    """Slices of one group may have different slopes."""
    rng, info = np.random.default_rng(seed), np.iinfo(kind)
    low, high = max(-spread, info.min), min(spread, info.max)
    shapes = [tuple(rng.integers(12, 30, 2)) for _ in greys]
    stored = [rng.integers(low, high, s, endpoint=True).astype(kind) for s in shapes]
    images = [Image(p, grey) for p, grey in zip(stored, greys, strict=True)]
    height, width = np.max(shapes, axis=0)
    values = [grey.of(p) for p, grey in zip(stored, greys, strict=True)]
    if pad:
        values = [padded(v, height, width) for v in values]
    expected = [padded(p, height, width) for p in published(values)]
    volume, _ = scaled_volume([images], pad_before_scaling=pad)
    np.testing.assert_array_equal(volume, expected)


def test_a_value_means_what_the_header_says():
    stored = np.array([[0, 1], [2, 3]], np.int16)
    assert Grey().of(stored) is stored
    assert Grey(2.0, -1.0).of(stored).tolist() == [[-1, 1], [3, 5]]
    assert Grey(2.0, -1.0, inverse=True).of(stored).tolist() == [[1, -1], [-3, -5]]
    assert Grey(inverse=True).of(np.array([[65535]], np.uint16)).tolist() == [[-65535]]


def test_digests_are_equal_for_duplicates_alone():
    image = np.random.default_rng(0).integers(0, 4000, (64, 48)).astype(np.uint16)

    def digest(*images):
        return scaled_volume([images], pad_before_scaling=True)[1]

    plain = digest(Image(image), Image(image[::-1]))
    assert plain == digest(*(Image(i.astype(np.int16)) for i in (image, image[::-1])))
    brighter = image.copy()
    brighter[5, 5] += 1  # in a row that is not sampled
    for other in (image[:, ::-1], image + 1, brighter):
        assert plain != digest(Image(other), Image(image[::-1]))
    assert plain != digest(Image(image[::-1]), Image(image))
    assert plain != digest(Image(image, Grey(2.0)), Image(image[::-1]))
