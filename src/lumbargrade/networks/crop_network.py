"""Reading one place from a crop: its point, the features under it, and its grade."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lumbargrade.config import EncoderConfig, NetworkConfig
from lumbargrade.networks.decoder import ConvBlock, UNetDecoder
from lumbargrade.networks.encoder import Encoder, make_encoder, require_multiples
from lumbargrade.networks.heatmap import expected_index, pooled, spatial_softmax
from lumbargrade.networks.one_stage import channels_last, two_layers


@dataclass(frozen=True)
class CropOutput:
    """What a crop network says of N crops of D slices; fp32, on the device of the input."""

    grade: Tensor
    """(N, 3) probabilities"""
    log_grade: Tensor
    """(N, 3) their logarithm"""
    xy: Tensor
    """(N, 2) expected x, y in mask pixels"""
    z: Tensor
    """(N,) expected slice of the crop"""
    heatmaps: Tensor
    """(N, D, h, w) probability of each voxel; a crop sums to 1, slices that do not exist are 0"""


class CropFeatures(NamedTuple):
    """Features (N, width) pooled under heatmaps (N, D, h, w)."""

    features: Tensor
    heatmaps: Tensor


class CropTrunk(nn.Module):
    """Features of a crop, pooled where its point is.

    Every slice goes through encoder and U-Net decoder alone; one 3-D convolution then joins
    neighbours, and the point is a softmax over the crop's voxels.
    """

    def __init__(self, encoder: Encoder, decoder: UNetDecoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.join = ConvBlock(decoder.width, decoder.width, 3)
        self.point = nn.Conv3d(decoder.width, 1, 1)
        self.width = decoder.width

    def forward(self, slices: Tensor, valid: Tensor, *, both_orders: bool = False) -> CropFeatures:
        """Crops uint8 (N, D, S, S), each with at least one slice that is valid (N, D).

        With ``both_orders`` the result is of 2 N crops: first these, then the same with their
        slices in opposite order, for which the slices are encoded once.

        Raises:
            UsageError: for a size that does not fit the encoder's strides.
        """
        require_multiples(slices, self.encoder.strides[-1])
        maps = self.decoder(self.encoder(slices[valid]))
        volume = maps.new_zeros((*valid.shape, *maps.shape[1:]))
        volume[valid] = maps
        if both_orders:
            volume, valid = torch.cat([volume, volume.flip(1)]), torch.cat([valid, valid.flip(1)])
        volume = self.join(volume.transpose(1, 2))
        logits = self.point(volume)[:, 0].float()
        logits = logits.masked_fill(~valid[..., None, None], -torch.inf)
        heatmaps = spatial_softmax(logits, spatial=3)
        return CropFeatures(pooled(heatmaps.unsqueeze(1), volume)[:, 0], heatmaps)


class CropNetwork(nn.Module):
    """Point and grade of each crop.

    Crops of the right side come mirrored, so left and right share every weight.
    """

    def __init__(self, trunk: CropTrunk, features: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.project = nn.Linear(trunk.width, features)
        self.grade = two_layers(features, features, 3)

    def forward(self, slices: Tensor, valid: Tensor) -> CropOutput:
        """Crops uint8 (N, D, S, S), each with at least one slice that is valid (N, D)."""
        features, heatmaps = self.trunk(slices, valid)
        scores = self.grade(self.project(features)).float()
        xyz = expected_index(heatmaps, spatial=3)
        return CropOutput(
            scores.softmax(dim=-1), scores.log_softmax(dim=-1), xyz[:, :2], xyz[:, 2], heatmaps
        )


def build_trunk(
    encoder: EncoderConfig, network: NetworkConfig, pretrained: bool | None = None
) -> CropTrunk:
    """The trunk of a recipe.

    Args:
        encoder: the encoder by its timm name.
        network: widths of the decoder.
        pretrained: start the encoder from pretrained weights; None does as the recipe says.

    Raises:
        UsageError: for settings that do not fit together.
        BadModel: if pretrained weights are asked for and cannot be had.
    """
    recompute = network.checkpoint_gradients
    body = make_encoder(encoder, pretrained, recompute=recompute)
    return CropTrunk(body, UNetDecoder(body.channels, network.widths, 2, recompute=recompute))


def build_crop_network(
    encoder: EncoderConfig, network: NetworkConfig, pretrained: bool | None = None
) -> CropNetwork:
    """The crop network of a recipe; arguments and errors as `build_trunk`."""
    return channels_last(CropNetwork(build_trunk(encoder, network, pretrained), network.features))
