"""Losses of the one-stage networks, one pure function each.

Letters in shapes: B volumes, P targets, D slices of one volume, h x w pixels of the mask. Points
are in mask pixels (x, y) and slices (z). Everything is computed in fp32, whatever the precision
of the network. A mean over nothing is zero, with a gradient of zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

#: Share of a grade read at the true point, and at each of its four neighbours.
CENTRE_SHARE, NEIGHBOUR_SHARE = 0.5, 0.125

_TINY = torch.finfo(torch.float32).tiny

#: How a heatmap is compared with the truth.
HeatmapKind = Literal["jensen_shannon", "cross_entropy"]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where the mask (same shape) is true; 0 where it is nowhere true."""
    kept = torch.where(mask, values.float(), 0.0)
    return kept.sum() / mask.sum().clamp_min(1)


def coordinate_error(predicted: Tensor, truth: Tensor, annotated: Tensor) -> Tensor:
    """Mean squared error over annotated points and their coordinates.

    Args:
        predicted, truth: (B, P) or (B, P, 2).
        annotated: (B, P) bool.
    """
    error = (predicted.float() - truth.float()).square()
    mask = annotated if error.ndim == 2 else annotated.unsqueeze(-1).expand_as(error)
    return masked_mean(error, mask)


def weighted_mean_by_grade(losses: Tensor, grades: Tensor, weights: Tensor) -> Tensor:
    """Mean of losses weighted by their grade's class weight, as torch's CrossEntropyLoss does.

    Args:
        losses: any shape.
        grades: same shape, int64; -1 is left out.
        weights: (3,) class weights.
    """
    known = grades >= 0
    weight = torch.where(known, weights.to(losses.device)[grades.clamp_min(0)], 0.0)
    kept = torch.where(known, losses.float(), 0.0)
    return (weight * kept).sum() / weight.sum().clamp_min(_TINY)


def grade_nll(log_probs: Tensor, grades: Tensor, weights: Tensor) -> Tensor:
    """Weighted negative log-likelihood of grades (...,) under log probabilities (..., 3)."""
    picked = log_probs.float().gather(-1, grades.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    return weighted_mean_by_grade(-picked, grades, weights)


def slice_nll(log_probs: Sequence[Tensor], z: Tensor, annotated: Tensor) -> Tensor:
    """Negative log-likelihood of the true slice, mean over annotated points.

    Args:
        log_probs: per volume (P, D).
        z: (B, P) true slice index; rounded and kept inside the volume.
        annotated: (B, P) bool.
    """
    losses = []
    for volume, slices in zip(log_probs, z, strict=True):
        index = _indices(slices, volume.shape[-1])
        losses.append(-volume.float().gather(-1, index.unsqueeze(-1)).squeeze(-1))
    return masked_mean(torch.stack(losses), annotated)


def jensen_shannon(first: Tensor, second: Tensor, spatial: int) -> Tensor:
    """Jensen-Shannon divergence (nats) of distributions over the last ``spatial`` dimensions.

    Args:
        first, second: (..., *space), each summing to 1 over space.

    Returns:
        (...): between 0 and log 2.
    """
    p, q = first.float().flatten(-spatial), second.float().flatten(-spatial)
    middle = ((p + q) / 2).clamp_min(_TINY).log()
    to_middle = p * (p.clamp_min(_TINY).log() - middle) + q * (q.clamp_min(_TINY).log() - middle)
    return to_middle.sum(dim=-1) / 2


def jensen_shannon_to_one(at_truth: Tensor) -> Tensor:
    """Jensen-Shannon divergence between a distribution and certainty of one of its elements.

    Only the probability p of that element matters:
    ``((1-p) log 2 + p log(2p/(1+p)) + log(2/(1+p))) / 2``, so no true heatmap is made.

    Args:
        at_truth: (...) p.
    """
    p = at_truth.float().clamp_min(_TINY)
    log2 = torch.log(p.new_tensor(2.0))
    both = log2 - torch.log1p(p)
    return ((1 - p) * log2 + p * (both + p.log()) + both) / 2


def cross_entropy(predicted: Tensor, truth: Tensor, spatial: int) -> Tensor:
    """Cross-entropy (nats) of predicted distributions under the true ones, as `jensen_shannon`.

    It goes to infinity where the truth has no prediction, and so keeps pulling a network that has
    found nothing yet; the Jensen-Shannon divergence is nearly flat there.
    """
    p, q = predicted.float().flatten(-spatial), truth.float().flatten(-spatial)
    return -(q * p.clamp_min(_TINY).log()).sum(dim=-1)


def cross_entropy_to_one(at_truth: Tensor) -> Tensor:
    """Cross-entropy where the truth is certain of one element with probability (...) p."""
    return -at_truth.float().clamp_min(_TINY).log()


_DIVERGENCES = {
    "jensen_shannon": (jensen_shannon_to_one, jensen_shannon),
    "cross_entropy": (cross_entropy_to_one, cross_entropy),
}


def gaussian_truth(centres: Tensor, shape: Sequence[int], sigmas: Sequence[float]) -> Tensor:
    """Normalised Gaussians on a grid of indices.

    Args:
        centres: (..., n) in the order x, y(, z).
        shape: (h, w) or (D, h, w).
        sigmas: standard deviation along each dimension of ``shape``.

    Returns:
        (..., *shape), each summing to 1 over the grid.
    """
    result = centres.new_ones(centres.shape[:-1], dtype=torch.float32)
    centres = centres.float()
    for axis, (length, sigma) in enumerate(zip(shape, sigmas, strict=True)):
        index = torch.arange(length, device=centres.device, dtype=torch.float32)
        centre = centres[..., len(shape) - 1 - axis]
        # a softmax normalises each axis, and stays finite for a centre far outside the grid
        along = (-((index - centre.unsqueeze(-1)) ** 2) / (2 * sigma**2)).softmax(dim=-1)
        result = result.unsqueeze(-1) * along.view(*centre.shape, *[1] * axis, length)
    return result


def volume_heatmap_loss(
    heatmaps: Sequence[Tensor],
    xy: Tensor,
    z: Tensor,
    annotated: Tensor,
    sigma: float,
    kind: HeatmapKind = "jensen_shannon",
) -> Tensor:
    """Divergence of volume heatmaps from the truth, mean over annotated points.

    Args:
        heatmaps: per volume (P, D, h, w).
        xy: (B, P, 2).
        z: (B, P).
        annotated: (B, P) bool.
        sigma: of the true Gaussian, mask pixels in the plane and 1 slice across it; 0 makes the
            truth the one voxel nearest to the point.
        kind: which divergence.
    """
    points = torch.cat([xy, z.unsqueeze(-1)], dim=-1)
    losses = [_at_points(v, p, sigma, kind) for v, p in zip(heatmaps, points, strict=True)]
    return masked_mean(torch.stack(losses), annotated)


def crop_heatmap_loss(
    heatmaps: Tensor,
    xyz: Tensor,
    annotated: Tensor,
    sigma: float,
    kind: HeatmapKind = "jensen_shannon",
) -> Tensor:
    """The same for N crops of one point each: heatmaps (N, D, h, w), xyz (N, 3)."""
    return masked_mean(_at_points(heatmaps, xyz, sigma, kind), annotated)


def plane_heatmap_loss(
    heatmaps: Tensor,
    xy: Tensor,
    annotated: Tensor,
    sigma: float,
    kind: HeatmapKind = "jensen_shannon",
) -> Tensor:
    """The same in the plane: heatmaps (B, P, h, w), xy (B, P, 2)."""
    losses = _at_points(heatmaps.flatten(0, 1), xy.flatten(0, 1), sigma, kind)
    return masked_mean(losses.view_as(annotated), annotated)


def _at_points(heatmaps: Tensor, points: Tensor, sigma: float, kind: HeatmapKind) -> Tensor:
    """Divergence (N,) of heatmaps (N, [D,] h, w) from points (N, 2 or 3), one each."""
    to_one, between = _DIVERGENCES[kind]
    space = heatmaps.shape[1:]
    if sigma > 0:
        truth = gaussian_truth(points, space, (1.0, sigma, sigma)[-len(space) :])
        return between(heatmaps, truth, len(space))
    return to_one(_at_nearest(heatmaps, points))


def any_severe_loss(severe: Tensor, grades: Tensor, weights: Tensor) -> Tensor:
    """The any-severe term of the official score, as a loss over studies.

    Per study over its graded levels: largest label, largest weight, largest P(severe).

    Args:
        severe: (B, L) probability of severe.
        grades: (B, L) int64; -1 is left out, and a study with nothing else.
        weights: (3,) class weights.
    """
    known = grades >= 0
    largest = torch.where(known, severe.float(), 0.0).amax(dim=1).clamp(1e-6, 1 - 1e-6)
    label = ((grades == 2) & known).any(dim=1)
    weight = torch.where(known, weights.to(severe.device)[grades.clamp_min(0)], 0.0).amax(dim=1)
    losses = -torch.where(label, largest.log(), (1 - largest).log())
    return (weight * losses).sum() / weight.sum().clamp_min(_TINY)


def grade_map_nll(grade_map: Tensor, xy: Tensor, grades: Tensor, distance: float = 1.0) -> Tensor:
    """Negative log-likelihood of a grade read off the map around its true point.

    Half of it at the point and an eighth at each of its four neighbours, each read at the nearest
    pixel of the map. With ``distance`` 0.5 (the published runs), one of the two neighbours along
    each axis rounds to the pixel of the point itself.

    Args:
        grade_map: (B, 3, h, w) log probabilities.
        xy: (B, P, 2) mask pixels.
        grades: (B, P) int64; the result for a grade of -1 is meaningless.
        distance: from the point to its neighbours along x and y, mask pixels.

    Returns:
        (B, P).
    """
    _, _, height, width = grade_map.shape
    xy = xy.float()
    batch = torch.arange(len(grade_map), device=grade_map.device).unsqueeze(-1)
    grade = grades.clamp_min(0)

    def read(dx: float, dy: float) -> Tensor:
        x, y = _indices(xy[..., 0] + dx, width), _indices(xy[..., 1] + dy, height)
        return -grade_map[batch, grade, y, x].float()

    d = distance
    around = read(-d, 0) + read(d, 0) + read(0, -d) + read(0, d)
    return CENTRE_SHARE * read(0, 0) + NEIGHBOUR_SHARE * around


class Matching(NamedTuple):
    """Which predictions are graded, and against what.

    ``grades`` (B, P) int64 is the grade of the matched true point (-1: ungraded or unmatched);
    ``matched`` (B, P) bool says where a true point was near enough.
    """

    grades: Tensor
    matched: Tensor


def match_grades(
    predicted_y: Tensor,
    true_y: Tensor,
    annotated: Tensor,
    grades: Tensor,
    side: Tensor,
    distance: float,
) -> Matching:
    """Give each prediction the grade of the nearest true point of its side ("dynamic matching").

    A network may find a level one higher or lower than it was asked for; what it grades is then
    the level that it found. A prediction with no true point within ``distance`` in y is not
    graded.

    Args:
        predicted_y, true_y: (B, P) mask pixels.
        annotated: (B, P) bool, which true points there are.
        grades: (B, P) int64, -1 where not graded.
        side: (P,) equal numbers for targets of the same side.
        distance: largest distance, mask pixels, inclusive.
    """
    apart = (predicted_y.detach().float().unsqueeze(2) - true_y.float().unsqueeze(1)).abs()
    candidate = annotated.unsqueeze(1) & (side.unsqueeze(1) == side.unsqueeze(0))
    nearest = torch.where(candidate, apart, torch.inf).min(dim=2)
    matched = nearest.values <= distance
    return Matching(torch.where(matched, grades.gather(1, nearest.indices), -1), matched)


def _indices(coordinate: Tensor, length: int) -> Tensor:
    """Nearest index inside 0..length - 1."""
    return coordinate.round().long().clamp(0, length - 1)


def _at_nearest(heatmaps: Tensor, points: Tensor) -> Tensor:
    """Values (N,) of heatmaps (N, [D,] h, w) at the element nearest to points x, y(, z)."""
    coordinates = points.flip(-1).unbind(-1)
    index = [_indices(c, n) for c, n in zip(coordinates, heatmaps.shape[1:], strict=True)]
    return heatmaps[(torch.arange(len(heatmaps), device=heatmaps.device), *index)]
