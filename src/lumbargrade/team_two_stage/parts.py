"""The parts that the released two-stage networks have in common.

Modules have the attribute names of the released files, so that these load as they are. Parts that
a file has but its network does not use are built too, and said to be unused.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

from lumbargrade.domain.errors import UsageError

#: Features of a crop, and features that the fusion takes from each branch.
WIDTH, JOINED = 512, 128

#: Features of a sequence of slices: 512 in each direction.
SLICES_WIDTH = 1024

#: Levels of a study, and conditions.
LEVELS, CONDITIONS = 5, 5

#: Pixels that a CPU encodes at once, see `encoded`.
PIXELS = 4 * 256 * 256

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def normalised(image: Tensor) -> Tensor:
    """Return grey values uint8 of any shape from -1 to 1."""
    return (image.to(torch.get_default_dtype()) / 255 - 0.5) / 0.5


def imagenet_normalised(slices: Tensor) -> Tensor:
    """Return slices uint8 (..., 3, H, W) with ImageNet's mean and deviation of each channel."""
    x = slices.to(torch.get_default_dtype()) / 255
    shape = (3, 1, 1)
    return (x - x.new_tensor(_IMAGENET_MEAN).view(shape)) / x.new_tensor(_IMAGENET_DEVIATION).view(
        shape
    )


def encoder(name: str, channels: int, outputs: int = 0) -> Any:
    """Build a timm network (N, channels, H, W) -> (N, outputs) with random weights.

    Without outputs it returns its pooled features, ``num_features`` in number.
    """
    return timm.create_model(name, pretrained=False, in_chans=channels, num_classes=outputs)


def encoded(model: nn.Module, images: Tensor) -> Tensor:
    """Encode independent images (N, channels, H, W), on a CPU a few at a time.

    There this takes a fifth less time and a fifth of the memory. In training BatchNorm makes the
    images depend on each other.
    """
    if model.training or images.device.type != "cpu":
        return model(images)  # type: ignore[no-any-return]
    few = max(1, PIXELS // (images.shape[-2] * images.shape[-1]))
    return torch.cat([model(part) for part in torch.split(images, few)])


def two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Build Linear, LeakyReLU, Linear."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LeakyReLU(), nn.Linear(hidden, outputs))


def both_ways(kind: type[nn.LSTM] | type[nn.GRU], inputs: int, width: int) -> Any:
    """Build two recurrent layers (N, T, inputs) -> (N, T, 2 width), ``width`` in each direction."""
    return kind(inputs, width, num_layers=2, batch_first=True, bidirectional=True)


class CropReader(nn.Module):
    """Features and grade of crops whose slices are the channels of one image.

    Args:
        name: timm's name of the encoder.
        channels: slices of a crop.
        gate: multiply the features by a gate that depends on the condition.
        levels: add to the features those of an LSTM over the levels of a side.
        joined: have layers to the features for a fusion.
    """

    def __init__(
        self,
        name: str,
        channels: int,
        *,
        gate: bool = False,
        levels: bool = False,
        joined: bool = False,
    ) -> None:
        super().__init__()
        self.model = encoder(name, channels, WIDTH)
        if gate:
            self.cond_emb = nn.Embedding(CONDITIONS, 64)
            self.cond_fea_extractor = nn.Sequential(
                nn.Linear(64, 128),
                nn.LeakyReLU(),
                nn.Linear(128, 256),
                nn.LeakyReLU(),
                nn.Linear(256, WIDTH),
            )
        if levels:
            self.level_lstm = both_ways(nn.LSTM, WIDTH, WIDTH // 2)
        if joined:
            self.out_fea_extractor = two_layers(WIDTH, WIDTH, JOINED)
        self.out_linear = two_layers(WIDTH, WIDTH, 3)
        self.gate, self.levels = gate, levels

    def forward(self, crops: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Return features (N, groups, 5, 512).

        Args:
            crops: normalised (N, 5 groups, channels, H, W); a group is the five levels of a
                condition or side.
            conditions: number of each group's condition (groups,), for the gate.

        Raises:
            UsageError: if a network with a gate gets another number of groups.
        """
        count, groups = len(crops), crops.shape[1] // LEVELS
        each = encoded(self.model, crops.flatten(0, 1))
        x = each.view(count, groups, LEVELS, WIDTH)
        if self.gate:
            if conditions is None or len(conditions) != groups:
                raise UsageError(f"{groups * LEVELS} crops: not the conditions of this network")
            factors = self.cond_fea_extractor(self.cond_emb(conditions)).sigmoid()
            x = x * factors[:, None]
        if self.levels:
            side = x.flatten(0, 1)
            x = (side + self.level_lstm(side)[0]).view_as(x)
        return x


class SliceReader(nn.Module):
    """Features of sequences of slices: each slice is encoded alone, a GRU reads the sequence.

    Args:
        name: timm's name of the encoder.
        channels: channels of a slice.
        outputs: of the head for grades.
    """

    def __init__(self, name: str, channels: int, outputs: int) -> None:
        super().__init__()
        self.model = encoder(name, channels)
        self.gru = both_ways(nn.GRU, self.model.num_features, SLICES_WIDTH // 2)
        self.exam_predictor = nn.Linear(SLICES_WIDTH, outputs)

    def forward(self, slices: Tensor) -> Tensor:
        """Return features (..., 1024) of sequences (..., Z, channels, H, W), normalised."""
        *before, depth = slices.shape[:-3]
        each = encoded(self.model, slices.flatten(0, -4))
        x: Tensor = self.gru(each.view(-1, depth, each.shape[-1]))[0].mean(dim=1)
        return x.view(*before, SLICES_WIDTH)
