"""Points of neighbouring levels read together: a spine's levels lie in order.

Alone, each heatmap's highest element may lie on the wrong disc, and two levels on the same one.
Together, the most probable set of peaks that goes down level by level is found exactly by dynamic
programming over a few candidates of each level (as in Glocker et al., MICCAI 2012, for vertebrae).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lumbargrade.networks.heatmap import expected_index

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
