"""Recomputing activations changes memory and nothing else; what it saves is measured."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from lumbargrade.config import EncoderConfig, NetworkConfig, load_recipe
from lumbargrade.models.registry import get_task
from lumbargrade.networks.one_stage import OneStageNetwork, build_network
from lumbargrade.networks.recompute import (
    Part,
    activations,
    fewest,
    peak_of,
    recomputing,
    share_again,
    units,
)

#: BatchNorm, LayerNorm, and a whole timm model
ENCODERS = {
    "lcnet": EncoderConfig("lcnet_050", pretrained=False),
    "regnet": EncoderConfig("regnetx_002", pretrained=False, whole_model=True),
    "convnext": EncoderConfig("convnext_atto", pretrained=False),
    "pvt": EncoderConfig("pvt_v2_b0", pretrained=False, whole_model=True),
}
COUNTS = [3, 4]
SLICES = torch.randint(
    0, 256, (sum(COUNTS), 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
)


def small(encoder: str, decoder: str = "3d") -> OneStageNetwork:
    """A small network in training, with dropout and stochastic depth."""
    torch.manual_seed(0)
    config = NetworkConfig(decoder=decoder, widths=(24, 16, 8), features=12, hidden=10)  # type: ignore[arg-type]
    network = build_network(ENCODERS[encoder], config, 10).train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.2
        for old in ("drop_path", "drop_path1", "drop_path2"):
            if hasattr(module, old):
                setattr(module, old, nn.Dropout(0.3))
    return network


def loss_of(network: OneStageNetwork) -> Tensor:
    output = network(SLICES, COUNTS)
    maps = output.volume_heatmaps or (output.plane_heatmaps,)
    total: Tensor = output.log_grade[..., 2].mean() + output.xy.mean()
    return total + sum(m.square().mean() for m in maps if m is not None)


def step(network: OneStageNetwork, again: bool) -> dict[str, Tensor]:
    """Loss, gradients, running statistics and random state after a step."""
    torch.manual_seed(1)
    with recomputing(units(network).values()) if again else nullcontext():
        loss = loss_of(network)
    loss.backward()
    found = {f"grad {n}": p.grad for n, p in network.named_parameters() if p.grad is not None}
    assert len(found) > 20
    found |= {"loss": loss.detach(), "random": torch.get_rng_state()}
    return found | {n: b.clone() for n, b in network.named_buffers()}


@pytest.mark.parametrize("decoder", ["2d", "3d"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_gradients_and_statistics_are_the_same_to_the_bit(encoder: str, decoder: str) -> None:
    plain, again = (step(small(encoder, decoder), a) for a in (False, True))
    assert plain.keys() == again.keys()
    assert any("drop" in type(m).__name__.lower() for m in small(encoder).modules())
    for name, value in plain.items():
        assert torch.equal(value, again[name]), name


def test_after_the_block_nothing_is_recomputed() -> None:
    network = small("lcnet")
    with recomputing(units(network).values()):
        assert all("forward" in vars(m) for m in units(network).values())
    assert not any("forward" in vars(m) for m in network.modules())


@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_is_measured_is_what_the_backward_pass_holds(encoder: str) -> None:
    """Against the distinct storages that torch's graph keeps, with and without recomputation."""
    network = small(encoder)
    own = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}
    parts = activations(network, lambda: loss_of(network))
    for again in (False, True):
        kept: dict[int, Tensor] = {}

        def pack(tensor: Tensor, kept: dict[int, Tensor] = kept) -> Tensor:
            if tensor.untyped_storage().data_ptr() not in own:
                kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t)
        with hooks, recomputing(units(network).values()) if again else nullcontext():
            loss = loss_of(network)
        held = sum(t.untyped_storage().nbytes() for t in kept.values())
        chosen = set(units(network)) if again else set()
        expected = sum(p.kept if p.unit in chosen else p.full for p in parts)
        # a tensor that two parts share is counted once if one of them is recomputed
        assert 0.95 * held <= expected < 1.35 * held, again
        del loss, kept


def test_measuring_leaves_no_trace() -> None:
    network = small("lcnet")
    before = {n: b.clone() for n, b in network.named_buffers()}
    random = torch.get_rng_state()
    parts = activations(network, lambda: loss_of(network))
    assert sum(p.flops for p in parts) > 0
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(b, before[n]) for n, b in network.named_buffers())
    assert all(p.grad is None for p in network.parameters())


def test_blocks_of_the_published_networks_hold_nearly_all_weights() -> None:
    for name in (
        "one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01",
        "one-stage-scs/effnet_b4-decoder2d-01",
    ):
        with torch.device("meta"):
            network = get_task(load_recipe(name)).build_network(pretrained=False)
        blocks = units(network)
        inside = sum(p.numel() for m in blocks.values() for p in m.parameters())
        assert inside > 0.97 * sum(p.numel() for p in network.parameters())
        assert len(blocks) > 30
        names = list(blocks)
        assert not any(a != b and a.startswith(f"{b}.") for a in names for b in names)


PARTS = [
    Part("", full=10),
    Part("a", full=100, kept=10, flops=100),
    Part("b", full=100, kept=10, flops=10),
    Part("c", full=50, kept=10, flops=1, largest=5),
]


def test_the_peak_is_where_a_part_and_all_before_it_hold_most() -> None:
    assert peak_of(PARTS, ()) == 260 + 2 * 5
    assert peak_of(PARTS, ("c",)) == 260 + 2 * 5  # c is computed again first of all
    assert peak_of(PARTS, ("a", "b")) == 10 + 10 + 100  # while b is computed again
    assert peak_of(PARTS, ("a",)) == 10 + 10 + 100 + 50 + 10
    assert peak_of(PARTS, ("b",)) == 10 + 100 + 100


@pytest.mark.parametrize(
    ("room", "chosen"),
    [(270, ()), (269, ("b",)), (209, ("a",)), (130, ("b", "a")), (119, None)],
)
def test_as_few_operations_as_possible_are_done_again(
    room: int, chosen: tuple[str, ...] | None
) -> None:
    assert fewest(PARTS, room) == chosen
    if chosen:
        assert peak_of(PARTS, chosen) <= room
        assert share_again(PARTS, chosen) == sum(p.flops for p in PARTS if p.unit in chosen) / 111
