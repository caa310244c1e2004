"""The second stage: crops of every view of a study, fused level by level, to all five conditions.

The network is mirror-symmetric by construction. Crops of the right side come mirrored, nothing in
it knows left from right but "this side" and "the other side", and canal stenosis is the mean of
what both sides say. So ``f(mirrored study)`` is ``f(study)`` with left and right exchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lumbargrade.config import EncoderConfig, NetworkConfig
from lumbargrade.domain.vocabulary import Condition, SeriesKind
from lumbargrade.networks.crop_network import CropTrunk, build_trunk
from lumbargrade.networks.one_stage import channels_last

#: Levels of a study.
LEVELS = 5

_CONDITIONS = len(Condition)


@dataclass(frozen=True)
class LevelOutput:
    """Log probabilities for B studies, fp32: one tensor per condition."""

    canal: Tensor
    """(B, 5, 3)"""
    foraminal: Tensor
    """(B, 10, 3) left L1/L2..L5/S1, then right"""
    subarticular: Tensor
    """(B, 10, 3) likewise"""
    seen: Tensor
    """(B, 10) bool, whether any view shows the place; elsewhere the rest means nothing"""
    heatmaps: Mapping[str, Tensor]
    """kind's name -> (B, 10, D, h, w) where the point of each crop is; 0 where there is no crop"""
    alone: Mapping[str, Tensor]
    """kind's name -> (B, 10, conditions, 3) log probabilities by that view alone, for the loss"""


def masked_softmax(scores: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Softmax over what the mask holds; 0 elsewhere, and everywhere if it holds nothing."""
    lowest = torch.finfo(torch.float32).min / 2
    weights: Tensor = scores.float().masked_fill(~mask, lowest).softmax(dim=dim) * mask
    return weights


class ViewOutput(NamedTuple):
    """What one view says of B studies."""

    scores: Tensor
    """(B, 10, conditions) how much each condition listens to it"""
    values: Tensor
    """(B, 10, conditions, width)"""
    heatmaps: Tensor
    """(B, 10, D, h, w)"""
    alone: Tensor
    """(B, 10, conditions, 3) log probabilities by this view alone"""


class ViewReader(nn.Module):
    """A view's crops to features, and what each condition makes of them."""

    def __init__(self, trunk: CropTrunk, width: int, *, both_orders: bool) -> None:
        super().__init__()
        self.trunk = trunk
        self.project = nn.Sequential(
            nn.Linear(trunk.width, width), nn.LayerNorm(width), nn.ReLU(inplace=True)
        )
        self.weight = nn.Linear(width, _CONDITIONS)
        self.value = nn.Linear(width, _CONDITIONS * width)
        self.alone = nn.Linear(width, _CONDITIONS * 3)
        self._both = both_orders

    def forward(self, images: Tensor, valid: Tensor) -> ViewOutput:
        """uint8 (B, 10, D, S, S) and bool (B, 10, D) to what the view says."""
        batch, depth, size = len(images), images.shape[2], images.shape[-1] // 4
        there = valid.any(dim=-1)
        features = images.new_zeros((batch, 2 * LEVELS, self.trunk.width), dtype=torch.float32)
        heatmaps = images.new_zeros((batch, 2 * LEVELS, depth, size, size), dtype=torch.float32)
        # left and right crops of T2 are the same slices in opposite order
        some = there[:, :LEVELS] if self._both else there
        if some.any():
            wanted = slice(0, some.shape[1])
            found = self.trunk(
                images[:, wanted][some], valid[:, wanted][some], both_orders=self._both
            )
            where = _twice(some) if self._both else some.nonzero(as_tuple=True)
            features = features.index_put(where, found.features.float())
            heatmaps = heatmaps.index_put(where, found.heatmaps)
        x = self.project(features)
        shape = (batch, 2 * LEVELS, _CONDITIONS, -1)
        alone = self.alone(x).float().view(shape).log_softmax(dim=-1)
        return ViewOutput(self.weight(x), self.value(x).view(shape), heatmaps, alone)


def _twice(some: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the left places that there are, then of the right places beside them."""
    study, level = some.nonzero(as_tuple=True)
    return torch.cat([study, study]), torch.cat([level, level + LEVELS])


class LevelNetwork(nn.Module):
    """A reader per view, fusion over the views that there are, a sequence model over levels.

    Fusion is a weighted mean with weights that each condition learns; a view that is absent has no
    weight at all, so it is masked, not replaced by zeros. The sequence model is a bidirectional
    GRU from level to level that sees this side beside the other.

    Args:
        trunks: one per view, or the same for all.
        width: features of a crop.
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
        """Crops by the name of their kind: uint8 (B, 10, D, S, S) and bool (B, 10, D)."""
        there = torch.stack([valid[k.name].any(dim=-1) for k in SeriesKind], dim=2)
        read: dict[SeriesKind, ViewOutput] = {
            k: self.readers[k.name](images[k.name], valid[k.name]) for k in SeriesKind
        }
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
    """The second stage of a recipe; arguments and errors as `build_trunk`."""
    if network.shared_encoder:
        trunks = dict.fromkeys(SeriesKind, build_trunk(encoder, network, pretrained))
    else:
        trunks = {kind: build_trunk(encoder, network, pretrained) for kind in SeriesKind}
    return channels_last(LevelNetwork(trunks, network.features))
