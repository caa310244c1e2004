"""The crop network and the second stage: mirror symmetry, and what is masked has no say."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lumbargrade.config import EncoderConfig, NetworkConfig
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.networks.crop_network import build_crop_network
from lumbargrade.networks.level_network import (
    LEVELS,
    LevelNetwork,
    LevelOutput,
    build_level_network,
    masked_softmax,
)

ENCODER = EncoderConfig("lcnet_050", pretrained=False, stages=3)
NETWORK = NetworkConfig("3d", (16, 8), features=8)
DEPTH, SIZE = 3, 32
T1, T2, AXIAL = (k.name for k in SeriesKind)
OUTPUTS = ("canal", "foraminal", "subarticular")

Crops = dict[str, Tensor]


def settled(network: nn.Module, *inputs: Any) -> nn.Module:
    """An untrained network with the statistics of its inputs: it tells one crop from another."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(*inputs)
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1 and ("heads" in name or "point" in name):
                parameter.mul_(5)
    return network.eval()


@cache
def _level_network(shared: bool) -> LevelNetwork:
    torch.manual_seed(0)
    network = build_level_network(ENCODER, replace(NETWORK, shared_encoder=shared))
    return settled(network, *random_crops(99))


def level_network(*, shared: bool = False) -> LevelNetwork:
    return deepcopy(_level_network(shared))


def random_crops(
    seed: int = 0, batch: int = 2, *, missing: float = 0.0, ends: float = 0.0
) -> tuple[Crops, Crops]:
    """Images and which slices there are, T2's right crops being the left ones back to front.

    Args:
        missing: share of crops that are not there at all.
        ends: share of crops without their first slice.
    """
    rng = torch.Generator().manual_seed(seed)
    images, valid = {}, {}
    for kind in (T1, T2, AXIAL):
        count = LEVELS if kind == T2 else 2 * LEVELS
        image = torch.randint(0, 256, (batch, count, DEPTH, SIZE, SIZE), generator=rng)
        there = torch.ones(batch, count, DEPTH, dtype=torch.bool)
        there[torch.rand(batch, count, generator=rng) < ends, 0] = False
        there[torch.rand(batch, count, generator=rng) < missing] = False
        if kind == T2:
            image = torch.cat([image, image.flip(2)], dim=1)
            there = torch.cat([there, there.flip(2)], dim=1)
        images[kind], valid[kind] = image.to(torch.uint8), there
    return images, valid


def sides_exchanged(tensor: Tensor) -> Tensor:
    return torch.cat([tensor[:, LEVELS:], tensor[:, :LEVELS]], dim=1)


def outputs(output: LevelOutput) -> dict[str, Tensor]:
    return {name: getattr(output, name) for name in OUTPUTS}


@pytest.mark.parametrize("shared", [False, True], ids=["a trunk each", "one trunk"])
@pytest.mark.parametrize(("missing", "ends"), [(0.0, 0.0), (0.4, 0.3)])
@torch.no_grad()
def test_the_mirrored_study_gives_the_findings_with_left_and_right_exchanged(shared, missing, ends):
    network = level_network(shared=shared)
    images, valid = random_crops(batch=1, missing=missing, ends=ends)
    one = network(images, valid)
    other = network(
        {k: sides_exchanged(v) for k, v in images.items()},
        {k: sides_exchanged(v) for k, v in valid.items()},
    )
    torch.testing.assert_close(other.canal, one.canal, atol=1e-5, rtol=0)
    for name in ("foraminal", "subarticular"):
        mine, theirs = getattr(one, name), getattr(other, name)
        torch.testing.assert_close(sides_exchanged(theirs), mine, atol=1e-5, rtol=0)
        assert (mine - theirs).abs().max() > 1e-2  # the sides are not alike
    assert (sides_exchanged(other.seen) == one.seen).all()
    for kind, maps in one.heatmaps.items():
        back = sides_exchanged(other.heatmaps[kind])
        torch.testing.assert_close(back, maps, atol=1e-5, rtol=0)


@torch.no_grad()
def test_outputs_are_distributions_and_heatmaps_sum_to_one_where_there_is_a_crop():
    images, valid = random_crops(missing=0.3, ends=0.3)
    output = level_network()(images, valid)
    shapes = {"canal": (2, 5, 3), "foraminal": (2, 10, 3), "subarticular": (2, 10, 3)}
    for name, log_probs in outputs(output).items():
        assert log_probs.shape == shapes[name]
        torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(shapes[name][:2]))
    for kind, maps in output.heatmaps.items():
        assert maps.shape == (2, 10, DEPTH, SIZE // 4, SIZE // 4)
        there = valid[kind].any(dim=-1)
        torch.testing.assert_close(maps.sum((2, 3, 4)), there.float())
        assert (maps[~valid[kind]] == 0).all()


@pytest.mark.parametrize("training", [False, True])
def test_what_is_masked_has_no_influence_at_all(training):
    network = level_network().train(training)
    images, valid = random_crops(missing=0.4, ends=0.4)
    valid[T1][0] = False
    changed = {k: v.clone() for k, v in images.items()}
    for kind, mask in valid.items():
        changed[kind][~mask] = 255 - changed[kind][~mask]
        assert (changed[kind] != images[kind]).any()
    found = []
    for some in (images, changed):
        torch.manual_seed(3)  # dropout
        found.append(network(some, valid))
    for name in OUTPUTS:
        assert (getattr(found[0], name) == getattr(found[1], name)).all()


@torch.no_grad()
def test_what_is_not_masked_has_a_say_in_every_view():
    network = level_network()
    images, valid = random_crops(batch=1)
    before = outputs(network(images, valid))
    for kind in images:
        changed = images | {kind: 255 - images[kind]}
        after = outputs(network(changed, valid))
        for name in OUTPUTS:
            assert (after[name] - before[name]).abs().max() > 1e-3, (kind, name)


@torch.no_grad()
def test_a_study_is_read_alike_alone_and_among_others():
    network = level_network()
    images, valid = random_crops(batch=3, missing=0.3)
    together = network(images, valid)
    for i in range(3):
        alone = network(
            {k: v[i : i + 1] for k, v in images.items()},
            {k: v[i : i + 1] for k, v in valid.items()},
        )
        for name in OUTPUTS:
            mine = getattr(together, name)[i : i + 1]
            torch.testing.assert_close(getattr(alone, name), mine, atol=1e-5, rtol=0)


@pytest.mark.parametrize("whole_batch", [False, True])
def test_a_study_without_any_view_is_not_seen_and_gradients_stay_finite(whole_batch):
    network = level_network().train()
    images, valid = random_crops()
    for mask in valid.values():
        mask[slice(None) if whole_batch else 0] = False
    output = network(images, valid)
    assert not output.seen[0].any()
    assert output.seen[1].all() != whole_batch
    assert all((maps[0] == 0).all() for maps in output.heatmaps.values())
    loss = sum(v.sum() for v in outputs(output).values())
    assert torch.isfinite(loss)
    loss.backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(g).all() for g in gradients)


@torch.no_grad()
def test_a_level_is_seen_where_any_view_shows_it():
    images, valid = random_crops()
    for mask in valid.values():
        mask[:] = False
    valid[AXIAL][0, 7, 1] = valid[T1][1, 2, 0] = True
    valid[T2][0, [3, 8]] = True
    seen = level_network()(images, valid).seen
    assert seen[0].nonzero().flatten().tolist() == [3, 7, 8]
    assert seen[1].nonzero().flatten().tolist() == [2]


@torch.no_grad()
def test_levels_know_their_neighbours_and_the_other_side():
    """A change at one place is felt at the others, through the sequence over levels."""
    network = level_network()
    images, valid = random_crops(batch=1)
    before = network(images, valid).subarticular
    images[AXIAL][0, 2] = 255 - images[AXIAL][0, 2]  # left L3/L4
    after = (network(images, valid).subarticular - before).abs().amax(-1)[0]
    assert (after > 0).all()


def test_masked_softmax_is_the_softmax_of_what_there_is():
    scores = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    mask = torch.tensor([[True, False, True], [False, True, False], [False, False, False]])
    weights = masked_softmax(scores, mask, dim=1)
    expected = torch.zeros(3, 3)
    expected[0, [0, 2]] = torch.tensor([1.0, 3.0]).softmax(0)
    expected[1, 1] = 1
    torch.testing.assert_close(weights, expected)


def test_one_trunk_for_all_views_is_counted_once():
    each, one = level_network(), level_network(shared=True)
    assert one.readers[T1].trunk is one.readers[AXIAL].trunk
    assert each.readers[T1].trunk is not each.readers[AXIAL].trunk
    count = [sum(p.numel() for p in n.parameters()) for n in (each, one)]
    trunk = sum(p.numel() for p in one.readers[T1].trunk.parameters())
    assert count[0] - count[1] == 2 * trunk


def crop_network() -> nn.Module:
    torch.manual_seed(0)
    return settled(build_crop_network(ENCODER, NETWORK), *some_crops())


def some_crops(count: int = 4) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    slices = torch.randint(0, 256, (count, DEPTH, SIZE, SIZE), generator=rng).to(torch.uint8)
    valid = torch.ones(count, DEPTH, dtype=torch.bool)
    valid[0, 0] = valid[1, 2] = valid[2, :2] = False
    return slices, valid


@torch.no_grad()
def test_a_crop_network_takes_no_notice_of_slices_that_are_not_there():
    network = crop_network()
    slices, valid = some_crops()
    output = network(slices, valid)
    changed = slices.clone()
    changed[~valid] = 255 - changed[~valid]
    again = network(changed, valid)
    for name in ("grade", "xy", "z", "heatmaps"):
        assert (getattr(output, name) == getattr(again, name)).all()
    assert (output.heatmaps[~valid] == 0).all()
    torch.testing.assert_close(output.heatmaps.sum((1, 2, 3)), torch.ones(4))
    assert output.z[2] == 2  # its only slice
    changed[valid] = 255 - changed[valid]
    assert (network(changed, valid).grade - output.grade).abs().amax(-1).min() > 1e-4


@torch.no_grad()
def test_a_crop_networks_output_is_a_point_and_a_distribution():
    slices, valid = some_crops()
    output = crop_network()(slices, valid)
    torch.testing.assert_close(output.grade.sum(-1), torch.ones(4))
    torch.testing.assert_close(output.log_grade.exp(), output.grade)
    mask = SIZE // 4
    x = (output.heatmaps.sum((1, 2)) * torch.arange(mask)).sum(-1)
    y = (output.heatmaps.sum((1, 3)) * torch.arange(mask)).sum(-1)
    z = (output.heatmaps.sum((2, 3)) * torch.arange(DEPTH)).sum(-1)
    torch.testing.assert_close(output.xy, torch.stack([x, y], -1))
    torch.testing.assert_close(output.z, z)


@torch.no_grad()
def test_slices_encoded_once_for_both_orders_are_what_they_are_in_each():
    trunk = crop_network().trunk
    slices, valid = some_crops()
    both = trunk(slices, valid, both_orders=True)
    there, back = trunk(slices, valid), trunk(slices.flip(1), valid.flip(1))
    for found, one, other in zip(both, there, back, strict=True):
        torch.testing.assert_close(found, torch.cat([one, other]), atol=1e-5, rtol=1e-5)
    assert (there.features - back.features).abs().max() > 1e-4


def test_a_crop_that_does_not_fit_the_strides_is_refused_with_its_size():
    slices = torch.zeros(1, DEPTH, 40, 40, dtype=torch.uint8)
    with pytest.raises(UsageError, match="40 x 40 pixels: both sides must be multiples of 16"):
        crop_network()(slices, torch.ones(1, DEPTH, dtype=torch.bool))
