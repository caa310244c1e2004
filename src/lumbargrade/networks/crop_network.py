"""The network that finds one point in a crop and grades it."""

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
    """Output for N crops of D slices; fp32, on the device of the input."""

    grade: Tensor
    """(N, 3) probabilities"""
    log_grade: Tensor
    """(N, 3) log probabilities"""
    xy: Tensor
    """(N, 2) expected x, y in mask pixels"""
    z: Tensor
    """(N,) expected slice index in the crop"""
    heatmaps: Tensor
    """(N, D, h, w) probability of each voxel; each crop sums to 1, invalid slices are 0"""


class CropFeatures(NamedTuple):
    """Features (N, width) pooled under heatmaps (N, D, h, w)."""

    features: Tensor
    heatmaps: Tensor


class CropTrunk(nn.Module):
    """Find the point of a crop and pool its features there.

    Encoder and U-Net decoder process every slice separately. One 3-D convolution then combines
    neighbouring slices, and the point is a softmax over the crop's voxels.
    """

    def __init__(self, encoder: Encoder, decoder: UNetDecoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.join = ConvBlock(decoder.width, decoder.width, 3)
        self.point = nn.Conv3d(decoder.width, 1, 1)
        self.width = decoder.width

    def forward(self, slices: Tensor, valid: Tensor, *, both_orders: bool = False) -> CropFeatures:
        """Return features and heatmaps of crops.

        Args:
            slices: uint8 (N, D, S, S).
            valid: bool (N, D); each crop has at least one valid slice.
            both_orders: return 2 N crops: the given ones, then the same with reversed slices.
                The slices are encoded only once.

        Raises:
            UsageError: if the size does not fit the encoder's strides.
        """
        require_multiples(slices, self.encoder.strides[-1])
        maps = self.decoder(self.encoder(slices[valid]))
        volume = maps.new_zeros((*valid.shape, *maps.shape[1:]))
        volume[valid] = maps
        return self.pool(volume, valid, both_orders=both_orders)

    def pool(self, volume: Tensor, valid: Tensor, *, both_orders: bool = False) -> CropFeatures:
        """Combine the maps (N, D, width, h, w) of slices; those that are not valid are 0.

        A crop without a valid slice gives NaN. See `forward` for the other arguments.
        """
        if both_orders:
            volume, valid = torch.cat([volume, volume.flip(1)]), torch.cat([valid, valid.flip(1)])
        volume = self.join(volume.transpose(1, 2))
        logits = self.point(volume)[:, 0].float()
        logits = logits.masked_fill(~valid[..., None, None], -torch.inf)
        heatmaps = spatial_softmax(logits, spatial=3)
        return CropFeatures(pooled(heatmaps.unsqueeze(1), volume)[:, 0], heatmaps)


class CropNetwork(nn.Module):
    """Find and grade the point of each crop.

    Crops of the right side are mirrored, so that left and right share all weights.
    """

    def __init__(self, trunk: CropTrunk, features: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.project = nn.Linear(trunk.width, features)
        self.grade = two_layers(features, features, 3)

    def forward(self, slices: Tensor, valid: Tensor) -> CropOutput:
        """Grade crops uint8 (N, D, S, S); each has at least one slice with ``valid`` (N, D)."""
        return self.read(self.trunk(slices, valid))

    def read(self, found: CropFeatures) -> CropOutput:
        """Grade pooled features."""
        features, heatmaps = found
        scores = self.grade(self.project(features)).float()
        xyz = expected_index(heatmaps, spatial=3)
        return CropOutput(
            scores.softmax(dim=-1), scores.log_softmax(dim=-1), xyz[:, :2], xyz[:, 2], heatmaps
        )


def build_trunk(
    encoder: EncoderConfig, network: NetworkConfig, pretrained: bool | None = None
) -> CropTrunk:
    """Build the trunk of a recipe.

    Args:
        encoder: timm name and settings of the encoder.
        network: widths of the decoder.
        pretrained: whether the encoder starts from pretrained weights; None follows the recipe.

    Raises:
        UsageError: if settings do not fit together.
        BadModel: if requested pretrained weights are not available.
    """
    body = make_encoder(encoder, pretrained)
    return CropTrunk(body, UNetDecoder(body.channels, network.widths, 2))


def build_crop_network(
    encoder: EncoderConfig, network: NetworkConfig, pretrained: bool | None = None
) -> CropNetwork:
    """Build the crop network of a recipe; see `build_trunk` for arguments and errors."""
    return channels_last(CropNetwork(build_trunk(encoder, network, pretrained), network.features))
