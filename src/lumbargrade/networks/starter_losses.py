"""Losses of the starter's networks, computed in fp32 even under mixed precision.

Letters in shapes: B slices, C classes, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: Class of a pixel that does not count.
IGNORED = 255


def structure_loss(logits: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Return weighted cross-entropy plus soft Dice loss of the classes after the first.

    The Dice loss (Milletari et al. 2016) is computed over the whole batch, so that a class that is
    missing from a slice does no harm.

    Args:
        logits: (B, C, H, W).
        truth: (B, H, W) int64, `IGNORED` where a pixel does not count.
        weights: (C,) class weights of the cross-entropy.
    """
    logits = logits.float()
    entropy = functional.cross_entropy(logits, truth, weights, ignore_index=IGNORED)
    counts = (truth != IGNORED).unsqueeze(1)
    probabilities = logits.softmax(1)[:, 1:] * counts
    classes = torch.arange(1, logits.shape[1], device=truth.device).view(-1, 1, 1)
    present = (truth.unsqueeze(1) == classes).float()
    both = (probabilities * present).sum((0, 2, 3))
    either = probabilities.sum((0, 2, 3)) + present.sum((0, 2, 3))
    dice = (2 * both + 1) / (either + 1)
    return entropy + (1 - dice).mean()


def segment_loss(logits: Tensor, truth: Tensor, background: float, smoothing: float) -> Tensor:
    """Return the cross-entropy of the segments.

    Args:
        logits: (B, C, h, w).
        truth: (B, h, w) int64, `IGNORED` where a pixel does not count.
        background: weight of class 0; the others weigh 1.
        smoothing: label smoothing.
    """
    weights = torch.ones(logits.shape[1], device=logits.device)
    weights[0] = background
    return functional.cross_entropy(
        logits.float(), truth, weights, ignore_index=IGNORED, label_smoothing=smoothing
    )


def heat_loss(logits: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
    """Return the quality focal loss (Li et al. 2020) of heatmaps, per unit of true heat.

    It is smallest where probability and heat are equal, at any heat from 0 to 1. Pixels count less
    the closer they already are, so the empty background does not outweigh the peaks.

    Args:
        logits: (B, P, h, w).
        truth: (B, P, h, w) heat, 0 to 1.
        counts: (B, h, w) bool, whether a pixel counts.
    """
    logits = logits.float()
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    distance = (logits.sigmoid() - truth).square()
    return (entropy * distance * counts.unsqueeze(1)).sum() / truth.sum().clamp_min(1)
