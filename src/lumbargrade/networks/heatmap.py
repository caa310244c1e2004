"""Heatmaps as probability distributions: softmax, expected coordinates, weighted means.

Coordinates are indices: pixel and slice centres are integers. All functions compute in fp32, even
under mixed precision.
"""

from __future__ import annotations

import torch
from torch import Tensor


def spatial_softmax(logits: Tensor, spatial: int) -> Tensor:
    """Apply a joint softmax over the last ``spatial`` dimensions; the result is fp32."""
    flat = logits.float().flatten(-spatial)
    return flat.softmax(dim=-1).view(logits.shape)


def expected_index(heatmaps: Tensor, spatial: int) -> Tensor:
    """Return expected coordinates (DSNT) of distributions over the last ``spatial`` dimensions.

    Args:
        heatmaps: (..., [D,] h, w), each summing to 1 over the spatial dimensions.
        spatial: 1, 2 or 3.

    Returns:
        (..., spatial), in reverse order of the dimensions: x, y, z.
    """
    dims = range(-1, -spatial - 1, -1)
    expected = []
    for dim in dims:
        others = [d for d in dims if d != dim]
        marginal = heatmaps.sum(dim=others) if others else heatmaps
        index = torch.arange(heatmaps.shape[dim], device=heatmaps.device, dtype=heatmaps.dtype)
        expected.append((marginal * index).sum(dim=-1))
    return torch.stack(expected, dim=-1)


def pooled(heatmaps: Tensor, features: Tensor) -> Tensor:
    """Average features with each heatmap as weights.

    Args:
        heatmaps: (B, P, *space), each summing to 1 over space.
        features: (B, C, *space).

    Returns:
        (B, P, C), fp32.
    """
    with torch.autocast(features.device.type, enabled=False):
        return heatmaps.float().flatten(2) @ features.float().flatten(2).transpose(1, 2)
