"""Evaluation of the starter's networks on held-out phantoms, always the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from lumbargrade.config import StarterName
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.outlines import (
    AXIAL_MM,
    AXIAL_STRUCTURES,
    SAGITTAL_MM,
    SAGITTAL_STRUCTURES,
    Mark,
    Segment,
)
from lumbargrade.networks.starter import (
    MARK_STRIDE,
    AxialOutput,
    SagittalOutput,
)
from lumbargrade.networks.starter_losses import IGNORED
from lumbargrade.training.phantom_items import Items

#: Seed of the held-out phantoms; no network may be trained with it.
EVALUATION_SEED = 20_000_003
#: A true point counts if its peak is at least this high, and is found if a predicted peak of at
#: least half of that lies within `FOUND_MM`.
PEAK, FOUND_MM = 0.5, 3.0


@torch.inference_mode()
def evaluate(network: nn.Module, task: StarterName, items: Iterable[Items]) -> dict[str, float]:
    """Return figures of a network, each from 0 to 1, higher is better.

    * ``dice_body`` and so on: Dice coefficient of a structure over all slices;
    * ``segment_accuracy``: share of pixels on the spine with the right segment (sagittal);
    * ``canal_found`` and so on: share of points of a kind that a predicted peak marks within 3 mm.

    Args:
        network: the network in evaluation mode.
        task: its task.
        items: batches on its device.
    """
    sagittal = task == "starter_sagittal"
    structures = SAGITTAL_STRUCTURES if sagittal else AXIAL_STRUCTURES
    points = [m.name.lower() for m in Mark] if sagittal else ["left_recess", "right_recess"]
    pixel = (SAGITTAL_MM if sagittal else AXIAL_MM) * MARK_STRIDE
    overlap = np.zeros((3, len(structures)))
    right = spine = 0
    found = np.zeros((2, len(points)))
    for batch in items:
        output: SagittalOutput | AxialOutput = network(batch.images)
        overlap += _overlap(_classes(output.structures), batch.structures.cpu().numpy(), structures)
        if isinstance(output, SagittalOutput) and batch.segments is not None:
            truth = batch.segments.cpu().numpy()
            on = (truth != Segment.NONE) & (truth != IGNORED)
            right += int((_classes(output.segments) == truth)[on].sum())
            spine += int(on.sum())
        heat = (output[-1]).float().sigmoid().cpu().numpy()
        found += _found(heat, batch.heat.cpu().numpy(), pixel)
    scores = {
        f"dice_{structure.name.lower()}": 2 * both / max(predicted + true, 1)
        for structure, both, predicted, true in zip(structures[1:], *overlap[:, 1:], strict=True)
    }
    if sagittal:
        scores["segment_accuracy"] = right / max(spine, 1)
    for name, hits, count in zip(points, *found, strict=True):
        scores[f"{name}_found"] = hits / max(count, 1)
    return {name: float(value) for name, value in scores.items()}


def measure(name: str) -> str:
    """Return what a figure of `evaluate` measures, in words."""
    if name == "segment_accuracy":
        return "share of pixels on the spine with the right segment"
    if name.startswith("dice_"):
        return f"Dice coefficient of {name.removeprefix('dice_')}"
    point = name.removesuffix("_found").replace("_", " ")
    return f"share of {point} points found within {FOUND_MM:g} mm"


def listed(scores: Mapping[str, float]) -> str:
    """Return figures as text for a line of the log."""
    return " ".join(f"{name} {value:.3f}" for name, value in scores.items())


def _classes(logits: torch.Tensor) -> NDArray[np.intp]:
    return np.asarray(logits.argmax(1).cpu().numpy())


def _overlap(
    predicted: NDArray[np.intp], truth: NDArray[np.uint8], structures: tuple[int, ...]
) -> FloatArray:
    """Return pixels in both, predicted and true, (3, classes)."""
    counts = truth != IGNORED
    each = range(len(structures))
    return np.array(
        [
            [np.sum((predicted == c) & (truth == c)) for c in each],
            [np.sum((predicted == c) & counts) for c in each],
            [np.sum(truth == c) for c in each],
        ],
        float,
    )


def _found(predicted: NDArray[np.float32], truth: NDArray[np.float32], pixel: float) -> FloatArray:
    """Return numbers of found and of all true points, (2, P)."""
    numbers = np.zeros((2, truth.shape[1]))
    for guess, true in zip(predicted, truth, strict=True):
        for kind in range(truth.shape[1]):
            points, candidates = peaks(true[kind], PEAK), peaks(guess[kind], PEAK / 2)
            numbers[1, kind] += len(points)
            if len(points) and len(candidates):
                distance = np.linalg.norm(points[:, None] - candidates[None], axis=-1) * pixel
                numbers[0, kind] += int((distance.min(axis=1) <= FOUND_MM).sum())
    return numbers


def peaks(heat: NDArray[np.float32], lowest: float) -> FloatArray:
    """Return the local maxima (N, 2), row and column, of a map with at least this height.

    Each is refined to the centre of mass of its 3 x 3 pixels.
    """
    highest = ndimage.maximum_filter(heat, 3, mode="constant")
    places = np.argwhere((heat == highest) & (heat >= lowest))
    padded = np.pad(heat, 1)
    offsets = np.mgrid[-1:2, -1:2]
    refined = []
    for row, column in places:
        weight = padded[row : row + 3, column : column + 3]
        shift = (offsets * weight).sum((1, 2)) / weight.sum()
        refined.append([row + shift[0], column + shift[1]])
    return np.array(refined, float).reshape(-1, 2)
