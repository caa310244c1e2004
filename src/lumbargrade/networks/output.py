"""What a one-stage network gives for a batch of volumes: points, grades and the maps behind them.

Letters in shapes: B volumes, P targets in the order of ``TARGETS[condition]``, D slices of one
volume, h x w pixels of the mask (a quarter of the image side, ``x_mask = x_image / 4``).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class OneStageOutput:
    """Result of a one-stage network; every tensor is fp32 and on the device of the input.

    The maps are what the losses need. The volume network ("3d", foraminal) fills
    ``volume_heatmaps``; the plane network ("2d", canal) fills the four fields after it.
    """

    grade: Tensor
    """(B, P, 3) probabilities of normal/mild, moderate, severe; each row sums to 1"""
    log_grade: Tensor
    """(B, P, 3) logarithm of ``grade``, computed stably: what the grade loss takes"""
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
