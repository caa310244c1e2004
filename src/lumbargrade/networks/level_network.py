"""The second-stage network: fuse crops of all views level by level and grade all conditions.

The network is mirror-symmetric by construction: crops of the right side are mirrored, each side is
processed as "this side" with "the other side", and canal stenosis is the mean over both sides. So
``f(mirrored study)`` is ``f(study)`` with left and right exchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lumbargrade.config import EncoderConfig, NetworkConfig
from lumbargrade.domain.vocabulary import Condition, SeriesKind
from lumbargrade.networks import joint
from lumbargrade.networks.crop_network import CropTrunk, build_trunk
from lumbargrade.networks.one_stage import channels_last

#: Levels of a study.
LEVELS = 5

_CONDITIONS = len(Condition)


@dataclass(frozen=True)
class LevelOutput:
    """Output for B studies, fp32: log probabilities of each condition, and heatmaps."""

    canal: Tensor
    """(B, 5, 3)"""
    foraminal: Tensor
    """(B, 10, 3) left L1/L2 to L5/S1, then right"""
    subarticular: Tensor
    """(B, 10, 3) in the same order"""
    seen: Tensor
    """(B, 10) bool, whether any view shows the level and side; if not, ignore its outputs"""
    heatmaps: Mapping[str, Tensor]
    """kind's name -> (B, 10, D, h, w) heatmap of each crop's point; 0 if there is no crop"""
    alone: Mapping[str, Tensor]
    """kind's name -> (B, 10, conditions, 3) log probabilities from only that view, for the loss"""


def masked_softmax(scores: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Apply a softmax over the elements in the mask; all other elements are 0."""
    lowest = torch.finfo(torch.float32).min / 2
    weights: Tensor = scores.float().masked_fill(~mask, lowest).softmax(dim=dim) * mask
    return weights


class ViewOutput(NamedTuple):
    """Output of one view for B studies."""

    scores: Tensor
    """(B, 10, conditions) fusion scores of the view for each condition"""
    values: Tensor
    """(B, 10, conditions, width) features for fusion"""
    heatmaps: Tensor
    """(B, 10, D, h, w)"""
    alone: Tensor
    """(B, 10, conditions, 3) log probabilities from only this view"""


class ViewReader(nn.Module):
    """Convert the crops of a view to features and scores for each condition."""

    def __init__(self, trunk: CropTrunk, width: int, *, both_orders: bool) -> None:
        super().__init__()
        self.trunk = trunk
        self.project = nn.Sequential(
            nn.Linear(trunk.width, width), nn.LayerNorm(width), nn.ReLU(inplace=True)
        )
        self.weight = nn.Linear(width, _CONDITIONS)
        self.value = nn.Linear(width, _CONDITIONS * width)
        self.alone = nn.Linear(width, _CONDITIONS * 3)
        self.both_orders = both_orders

    def forward(self, images: Tensor, valid: Tensor) -> ViewOutput:
        """Process the view's crops uint8 (B, 10, D, S, S) with their valid slices (B, 10, D)."""
        batch, depth, size = len(images), images.shape[2], images.shape[-1] // 4
        there = valid.any(dim=-1)
        features = images.new_zeros((batch, 2 * LEVELS, self.trunk.width), dtype=torch.float32)
        heatmaps = images.new_zeros((batch, 2 * LEVELS, depth, size, size), dtype=torch.float32)
        # left and right crops of T2 are the same slices in opposite order
        some = there[:, :LEVELS] if self.both_orders else there
        here = bool(some.any())
        if not joint.anywhere(here, images.device):
            return self.output(features, heatmaps)
        if here:
            wanted = slice(0, some.shape[1])
            found = self.trunk(
                images[:, wanted][some], valid[:, wanted][some], both_orders=self.both_orders
            )
            where = _twice(some) if self.both_orders else some.nonzero(as_tuple=True)
            features = features.index_put(where, found.features.float())
            heatmaps = heatmaps.index_put(where, found.heatmaps)
        else:  # another process sees this view, and its BatchNorm layers wait for this process
            with joint.silent():
                found = self.trunk(images[0, :1], torch.ones_like(valid[0, :1]))
            features = features + 0 * found.features.sum()
        return self.output(features, heatmaps)

    def output(self, features: Tensor, heatmaps: Tensor) -> ViewOutput:
        """Return the output for pooled features (B, 10, trunk's width); 0 if there is no crop."""
        x = self.project(features)
        shape = (len(features), 2 * LEVELS, _CONDITIONS, -1)
        alone = self.alone(x).float().view(shape).log_softmax(dim=-1)
        return ViewOutput(self.weight(x), self.value(x).view(shape), heatmaps, alone)


def _twice(some: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices of valid left crops, then of the right crops of the same levels."""
    study, level = some.nonzero(as_tuple=True)
    return torch.cat([study, study]), torch.cat([level, level + LEVELS])


class LevelNetwork(nn.Module):
    """A reader per view, fusion of the available views, and a sequence model over levels.

    Fusion is a weighted mean with learned weights per condition; absent views are masked out. The
    sequence model is a bidirectional GRU over levels that sees both sides.

    Args:
        trunks: one trunk per view, or the same for all.
        width: number of features of a crop.
    """

    def __init__(self, trunks: Mapping[SeriesKind, CropTrunk], width: int) -> None:
        super().__init__()
        self.readers = nn.ModuleDict(
            {
                k.name: ViewReader(trunks[k], width, both_orders=k is SeriesKind.SAGITTAL_T2)
                for k in SeriesKind
            }
        )
        self.sequence = nn.GRU(2 * _CONDITIONS * width, width, batch_first=True, bidirectional=True)
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Linear(3 * width, width),
                nn.LayerNorm(width),
                nn.ReLU(inplace=True),
                nn.Dropout(0.1),
                nn.Linear(width, 3),
            )
            for _ in Condition
        )

    def forward(self, images: Mapping[str, Tensor], valid: Mapping[str, Tensor]) -> LevelOutput:
        """Grade crops uint8 (B, 10, D, S, S) with valid slices (B, 10, D), by kind's name."""
        read: dict[SeriesKind, ViewOutput] = {
            k: self.readers[k.name](images[k.name], valid[k.name]) for k in SeriesKind
        }
        return self.fuse(read, valid)

    def fuse(
        self, read: Mapping[SeriesKind, ViewOutput], valid: Mapping[str, Tensor]
    ) -> LevelOutput:
        """Grade what the readers of all views return."""
        there = torch.stack([valid[k.name].any(dim=-1) for k in SeriesKind], dim=2)
        scores = torch.stack([read[k].scores for k in SeriesKind], dim=2)
        values = torch.stack([read[k].values for k in SeriesKind], dim=2)
        weights = masked_softmax(scores, there.unsqueeze(-1), dim=2)
        fused = torch.relu((weights.unsqueeze(-1) * values).sum(dim=2))
        batch = len(fused)
        sides = fused.view(batch, 2, LEVELS, -1)
        both = torch.cat([sides, sides.flip(1)], dim=-1)
        along = self.sequence(both.flatten(0, 1))[0].reshape(batch, 2 * LEVELS, -1)
        logits = {
            condition: head(torch.cat([part, along], dim=-1)).float()
            for condition, head, part in zip(
                Condition, self.heads, fused.unbind(dim=2), strict=True
            )
        }
        canal = logits[Condition.CANAL].view(batch, 2, LEVELS, 3).mean(dim=1)
        return LevelOutput(
            canal=canal.log_softmax(dim=-1),
            foraminal=logits[Condition.FORAMINAL].log_softmax(dim=-1),
            subarticular=logits[Condition.SUBARTICULAR].log_softmax(dim=-1),
            seen=there.any(dim=2),
            heatmaps={k.name: read[k].heatmaps for k in SeriesKind},
            alone={k.name: read[k].alone for k in SeriesKind},
        )


def build_level_network(
    encoder: EncoderConfig, network: NetworkConfig, pretrained: bool | None = None
) -> LevelNetwork:
    """Build the second stage of a recipe; see `build_trunk` for arguments and errors."""
    if network.shared_encoder:
        trunks = dict.fromkeys(SeriesKind, build_trunk(encoder, network, pretrained))
    else:
        trunks = {kind: build_trunk(encoder, network, pretrained) for kind in SeriesKind}
    return channels_last(LevelNetwork(trunks, network.features))
