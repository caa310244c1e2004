"""One-stage networks: all slices of a series in, points and grades of every level out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from lumbargrade.config import EncoderConfig, NetworkConfig
from lumbargrade.domain.errors import UsageError
from lumbargrade.networks.decoder import UNetDecoder, as_volume
from lumbargrade.networks.encoder import Encoder, make_encoder, require_multiples
from lumbargrade.networks.heads import OneStageOutput, PlaneHead, VolumeHead


class OneStageNetwork(nn.Module):
    """An encoder, a decoder and a head; every slice of a batch goes through the encoder at once."""

    def __init__(self, encoder: Encoder, decoder: UNetDecoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = head

    def forward(self, slices: Tensor, counts: Sequence[int]) -> OneStageOutput:
        """Slices uint8 (sum of counts, H, W), volume after volume, to points and grades.

        Raises:
            UsageError: for a shape that does not fit the counts or the encoder's strides.
        """
        if slices.dtype != torch.uint8 or slices.ndim != 3:
            raise UsageError(f"slices must be uint8 (N, H, W), not {slices.dtype} {slices.shape}")
        if min(counts, default=0) < 1 or sum(counts) != len(slices):
            raise UsageError(f"{len(slices)} slices cannot be volumes of {list(counts)} slices")
        require_multiples(slices, self.encoder.strides[-1])
        return self._read(self.encoder(slices), counts)

    def _read(self, maps: Sequence[Tensor], counts: Sequence[int]) -> OneStageOutput:
        raise NotImplementedError


class VolumeNetwork(OneStageNetwork):
    """Points and grades by softmax over the volume ("3d": foraminal).

    Decoder and point head run volume by volume, so in training their BatchNorm statistics are
    those of one volume.
    """

    head: VolumeHead

    def _read(self, maps: Sequence[Tensor], counts: Sequence[int]) -> OneStageOutput:
        volumes = zip(*(torch.split(m, list(counts)) for m in maps), strict=True)
        located = [self.head.locate(as_volume(self.decoder(volume))) for volume in volumes]
        result: OneStageOutput = self.head(located)
        return result


class PlaneNetwork(OneStageNetwork):
    """The slice first, then points and grades in the plane around it ("2d": canal)."""

    head: PlaneHead

    def _read(self, maps: Sequence[Tensor], counts: Sequence[int]) -> OneStageOutput:
        result: OneStageOutput = self.head(self.decoder(maps), counts)
        return result


NetworkT = TypeVar("NetworkT", bound=nn.Module)


def build_network(
    encoder: EncoderConfig,
    network: NetworkConfig,
    targets: int,
    pretrained: bool | None = None,
) -> OneStageNetwork:
    """The network of a recipe.

    Args:
        encoder: the encoder by its timm name.
        network: decoder and heads.
        targets: how many points are found and graded.
        pretrained: start the encoder from pretrained weights; None does as the recipe says.

    Raises:
        UsageError: for settings that do not fit together.
        BadModel: if pretrained weights are asked for and cannot be had.
    """
    recompute = network.checkpoint_gradients
    body = make_encoder(encoder, pretrained, recompute=recompute)
    if network.decoder == "3d":
        decoder = UNetDecoder(
            body.channels, network.widths, 3, depths=network.depths, recompute=recompute
        )
        volume_head = VolumeHead(decoder.width, targets, network.features)
        return channels_last(VolumeNetwork(body, decoder, volume_head))
    decoder = UNetDecoder(body.channels, network.widths, 2, recompute=recompute)
    head = PlaneHead(decoder.width, targets, network.hidden, network.neighbours)
    return channels_last(PlaneNetwork(body, decoder, head))


def channels_last(network: NetworkT) -> NetworkT:
    """The same network with its 2-D parts in the memory layout in which convolutions are fast.

    Values and names of parameters stay; maps follow the layout of the weights they meet.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its types
    return network
