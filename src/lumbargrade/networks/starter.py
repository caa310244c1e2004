"""The starter's networks: small U-Nets that learn from phantoms on a CPU and run in milliseconds.

Letters in shapes: B slices, H x W pixels of the grid (`lumbargrade.starter.grid`). A network halves
the resolution once per width. At the two coarsest strides its blocks have large depthwise kernels
(Liu et al. 2022, "A ConvNet for the 2020s"; here with batch normalisation), because the level of a
disc can only be told from the whole spine and the sacrum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lumbargrade.config import StarterNetworkConfig
from lumbargrade.domain.outlines import AXIAL_STRUCTURES, SAGITTAL_STRUCTURES, Mark, Segment

#: Grid pixels per pixel of the maps of segments, and of marks and recesses.
SEGMENT_STRIDE, MARK_STRIDE = 4, 2

#: Probability that the heads of heatmaps begin with, so that the empty background, nearly the whole
#: map, costs little at first (Lin et al. 2017).
_PRIOR = 0.01


class SagittalOutput(NamedTuple):
    """Logits of the sagittal network."""

    structures: Tensor
    """(B, 6, H, W), softmax over `SAGITTAL_STRUCTURES`"""
    segments: Tensor
    """(B, 11, H/4, W/4), softmax over `Segment`"""
    marks: Tensor
    """(B, 4, H/2, W/2), one sigmoid heatmap per `Mark`"""


class AxialOutput(NamedTuple):
    """Logits of the axial network."""

    structures: Tensor
    """(B, 5, H, W), softmax over `AXIAL_STRUCTURES`"""
    recesses: Tensor
    """(B, 2, H/2, W/2), sigmoid heatmaps of the left and the right recess"""


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    """Two 3 x 3 convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class _Wide(nn.Module):
    """A large depthwise convolution and two 1 x 1 convolutions beside the identity."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, 2 * width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * width, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mix(x)
        return x + mixed


class _Up(nn.Module):
    """Join a coarse map with a skip connection of twice its resolution."""

    def __init__(self, coarse: int, width: int, *, refine: bool) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(coarse, width, 1)
        self.join = _conv(2 * width, width)
        self.refine = _Residual(width) if refine else nn.Identity()

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        up = functional.interpolate(self.narrow(coarse), scale_factor=2.0, mode="nearest")
        joined: Tensor = self.refine(self.join(torch.cat([up, skip], 1)))
        return joined


class _UNet(nn.Module):
    """Encoder and decoder; the result has a map at every stride, finest first."""

    def __init__(self, channels: int, config: StarterNetworkConfig) -> None:
        super().__init__()
        widths = config.widths
        self.stem = _conv(channels, widths[0])
        self.downs = nn.ModuleList()
        last = len(widths) - 1
        for i in range(1, len(widths)):
            layers: list[nn.Module] = [_conv(widths[i - 1], widths[i], stride=2)]
            layers += [_Residual(widths[i]) for _ in range(config.blocks[i - 1])]
            if i >= last - 1:
                layers += [_Wide(widths[i], config.kernel) for _ in range(config.wide_blocks)]
            self.downs.append(nn.Sequential(*layers))
        self.ups = nn.ModuleList(
            _Up(widths[i + 1], widths[i], refine=i > 1) for i in reversed(range(last))
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        skips = [self.stem(image)]
        for down in self.downs:
            skips.append(down(skips[-1]))
        x = skips.pop()
        maps = [x]
        for up in self.ups:
            x = up(x, skips.pop())
            maps.append(x)
        return maps[::-1]


def _head(width: int, classes: int, *, rare: bool = False) -> nn.Conv2d:
    head = nn.Conv2d(width, classes, 1)
    assert head.bias is not None
    nn.init.constant_(head.bias, math.log(_PRIOR / (1 - _PRIOR)) if rare else 0.0)
    return head


class SagittalNetwork(nn.Module):
    """Outlines structures, names segments and finds marks on a sagittal slice.

    Args:
        config: widths (at least three) and blocks.
    """

    output_type = SagittalOutput
    channels = 3

    def __init__(self, config: StarterNetworkConfig) -> None:
        super().__init__()
        widths: Sequence[int] = config.widths
        self.body = _UNet(self.channels, config)
        self.structures = _head(widths[0], len(SAGITTAL_STRUCTURES))
        self.marks = _head(widths[1], len(Mark), rare=True)
        self.segments = _head(widths[2], len(Segment))

    def forward(self, image: Tensor) -> SagittalOutput:
        """Run the network.

        Args:
            image: (B, 3, H, W), each slice between its neighbours; H and W multiples of 32.
        """
        full, half, quarter, *_ = self.body(image)
        return SagittalOutput(self.structures(full), self.segments(quarter), self.marks(half))


class AxialNetwork(nn.Module):
    """Outlines structures and finds both recesses on an axial slice.

    Args:
        config: widths (at least two) and blocks.
    """

    output_type = AxialOutput
    channels = 1

    def __init__(self, config: StarterNetworkConfig) -> None:
        super().__init__()
        self.body = _UNet(self.channels, config)
        self.structures = _head(config.widths[0], len(AXIAL_STRUCTURES))
        self.recesses = _head(config.widths[1], 2, rare=True)

    def forward(self, image: Tensor) -> AxialOutput:
        """Run the network on ``image`` (B, 1, H, W); H and W are multiples of 32."""
        full, half, *_ = self.body(image)
        return AxialOutput(self.structures(full), self.recesses(half))
