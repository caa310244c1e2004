"""Heatmaps as probability distributions: softmax, expected coordinates, weighted means.

Coordinates are indices: pixel and slice centres at integers. Everything is computed in fp32,
whatever the precision around it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def spatial_softmax(logits: Tensor, spatial: int) -> Tensor:
    """Softmax over the last ``spatial`` dimensions together; same shape, fp32."""
    flat = logits.float().flatten(-spatial)
    return flat.softmax(dim=-1).view(logits.shape)


def expected_index(heatmaps: Tensor, spatial: int) -> Tensor:
    """Expected coordinates (DSNT) of distributions over the last ``spatial`` dimensions.

    Args:
        heatmaps: (..., [D,] h, w), each summing to 1 over the spatial dimensions.
        spatial: 1, 2 or 3.

    Returns:
        (..., spatial), in the order of the dimensions reversed: x, y, z.
    """
    dims = range(-1, -spatial - 1, -1)
    expected = []
    for dim in dims:
        others = [d for d in dims if d != dim]
        marginal = heatmaps.sum(dim=others) if others else heatmaps
        index = torch.arange(heatmaps.shape[dim], device=heatmaps.device, dtype=heatmaps.dtype)
        expected.append((marginal * index).sum(dim=-1))
    return torch.stack(expected, dim=-1)


def peak_index(heatmaps: Tensor, spatial: int, radius: int) -> Tensor:
    """Expected coordinates of what lies within ``radius`` of each distribution's highest element.

    Where a distribution has several humps, such as two neighbouring levels, its mean lies between
    them, where nothing is; this is the mean of the highest hump alone.

    Args:
        heatmaps: (..., [D,] h, w), not negative.
        spatial: 1, 2 or 3.
        radius: elements either way along each dimension.

    Returns:
        (..., spatial), in the order x, y, z.
    """
    sizes = heatmaps.shape[-spatial:]
    peak = heatmaps.flatten(-spatial).argmax(dim=-1)
    near = torch.ones_like(heatmaps)
    for axis in range(spatial - 1, -1, -1):
        size = sizes[axis]
        index = torch.arange(size, device=heatmaps.device)
        close = (index - (peak % size).unsqueeze(-1)).abs() <= radius
        near = near * close.view(*peak.shape, *(size if i == axis else 1 for i in range(spatial)))
        peak = peak // size
    hump = heatmaps * near
    total = hump.flatten(-spatial).sum(dim=-1).clamp_min(torch.finfo(hump.dtype).tiny)
    return expected_index(hump / total.view(*total.shape, *[1] * spatial), spatial)


def pooled(heatmaps: Tensor, features: Tensor) -> Tensor:
    """Mean of features under each heatmap.

    Args:
        heatmaps: (B, P, *space), each summing to 1 over space.
        features: (B, C, *space).

    Returns:
        (B, P, C), fp32.
    """
    with torch.autocast(features.device.type, enabled=False):
        return heatmaps.float().flatten(2) @ features.float().flatten(2).transpose(1, 2)
