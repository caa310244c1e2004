"""Compare an engine with torch: how far probabilities and points are apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.vocabulary import KIND_OF, TARGETS, SeriesKind
from lumbargrade.inference.base import MASK_STRIDE, Arrays, Engine, Inference, normalised
from lumbargrade.inference.crops import (
    PEAK_RADIUS,
    LevelInference,
    RecessInference,
    heatmap_name,
    output_names,
)
from lumbargrade.inference.peaks import peak_index
from lumbargrade.inference.series import SeriesInference
from lumbargrade.models.export_inputs import MarkedStudy
from lumbargrade.scoring.local import local_score

_TO_PIXELS = np.array([MASK_STRIDE, MASK_STRIDE, 1.0])


@dataclass(frozen=True)
class Deviation:
    """The largest differences between two engines.

    Attributes:
        probability: of a probability; infinite if one is not finite in only one of the two.
        point: of a coordinate of a point, pixels of the input or slices; infinite likewise.
    """

    probability: float = 0.0
    point: float = 0.0

    def joined(self, other: Deviation) -> Deviation:
        """Return the larger differences of the two."""
        return Deviation(max(self.probability, other.probability), max(self.point, other.point))


def deviation(
    inference: Inference, reference: Engine, engine: Engine, inputs: Iterable[Arrays]
) -> Deviation:
    """Return the largest differences of what is decoded from two engines."""
    found = Deviation()
    for one in inputs:
        outputs, expected = engine.run(one), reference.run(one)
        # the starter's grader has no heatmaps
        common = {name: values for name, values in expected.items() if name in outputs}
        pairs = numbers(inference, one, common), numbers(inference, one, outputs)
        found = found.joined(Deviation(*map(_largest, *pairs)))
    return found


def log_loss(inference: Inference, engine: Engine, studies: Sequence[MarkedStudy]) -> float | None:
    """Return the weighted log loss of an engine on studies; None if nothing known is graded."""
    rows, grades = [], []
    for study in studies:
        targets = list(study.grades)
        for found in inference.predict(engine, "", study.volumes, study.points):
            rows.append(found.probability_rows(targets))
            grades.append([int(study.grades[t]) for t in targets])
    if not rows:
        return None
    probabilities, truth = np.concatenate(rows), np.concatenate(grades)
    known = np.isfinite(probabilities).all(axis=1)
    return float(local_score(probabilities[known], truth[known]).weighted) if known.any() else None


def _largest(expected: FloatArray, given: FloatArray) -> float:
    if not np.isfinite(given).all() or not np.isfinite(expected).all():
        return float("inf")
    return float(np.abs(expected - given).max(initial=0.0))


def numbers(inference: Inference, inputs: Arrays, outputs: Arrays) -> tuple[FloatArray, FloatArray]:
    """Return the probabilities (N, 3) and points (M, 3) that are read from outputs.

    Points are pixels and slices of the input. What the images do not show is left out.
    """
    nothing = np.zeros((0, 3))
    if isinstance(inference, SeriesInference):
        scores = inference.decode(outputs)
        points = np.concatenate([scores.xy, scores.z[:, None]], axis=1)
        return scores.probabilities if inference.conditions else nothing, points
    if isinstance(inference, RecessInference):
        points = inference.points(outputs) * _TO_PIXELS
        return normalised(outputs["grade"]) if inference.conditions else nothing, points
    assert isinstance(inference, LevelInference)
    there = {k: inputs[f"{k.name.lower()}_valid"][0].any(axis=-1) for k in SeriesKind}
    seen = np.any(list(there.values()), axis=0)
    probabilities: list[FloatArray] = []
    found: list[FloatArray] = []
    for condition, name in zip(inference.shown, output_names(), strict=True):
        shown = seen if condition.sided else seen.reshape(2, -1).any(axis=0)
        probabilities.append(normalised(outputs[name][0])[shown])
        kind = KIND_OF[condition]
        if (heatmaps := outputs.get(heatmap_name(kind))) is not None:
            count = len(TARGETS[condition])
            radius = inference.recipe.network.peak_radius or PEAK_RADIUS
            peaks = peak_index(heatmaps[0, :count], radius)[there[kind][:count]]
            found.append(peaks * _TO_PIXELS)
    return np.concatenate(probabilities), np.concatenate(found or [nothing])
