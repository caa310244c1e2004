"""The U-Net decoder, in two or three dimensions: coarse features to one map at stride 4."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from lumbargrade.domain.errors import UsageError
from lumbargrade.networks.encoder import recomputed


class ConvBlock(nn.Sequential):
    """3x3(x3) convolution without bias, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, dimensions: Literal[2, 3]) -> None:
        conv, norm = {2: (nn.Conv2d, nn.BatchNorm2d), 3: (nn.Conv3d, nn.BatchNorm3d)}[dimensions]
        super().__init__(
            conv(inputs, outputs, 3, padding=1, bias=False), norm(outputs), nn.ReLU(inplace=True)
        )


class UpBlock(nn.Module):
    """Doubles the plane of a coarse map (never its slices), joins the skip, convolves twice."""

    def __init__(self, coarse: int, skip: int, outputs: int, dimensions: Literal[2, 3]) -> None:
        super().__init__()
        self.first = ConvBlock(coarse + skip, outputs, dimensions)
        self.second = ConvBlock(outputs, outputs, dimensions)
        scale = (2.0, 2.0) if dimensions == 2 else (1.0, 2.0, 2.0)
        self._upsample = nn.Upsample(scale_factor=scale, mode="nearest")

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """(N, coarse, ..., h, w) and (N, skip, ..., 2h, 2w) to (N, outputs, ..., 2h, 2w)."""
        joined = torch.cat([self._upsample(coarse), skip], dim=1)
        result: Tensor = self.second(self.first(joined))
        return result


class UNetDecoder(nn.Module):
    """One :class:`UpBlock` for each step between encoder stages.

    Args:
        channels: encoder channels, fine to coarse.
        widths: channels of the blocks, coarse to fine; one fewer than ``channels``.
        dimensions: 2 decodes slices (N, C, h, w); 3 decodes volumes (N, C, D, h, w).
        recompute: keep no activations inside a block for the backward pass.

    Raises:
        UsageError: if the number of widths does not fit the number of stages.
    """

    def __init__(
        self,
        channels: Sequence[int],
        widths: Sequence[int],
        dimensions: Literal[2, 3],
        *,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if len(widths) != len(channels) - 1:
            raise UsageError(
                f"network.widths has {len(widths)} values; "
                f"{len(channels)} encoder stages need {len(channels) - 1}"
            )
        coarse_to_fine = list(reversed(channels))
        inputs = pairwise([coarse_to_fine[0], *widths])
        self.blocks = nn.ModuleList(
            UpBlock(coarse, skip, width, dimensions)
            for (coarse, width), skip in zip(inputs, coarse_to_fine[1:], strict=True)
        )
        self.width = widths[-1]
        self._recompute = recompute

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Encoder maps, fine to coarse, to one map (N, width, ..., h, w) of the finest size."""
        recompute = self._recompute and torch.is_grad_enabled()
        *skips, x = maps
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            x = recomputed(block, block, x, skip) if recompute else block(x, skip)
        return x
