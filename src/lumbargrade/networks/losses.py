"""Losses of the networks, as pure functions.

Letters in shapes: B volumes, P targets, D slices of one volume, h x w pixels of the mask. Points
are in mask pixels (x, y) and slices (z). All losses are computed in fp32, even under mixed
precision. The mean of an empty set is zero, with a gradient of zero. If several processes share a
batch, each loss is the process's part of the loss of the joint batch (`networks.joint`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lumbargrade.networks.joint import joint_sum

#: Weight of the grade at the true point, and at each of its four neighbours.
CENTRE_SHARE, NEIGHBOUR_SHARE = 0.5, 0.125

_TINY = torch.finfo(torch.float32).tiny

#: How a heatmap is compared with the true distribution.
HeatmapKind = Literal["jensen_shannon", "cross_entropy"]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the values where the mask (same shape) is true; 0 if nowhere."""
    kept = torch.where(mask, values.float(), 0.0)
    return kept.sum() / joint_sum(mask.sum()).clamp_min(1)


def coordinate_error(predicted: Tensor, truth: Tensor, annotated: Tensor) -> Tensor:
    """Return the mean squared error over annotated points and their coordinates.

    Args:
        predicted, truth: (B, P) or (B, P, 2).
        annotated: (B, P) bool.
    """
    error = (predicted.float() - truth.float()).square()
    mask = annotated if error.ndim == 2 else annotated.unsqueeze(-1).expand_as(error)
    return masked_mean(error, mask)


def weighted_mean_by_grade(losses: Tensor, grades: Tensor, weights: Tensor) -> Tensor:
    """Average losses weighted by their grade's class weight, like torch's CrossEntropyLoss.

    Args:
        losses: any shape.
        grades: same shape, int64; -1 is skipped.
        weights: (3,) class weights.
    """
    known = grades >= 0
    weight = torch.where(known, weights.to(losses.device)[grades.clamp_min(0)], 0.0)
    kept = torch.where(known, losses.float(), 0.0)
    return (weight * kept).sum() / joint_sum(weight.sum()).clamp_min(_TINY)


def grade_nll(log_probs: Tensor, grades: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted negative log-likelihood of grades (...,) for ``log_probs`` (..., 3)."""
    picked = log_probs.float().gather(-1, grades.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    return weighted_mean_by_grade(-picked, grades, weights)


def slice_nll(log_probs: Sequence[Tensor], z: Tensor, annotated: Tensor) -> Tensor:
    """Return the negative log-likelihood of the true slice, averaged over annotated points.

    Args:
        log_probs: per volume (P, D).
        z: (B, P) true slice index; rounded and clamped to the volume.
        annotated: (B, P) bool.
    """
    losses = []
    for volume, slices in zip(log_probs, z, strict=True):
        index = _indices(slices, volume.shape[-1])
        losses.append(-volume.float().gather(-1, index.unsqueeze(-1)).squeeze(-1))
    return masked_mean(torch.stack(losses), annotated)


def jensen_shannon(first: Tensor, second: Tensor, spatial: int) -> Tensor:
    """Return the Jensen-Shannon divergence (nats) over the last ``spatial`` dimensions.

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
    """Return the Jensen-Shannon divergence from a one-hot truth.

    It depends only on the probability p of the true element:
    ``((1-p) log 2 + p log(2p/(1+p)) + log(2/(1+p))) / 2``, so no true heatmap is needed.

    Args:
        at_truth: (...) probability p.
    """
    p = at_truth.float().clamp_min(_TINY)
    log2 = torch.log(p.new_tensor(2.0))
    both = log2 - torch.log1p(p)
    return ((1 - p) * log2 + p * (both + p.log()) + both) / 2


def cross_entropy(predicted: Tensor, truth: Tensor, spatial: int) -> Tensor:
    """Return the cross-entropy (nats) of predictions; arguments as in `jensen_shannon`.

    It grows without limit if the prediction is near 0 at the truth, so its gradient also helps a
    network that has found nothing yet. There the Jensen-Shannon divergence is nearly flat.
    """
    p, q = predicted.float().flatten(-spatial), truth.float().flatten(-spatial)
    return -(q * p.clamp_min(_TINY).log()).sum(dim=-1)


def cross_entropy_to_one(at_truth: Tensor) -> Tensor:
    """Return the cross-entropy for a one-hot truth, from the probability (...) at the truth."""
    return -at_truth.float().clamp_min(_TINY).log()


_DIVERGENCES = {
    "jensen_shannon": (jensen_shannon_to_one, jensen_shannon),
    "cross_entropy": (cross_entropy_to_one, cross_entropy),
}


def gaussian_truth(centres: Tensor, shape: Sequence[int], sigmas: Sequence[float]) -> Tensor:
    """Return normalised Gaussians on a grid of indices.

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
        # the softmax normalises each axis and stays finite for centres far outside the grid
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
    """Return the divergence of volume heatmaps from the truth, averaged over annotated points.

    Args:
        heatmaps: per volume (P, D, h, w).
        xy: (B, P, 2).
        z: (B, P).
        annotated: (B, P) bool.
        sigma: in-plane standard deviation of the true Gaussian, mask pixels (1 slice across the
            plane); with 0 the truth is the voxel nearest to the point.
        kind: the divergence.
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
    """Return `volume_heatmap_loss` for N crops with one point: (N, D, h, w), xyz (N, 3)."""
    return masked_mean(_at_points(heatmaps, xyz, sigma, kind), annotated)


def plane_heatmap_loss(
    heatmaps: Tensor,
    xy: Tensor,
    annotated: Tensor,
    sigma: float,
    kind: HeatmapKind = "jensen_shannon",
) -> Tensor:
    """Return `volume_heatmap_loss` in the plane: heatmaps (B, P, h, w), xy (B, P, 2)."""
    losses = _at_points(heatmaps.flatten(0, 1), xy.flatten(0, 1), sigma, kind)
    return masked_mean(losses.view_as(annotated), annotated)


def _at_points(heatmaps: Tensor, points: Tensor, sigma: float, kind: HeatmapKind) -> Tensor:
    """Return the divergence (N,) of heatmaps (N, [D,] h, w) from points (N, 2 or 3), one each."""
    to_one, between = _DIVERGENCES[kind]
    space = heatmaps.shape[1:]
    if sigma > 0:
        truth = gaussian_truth(points, space, (1.0, sigma, sigma)[-len(space) :])
        return between(heatmaps, truth, len(space))
    return to_one(_at_nearest(heatmaps, points))


def any_severe_loss(severe: Tensor, grades: Tensor, weights: Tensor) -> Tensor:
    """Return the any-severe term of the official score as a loss over studies.

    It uses the largest label, weight and P(severe) over the graded levels of each study.

    Args:
        severe: (B, L) probability of severe.
        grades: (B, L) int64; -1 is skipped, and so are studies with no other grade.
        weights: (3,) class weights.
    """
    known = grades >= 0
    largest = torch.where(known, severe.float(), 0.0).amax(dim=1).clamp(1e-6, 1 - 1e-6)
    label = ((grades == 2) & known).any(dim=1)
    weight = torch.where(known, weights.to(severe.device)[grades.clamp_min(0)], 0.0).amax(dim=1)
    losses = -torch.where(label, largest.log(), (1 - largest).log())
    return (weight * losses).sum() / joint_sum(weight.sum()).clamp_min(_TINY)


def grade_map_nll(grade_map: Tensor, xy: Tensor, grades: Tensor, distance: float = 1.0) -> Tensor:
    """Return the negative log-likelihood of grades on the grade map around their true points.

    The point has weight 1/2 and each of its four neighbours 1/8; each is read at the nearest pixel.
    With ``distance`` 0.5 (as in the published runs), one of the two neighbours along each axis
    rounds to the pixel of the point itself.

    Args:
        grade_map: (B, 3, h, w) log probabilities.
        xy: (B, P, 2) mask pixels.
        grades: (B, P) int64; the result for a grade of -1 is meaningless.
        distance: distance from the point to its neighbours along x and y, mask pixels.

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
    """Grades to which predictions are compared.

    ``grades`` (B, P) int64: grade of the matched true point, -1 if ungraded or unmatched.
    ``matched`` (B, P) bool: whether a true point was near enough.
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

    A network may find a level one too high or too low; its grade is then compared to the level it
    found. Predictions without a true point within ``distance`` in y are not graded.

    Args:
        predicted_y, true_y: (B, P) mask pixels.
        annotated: (B, P) bool, whether there is a true point.
        grades: (B, P) int64, -1 if not graded.
        side: (P,) equal numbers for targets of the same side.
        distance: largest allowed distance, mask pixels.
    """
    apart = (predicted_y.detach().float().unsqueeze(2) - true_y.float().unsqueeze(1)).abs()
    candidate = annotated.unsqueeze(1) & (side.unsqueeze(1) == side.unsqueeze(0))
    nearest = torch.where(candidate, apart, torch.inf).min(dim=2)
    matched = nearest.values <= distance
    return Matching(torch.where(matched, grades.gather(1, nearest.indices), -1), matched)


def _indices(coordinate: Tensor, length: int) -> Tensor:
    """Return the nearest index from 0 to length - 1."""
    return coordinate.round().long().clamp(0, length - 1)


def _at_nearest(heatmaps: Tensor, points: Tensor) -> Tensor:
    """Return heatmap values (N,) at the elements of (N, [D,] h, w) nearest to points x, y(, z)."""
    coordinates = points.flip(-1).unbind(-1)
    index = [_indices(c, n) for c, n in zip(coordinates, heatmaps.shape[1:], strict=True)]
    return heatmaps[(torch.arange(len(heatmaps), device=heatmaps.device), *index)]
