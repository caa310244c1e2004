"""Heatmaps as probability distributions: softmax, expected coordinates, weighted means.

Coordinates are indices: pixel and slice centres at integers. Everything is computed in fp32,
whatever the precision around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
    flat = heatmaps.flatten(0, -spatial - 1)
    return find_peaks(flat, spatial, radius, 1).points.view(*heatmaps.shape[:-spatial], spatial)


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


#: Peaks of a level that are considered.
CANDIDATES = 4

#: A level lies at least this far below the one above, elements of the heatmap.
STEP = 1.0


class Peaks(NamedTuple):
    """The highest humps of P heatmaps, K each: where they are and the logarithm of their mass."""

    points: Tensor
    """(P, K, spatial) x, y(, z)"""
    log_mass: Tensor
    """(P, K), -inf where there is no further hump"""


def find_peaks(heatmaps: Tensor, spatial: int, radius: int, count: int = CANDIDATES) -> Peaks:
    """The humps around the highest elements, taken away one after another.

    Args:
        heatmaps: (P, [D,] h, w), not negative, each summing to 1.
        spatial: 2 or 3.
        radius: elements either way that make a hump.
        count: K.
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
        hump = torch.where(near, rest, 0.0)
        mass = hump.flatten(1).sum(dim=-1)
        whole = mass.clamp_min(torch.finfo(hump.dtype).tiny)
        points.append(expected_index(hump / whole.view(-1, *[1] * spatial), spatial))
        masses.append(mass.log())
        rest = torch.where(near, 0.0, rest)
    return Peaks(torch.stack(points, dim=1), torch.stack(masses, dim=1))


def ordered_points(
    heatmaps: Tensor, spatial: int, radius: int, chains: Sequence[Sequence[int]]
) -> Tensor:
    """One point per heatmap, such that the points of each chain go down.

    Args:
        heatmaps: (P, [D,] h, w), not negative, each summing to 1.
        spatial: 2 or 3.
        radius: elements either way that make a hump.
        chains: indices of heatmaps, top to bottom; each heatmap in one chain.

    Returns:
        (P, spatial), x, y(, z). Where no candidates of a chain are in order, each its own best.
    """
    peaks = find_peaks(heatmaps, spatial, radius)
    result = peaks.points[:, 0].clone()
    for chain in chains:
        chosen = _best_in_order(peaks.points[list(chain), :, 1], peaks.log_mass[list(chain)])
        for index, candidate in zip(chain, chosen, strict=True):
            result[index] = peaks.points[index, candidate]
    return result


def _best_in_order(y: Tensor, log_mass: Tensor) -> list[int]:
    """Which candidate of each level, (L, K), makes the most probable descending chain."""
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
