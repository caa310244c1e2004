"""Heatmaps as probability distributions: softmax, expected coordinates, peaks, weighted means.

Coordinates are indices: pixel and slice centres are integers. All functions compute in fp32, even
under mixed precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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


def peak_index(heatmaps: Tensor, spatial: int, radius: int) -> Tensor:
    """Return the mean coordinates within ``radius`` of each distribution's highest element.

    If a distribution has several peaks, for example two neighbouring levels, its overall mean lies
    between them. This function uses only the highest peak.

    Args:
        heatmaps: (..., [D,] h, w), not negative.
        spatial: 1, 2 or 3.
        radius: half size of the neighbourhood along each dimension, elements.

    Returns:
        (..., spatial), in the order x, y, z.
    """
    flat = heatmaps.flatten(0, -spatial - 1)
    return find_peaks(flat, spatial, radius, 1).points.view(*heatmaps.shape[:-spatial], spatial)


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


#: Number of candidate peaks per level.
CANDIDATES = 4

#: Smallest distance of a level below the previous level, elements of the heatmap.
STEP = 1.0


class Peaks(NamedTuple):
    """The K highest peaks of each of P heatmaps, with their log mass."""

    points: Tensor
    """(P, K, spatial) x, y(, z)"""
    log_mass: Tensor
    """(P, K), -inf if there is no further peak"""


def find_peaks(heatmaps: Tensor, spatial: int, radius: int, count: int = CANDIDATES) -> Peaks:
    """Find the highest peaks one after another, removing each before the next.

    Args:
        heatmaps: (P, [D,] h, w), not negative, each summing to 1.
        spatial: 2 or 3.
        radius: half size of a peak along each dimension, elements.
        count: number of peaks K.
    """
    rest = heatmaps.clone()
    sizes = heatmaps.shape[-spatial:]
    points, masses = [], []
    for _ in range(count):
        peak = rest.flatten(1).argmax(dim=-1)
        near = torch.ones_like(rest, dtype=torch.bool)
        for axis in range(spatial - 1, -1, -1):
            index = torch.arange(sizes[axis], device=rest.device)
            close = (index - (peak % sizes[axis]).unsqueeze(-1)).abs() <= radius
            shape = [len(rest), *(sizes[axis] if i == axis else 1 for i in range(spatial))]
            near = near & close.view(shape)
            peak = peak // sizes[axis]
        part = torch.where(near, rest, 0.0)
        mass = part.flatten(1).sum(dim=-1)
        whole = mass.clamp_min(torch.finfo(part.dtype).tiny)
        points.append(expected_index(part / whole.view(-1, *[1] * spatial), spatial))
        masses.append(mass.log())
        rest = torch.where(near, 0.0, rest)
    return Peaks(torch.stack(points, dim=1), torch.stack(masses, dim=1))


def ordered_points(
    heatmaps: Tensor, spatial: int, radius: int, chains: Sequence[Sequence[int]]
) -> Tensor:
    """Choose one peak per heatmap so that the points of each chain run from top to bottom.

    Args:
        heatmaps: (P, [D,] h, w), not negative, each summing to 1.
        spatial: 2 or 3.
        radius: half size of a peak along each dimension, elements.
        chains: indices of heatmaps, top to bottom; each heatmap is in one chain.

    Returns:
        (P, spatial), x, y(, z). If no candidates of a chain are in order, each highest peak.
    """
    peaks = find_peaks(heatmaps, spatial, radius)
    result = peaks.points[:, 0].clone()
    for chain in chains:
        chosen = _best_in_order(peaks.points[list(chain), :, 1], peaks.log_mass[list(chain)])
        for index, candidate in zip(chain, chosen, strict=True):
            result[index] = peaks.points[index, candidate]
    return result


def _best_in_order(y: Tensor, log_mass: Tensor) -> list[int]:
    """Return the candidate of each level, from (L, K), for the most probable descending chain."""
    best, back = log_mass[0], []
    for level in range(1, len(y)):
        below = y[level].unsqueeze(1) - y[level - 1].unsqueeze(0) >= STEP
        reached = torch.where(below, best.unsqueeze(0), -torch.inf)
        score, before = reached.max(dim=1)
        best = score + log_mass[level]
        back.append(before)
    if not torch.isfinite(best.max()):
        return [0] * len(y)
    chosen = [int(best.argmax())]
    for before in reversed(back):
        chosen.append(int(before[chosen[-1]]))
    return chosen[::-1]
