"""One-stage networks: find and grade all levels from all slices of a series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from lumbargrade.config import EncoderConfig, NetworkConfig
from lumbargrade.domain.errors import UsageError
from lumbargrade.networks.decoder import UNetDecoder, as_volume
from lumbargrade.networks.encoder import Encoder, make_encoder, require_multiples
from lumbargrade.networks.heatmap import expected_index, pooled, spatial_softmax


@dataclass(frozen=True)
class OneStageOutput:
    """Output of a one-stage network; all tensors are fp32 and on the device of the input.

    The maps are for the losses. The volume network ("3d", foraminal) sets ``volume_heatmaps``; the
    plane network ("2d", canal) sets the fields after it.
    """

    grade: Tensor
    """(B, P, 3) probabilities of normal/mild, moderate, severe; each row sums to 1"""
    log_grade: Tensor
    """(B, P, 3) numerically stable logarithm of ``grade``, for the grade loss"""
    xy: Tensor
    """(B, P, 2) expected x (column) and y (row), mask pixels, pixel centres at integers"""
    z: Tensor
    """(B, P) slice index in the volume: expected slice ("3d") or arg-max slice ("2d")"""
    counts: tuple[int, ...]
    """slices D of each volume"""
    volume_heatmaps: tuple[Tensor, ...] | None = None
    """per volume (P, D, h, w): probability of each voxel; each target sums to 1"""
    plane_heatmaps: Tensor | None = None
    """(B, P, h, w): probability of each pixel in the averaged plane; each target sums to 1"""
    slice_log_probs: tuple[Tensor, ...] | None = None
    """per volume (P, D): log probability of each slice; exp sums to 1 over D"""
    grade_map: Tensor | None = None
    """(B, 3, h, w): log probability of each grade at each pixel; exp sums to 1 over grades"""
    centre: Tensor | None = None
    """(B,) int64: the slice whose neighbourhood was averaged to the plane"""


class VolumePoints(NamedTuple):
    """Points of one volume: heatmaps (P, D, h, w), xyz (P, 3), grade features (P, features)."""

    heatmaps: Tensor
    xyz: Tensor
    features: Tensor


class VolumeHead(nn.Module):
    """Find points by softmax over a volume; grade features that are averaged by the heatmaps.

    In the published network, a 1x1x1 convolution of the volume is averaged by the heatmaps. Both
    steps are linear and heatmaps sum to 1, so this head averages first and then projects the few
    averaged vectors: the same function with far less work.
    """

    def __init__(self, width: int, targets: int, features: int, grades: int = 3) -> None:
        super().__init__()
        self.points = nn.Conv3d(width, targets, 1)
        self.project = nn.Linear(width, features)
        self.grade = two_layers(features, features, grades)

    def locate(self, volume: Tensor) -> VolumePoints:
        """Find points and grade features in one decoded volume (1, width, D, h, w)."""
        heatmaps = spatial_softmax(self.points(volume), spatial=3)
        features = self.project(pooled(heatmaps, volume)[0])
        return VolumePoints(heatmaps[0], expected_index(heatmaps[0], spatial=3), features)

    def forward(self, volumes: Sequence[VolumePoints]) -> OneStageOutput:
        """Grade all points of a batch."""
        xyz = torch.stack([v.xyz for v in volumes])
        features = torch.stack([v.features for v in volumes])
        logits = self.grade(features.flatten(0, 1)).float().view(*features.shape[:2], -1)
        return OneStageOutput(
            grade=logits.softmax(dim=-1),
            log_grade=logits.log_softmax(dim=-1),
            xy=xyz[..., :2],
            z=xyz[..., 2],
            counts=tuple(v.heatmaps.shape[1] for v in volumes),
            volume_heatmaps=tuple(v.heatmaps for v in volumes),
        )


class PlaneHead(nn.Module):
    """Find the slice, then points in its plane, for targets that lie in about the same slice.

    Args:
        width: channels of the decoded slices.
        targets: number of targets P.
        hidden: channels inside the three small heads.
        neighbours: number of slices on each side that are averaged with the expected slice.
    """

    def __init__(
        self, width: int, targets: int, hidden: int, neighbours: int, grades: int = 3
    ) -> None:
        super().__init__()
        self.slices = two_layers(width, hidden, targets)
        self.points = _pixelwise(width, hidden, targets)
        self.grade = _pixelwise(width, hidden, grades)
        self.neighbours = neighbours

    def forward(self, maps: Tensor, counts: Sequence[int]) -> OneStageOutput:
        """Find and grade points in decoded slices (sum of counts, width, h, w) of volumes."""
        logits = self.slices(maps.mean(dim=(2, 3))).float()
        log_probs = tuple(part.T.log_softmax(dim=-1) for part in torch.split(logits, list(counts)))
        centre = torch.stack([_expected_slice(p.detach()) for p in log_probs])
        return self._output(self._average(maps, counts, centre.tolist()), log_probs, centre)

    def read_one(self, maps: Tensor) -> OneStageOutput:
        """Find and grade points in the decoded slices (D, width, h, w) of one volume.

        This is `forward` without choices that depend on values, so that it can be traced: slices
        are averaged with weights, which are 0 far from the centre.
        """
        log_probs = self.slices(maps.mean(dim=(2, 3))).float().T.log_softmax(dim=-1)
        centre = _expected_slice(log_probs)
        near = (torch.arange(maps.shape[0], device=maps.device) - centre).abs() <= self.neighbours
        weights = near.float() / near.sum()
        plane = (weights @ maps.flatten(1)).view(1, *maps.shape[1:])
        return self._output(plane, (log_probs,), centre.unsqueeze(0))

    def _output(
        self, plane: Tensor, log_probs: tuple[Tensor, ...], centre: Tensor
    ) -> OneStageOutput:
        """Find and grade points in averaged planes (B, width, h, w)."""
        heatmaps = spatial_softmax(self.points(plane), spatial=2)
        grade_map = self.grade(plane).float().log_softmax(dim=1)
        grade = pooled(heatmaps, grade_map.exp())
        # mean of probabilities in the log domain, which stays finite if exp() underflows
        weighted = heatmaps.clamp_min(torch.finfo(heatmaps.dtype).tiny).log().unsqueeze(2)
        log_grade = (weighted + grade_map.unsqueeze(1)).flatten(3).logsumexp(dim=-1)
        return OneStageOutput(
            grade=grade,
            log_grade=log_grade,
            xy=expected_index(heatmaps, spatial=2),
            z=torch.stack([p.argmax(dim=-1) for p in log_probs]).float(),
            counts=tuple(p.shape[-1] for p in log_probs),
            plane_heatmaps=heatmaps,
            slice_log_probs=log_probs,
            grade_map=grade_map,
            centre=centre,
        )

    def _average(self, maps: Tensor, counts: Sequence[int], centre: Sequence[int]) -> Tensor:
        """Average the slices around the centre of each volume, (B, width, h, w)."""
        near = [
            volume[max(0, middle - self.neighbours) : middle + self.neighbours + 1]
            for volume, middle in zip(torch.split(maps, list(counts)), centre, strict=True)
        ]
        return torch.stack([slices.mean(dim=0) for slices in near])


def _expected_slice(log_probs: Tensor) -> Tensor:
    """Return the rounded expected slice of the mean of P distributions (P, D)."""
    return expected_index(log_probs.exp().mean(dim=0), spatial=1)[0].round().long()


def two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Build two linear layers from features (N, inputs) to scores (N, outputs)."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, outputs),
    )


def _pixelwise(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, hidden, 1),
        nn.BatchNorm2d(hidden),
        nn.SiLU(inplace=True),
        nn.Conv2d(hidden, outputs, 1),
    )


class OneStageNetwork(nn.Module):
    """An encoder, a decoder and a head; all slices of a batch are encoded together."""

    def __init__(self, encoder: Encoder, decoder: UNetDecoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = head

    def forward(self, slices: Tensor, counts: Sequence[int]) -> OneStageOutput:
        """Find and grade points in slices uint8 (sum of counts, H, W), volume after volume.

        Raises:
            UsageError: if the shape does not fit the counts or the encoder's strides.
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
    """Find and grade points by softmax over the volume ("3d": foraminal).

    Decoder and point head process one volume at a time, so in training their BatchNorm statistics
    are those of one volume.
    """

    #: parts that see one volume at a time
    per_volume = ("decoder",)
    head: VolumeHead

    def _read(self, maps: Sequence[Tensor], counts: Sequence[int]) -> OneStageOutput:
        volumes = zip(*(torch.split(m, list(counts)) for m in maps), strict=True)
        located = [self.head.locate(as_volume(self.decoder(volume))) for volume in volumes]
        result: OneStageOutput = self.head(located)
        return result


class PlaneNetwork(OneStageNetwork):
    """Find the slice, then find and grade points in the plane around it ("2d": canal)."""

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
    """Build the one-stage network of a recipe.

    Args:
        encoder: timm name and settings of the encoder.
        network: decoder and heads.
        targets: number of points to find and grade.
        pretrained: whether the encoder starts from pretrained weights; None follows the recipe.

    Raises:
        UsageError: if settings do not fit together.
        BadModel: if requested pretrained weights are not available.
    """
    body = make_encoder(encoder, pretrained)
    if network.decoder == "3d":
        decoder = UNetDecoder(body.channels, network.widths, 3, depths=network.depths)
        volume_head = VolumeHead(decoder.width, targets, network.features)
        return channels_last(VolumeNetwork(body, decoder, volume_head))
    decoder = UNetDecoder(body.channels, network.widths, 2)
    head = PlaneHead(decoder.width, targets, network.hidden, network.neighbours)
    return channels_last(PlaneNetwork(body, decoder, head))


def channels_last(network: NetworkT) -> NetworkT:
    """Convert the 2-D parts of a network to the memory layout that makes convolutions fast.

    Values and names of parameters do not change; feature maps follow the layout of the weights.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its types
    return network
