"""Training items: which slices a network sees together, and batches of images of several sizes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import fake_phantoms
from lumbargrade.config import StreamConfig
from lumbargrade.domain.outlines import AXIAL_MM, SAGITTAL_MM, Mark
from lumbargrade.starter.grid import flatten
from lumbargrade.training.phantom_items import Items, item_maker, joined, phantom_loader


def items(number: int, **settings: Any) -> Items:
    return item_maker("starter_sagittal", fake_phantoms, StreamConfig(**settings))(3, number)


def shown(number: int, **settings: Any) -> list[list[int]]:
    """The slices in the channels of each item."""
    sample = fake_phantoms.sagittal_sample(3, number)
    flat = [flatten(image, SAGITTAL_MM) for image in sample.images]
    channels = items(number, **settings).images.numpy()
    return [
        [next(k for k, f in enumerate(flat) if np.array_equal(f, c)) for c in item]
        for item in channels
    ]


@pytest.mark.parametrize("number", range(4))
def test_inner_slices_come_before_those_at_the_ends(number: int) -> None:
    three = shown(number, slices=3, single_slice=0.0)
    assert sorted(three) == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    everything = shown(number, slices=9, single_slice=0.0)
    assert everything[:3] == three
    assert sorted(everything[3:]) == [[0, 0, 1], [3, 4, 4]]


def test_a_share_of_the_series_is_shown_as_single_slices() -> None:
    def single(share: float) -> list[bool]:
        return [len(set(shown(n, slices=1, single_slice=share)[0])) == 1 for n in range(60)]

    assert all(single(1.0))
    assert not any(single(0.0))
    assert 5 < sum(single(0.3)) < 31


def test_labels_belong_to_the_middle_channel() -> None:
    sample = fake_phantoms.sagittal_sample(3, 0)
    made = items(0, slices=3, single_slice=0.0)
    middles = [middle for _, middle, _ in shown(0, slices=3, single_slice=0.0)]
    assert np.array_equal(made.structures, sample.structures[middles])
    assert np.array_equal(made.heat, sample.marks[middles])
    assert made.segments is not None
    assert np.array_equal(made.segments, sample.segments[middles][:, 2::4, 2::4])


def test_evaluation_uses_one_inner_slice_with_its_neighbours() -> None:
    make = item_maker("starter_sagittal", fake_phantoms, None)
    assert all(len(make(3, n).images) == 1 for n in range(5))
    assert all(len(torch.unique(make(3, n).images[0], dim=0)) == 3 for n in range(5))


def test_an_axial_item_is_one_flat_image() -> None:
    made = item_maker("starter_axial", fake_phantoms, StreamConfig())(3, 0)
    sample = fake_phantoms.axial_sample(3, 0)
    assert np.array_equal(made.images[0, 0], flatten(sample.image, AXIAL_MM))
    assert np.array_equal(made.heat[0], sample.recesses)
    assert made.segments is None


def test_smaller_images_get_black_at_the_bottom_and_right() -> None:
    def made(height: int, width: int) -> Items:
        return Items(
            torch.ones(1, 3, height, width),
            torch.full((1, height, width), 255, dtype=torch.uint8),
            torch.ones(1, 4, height // 2, width // 2),
            torch.ones(1, height // 4, width // 4, dtype=torch.uint8),
        )

    batch = joined([made(64, 96), made(96, 72)])
    assert batch.images.shape == (2, 3, 96, 96)
    assert batch.segments is not None
    for tensor, stride in ((batch.images, 1), (batch.heat, 2), (batch.segments, 4)):
        first, second = tensor[0].float(), tensor[1].float()
        assert first[..., : 64 // stride, :].min() == 1
        assert first[..., 64 // stride :, :].max() == 0
        assert second[..., : 72 // stride].min() == 1
        assert second[..., 72 // stride :].max() == 0
    assert batch.structures[0, 64:].max() == 0
    assert batch.structures[0, :64].min() == 255


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_hold_their_numbers_in_order(workers: int) -> None:
    make = item_maker("starter_sagittal", fake_phantoms, StreamConfig())
    batches = [range(2), range(2, 4), range(4, 6)]
    for numbers, batch in zip(batches, phantom_loader(make, 3, batches, workers), strict=True):
        expected = joined([make(3, n) for n in numbers])
        assert torch.equal(batch.images, expected.images)
        assert torch.equal(batch.heat, expected.heat)


def test_the_fake_has_the_shape_of_the_stream() -> None:
    from lumbargrade.phantom import stream

    for name in ("sagittal_sample", "axial_sample"):
        real, fake = getattr(stream, name)(1, 0), getattr(fake_phantoms, name)(1, 0)
        assert isinstance(fake, SimpleNamespace)
        for part, array in vars(fake).items():
            assert getattr(real, part).dtype == array.dtype
            assert getattr(real, part).ndim == array.ndim
    assert fake_phantoms.sagittal_sample(1, 0).marks.shape[1] == len(Mark)
    assert isinstance(stream.STREAM_VERSION, int)
