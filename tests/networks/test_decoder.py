"""The decoder against plain convolutions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from lumbargrade.networks.decoder import ConvBlock, UNetDecoder, as_volume

CHANNELS = (5, 7, 9)


def maps(depth: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = (16, 8, 4)
    return [
        torch.randn(depth, c, s, s, generator=generator)
        for c, s in zip(CHANNELS, sizes, strict=True)
    ]


def literal(block: ConvBlock, volume: torch.Tensor, training: bool) -> torch.Tensor:
    """3-D convolution of a volume (1, C, D, h, w), its statistics over the volume, ReLU."""
    conv, norm = block[0], block[1]
    weight = conv.weight if conv.weight.ndim == 5 else conv.weight.unsqueeze(2)
    x = F.conv3d(volume, weight, padding=tuple(k // 2 for k in weight.shape[2:]))
    mean, var = norm.running_mean, norm.running_var
    if training:
        mean, var = x.mean(dim=(0, 2, 3, 4)), x.var(dim=(0, 2, 3, 4), unbiased=False)
    scale = (norm.weight / (var + norm.eps).sqrt()).view(1, -1, 1, 1, 1)
    return F.relu((x - mean.view(1, -1, 1, 1, 1)) * scale + norm.bias.view(1, -1, 1, 1, 1))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("depths", [(3, 3), (3, 1), (1, 1), (1, 5)])
def test_a_volume_decoder_is_the_literal_one_whatever_its_depths(depths, training):
    """Blocks of depth 1 are 2-D inside: the same function as a 3-D kernel of one slice."""
    torch.manual_seed(1)
    decoder = UNetDecoder(CHANNELS, (6, 4), 3, depths=depths).train(training)
    fine, middle, coarse = maps(depth=5)
    x = as_volume(coarse)
    for block, skip in zip(decoder.blocks, (middle, fine), strict=True):
        x = x.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
        x = torch.cat([x, as_volume(skip)], dim=1)
        x = literal(block.second, literal(block.first, x, training), training)
    found = as_volume(decoder([fine, middle, coarse]))
    assert found.shape == (1, 4, 5, 16, 16)
    assert torch.allclose(found, x, atol=1e-5)


@pytest.mark.parametrize(("depths", "mixed"), [((1, 1), False), ((3, 1), True)])
def test_slices_see_each_other_only_where_a_block_is_deep(depths, mixed):
    torch.manual_seed(1)
    decoder = UNetDecoder(CHANNELS, (6, 4), 3, depths=depths).eval()
    before = maps(depth=5)
    after = [m.clone() for m in before]
    after[-1][0] += 1
    changed = (decoder(before) - decoder(after)).abs().amax(dim=(1, 2, 3)) > 1e-6
    assert changed.tolist() == [True, mixed, mixed, False, False]
