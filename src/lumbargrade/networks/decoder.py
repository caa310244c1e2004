"""The 2-D or 3-D U-Net decoder, which turns encoder features into one map at stride 4."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from lumbargrade.domain.errors import UsageError


class ConvBlock(nn.Sequential):
    """A 3 x 3 or ``depth`` x 3 x 3 convolution without bias, BatchNorm and ReLU."""

    def __init__(
        self, inputs: int, outputs: int, dimensions: Literal[2, 3], depth: int = 3
    ) -> None:
        conv: nn.Module = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        norm: nn.Module = nn.BatchNorm2d(outputs)
        if dimensions == 3:
            kernel, padding = (depth, 3, 3), (depth // 2, 1, 1)
            conv = nn.Conv3d(inputs, outputs, kernel, padding=padding, bias=False)
            norm = nn.BatchNorm3d(outputs)
        super().__init__(conv, norm, nn.ReLU(inplace=True))


class UpBlock(nn.Module):
    """Double the in-plane size of a coarse map, concatenate the skip map and convolve twice."""

    def __init__(
        self, coarse: int, skip: int, outputs: int, dimensions: Literal[2, 3], depth: int = 3
    ) -> None:
        super().__init__()
        self.first = ConvBlock(coarse + skip, outputs, dimensions, depth)
        self.second = ConvBlock(outputs, outputs, dimensions, depth)
        scale = (2.0, 2.0) if dimensions == 2 else (1.0, 2.0, 2.0)
        self._upsample = nn.Upsample(scale_factor=scale, mode="nearest")

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Join (N, coarse, ..., h, w) and (N, skip, ..., 2h, 2w) to (N, outputs, ..., 2h, 2w)."""
        joined = torch.cat([self._upsample(coarse), skip], dim=1)
        result: Tensor = self.second(self.first(joined))
        return result


class UNetDecoder(nn.Module):
    """A U-Net decoder with one :class:`UpBlock` between each pair of encoder stages.

    Args:
        channels: encoder channels, fine to coarse.
        widths: channels of the blocks, coarse to fine; one fewer than ``channels``.
        dimensions: 2 decodes every slice separately; 3 decodes the slices as one volume.
        depths: for 3 dimensions, the odd kernel size along the slices in each block; empty means
            3 for all. A block of depth 1 uses 2-D convolutions on each slice.

    Raises:
        UsageError: if the number of widths does not fit the number of stages.
    """

    def __init__(
        self,
        channels: Sequence[int],
        widths: Sequence[int],
        dimensions: Literal[2, 3],
        *,
        depths: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if len(widths) != len(channels) - 1:
            raise UsageError(
                f"network.widths has {len(widths)} values; "
                f"{len(channels)} encoder stages need {len(channels) - 1}"
            )
        depths = (1,) * len(widths) if dimensions == 2 else depths or (3,) * len(widths)
        if len(depths) != len(widths) or any(d < 1 or d % 2 == 0 for d in depths):
            raise UsageError(
                f"network.depths {tuple(depths)}: give one odd size for each of the {len(widths)} "
                "blocks"
            )
        coarse_to_fine = list(reversed(channels))
        inputs = pairwise([coarse_to_fine[0], *widths])
        self.blocks = nn.ModuleList(
            UpBlock(coarse, skip, width, 2 if depth == 1 else 3, depth)
            for (coarse, width), skip, depth in zip(inputs, coarse_to_fine[1:], depths, strict=True)
        )
        self.width = widths[-1]
        self._deep = tuple(depth > 1 for depth in depths)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Decode maps (D, C, h, w), fine to coarse, to one map (D, width, h, w) of the finest."""
        *skips, x = maps
        for block, skip, deep in zip(self.blocks, reversed(skips), self._deep, strict=True):
            inputs = (as_volume(x), as_volume(skip)) if deep else (x, skip)
            x = block(*inputs)
            x = x[0].transpose(0, 1) if deep else x
        return x


def as_volume(slices: Tensor) -> Tensor:
    """View slices (D, C, h, w) as one volume (1, C, D, h, w)."""
    return slices.transpose(0, 1).unsqueeze(0)
