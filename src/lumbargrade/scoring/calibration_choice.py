"""Which calibration: by held-out log loss, with an estimate that choosing itself did not see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lumbargrade.scoring.calibration import (
    COMPETITION_WEIGHTS,
    Calibration,
    Floats,
    Method,
    Triple,
    fit_calibration,
    log_loss,
    row_losses,
)
from lumbargrade.scoring.splits import held_out_parts


@dataclass(frozen=True)
class CalibrationChoice:
    """A calibration fitted to all data, with what it is worth on data it was not fitted to.

    Attributes:
        calibration: the chosen one; the identity where `nested` is no better than `before`.
        before: unweighted log loss of the probabilities as they are.
        held_out: method -> log loss on parts it was not fitted to; the lowest was chosen.
        nested: log loss when each part is calibrated by what was chosen and fitted without it;
            None with fewer than two studies. `held_out` of the chosen method is a little better
            than the truth because it was chosen; this is not.
        findings: how many rows.
        nested_probabilities: (N, 3) what `nested` is the loss of: each row calibrated by what was
            chosen and fitted without its part; nan with fewer than two studies.
    """

    calibration: Calibration
    before: float
    held_out: Mapping[Method, float]
    nested: float | None
    findings: int
    nested_probabilities: Floats = field(compare=False, repr=False)


def choose_calibration(
    probabilities: ArrayLike,
    grades: ArrayLike,
    studies: ArrayLike,
    folds: ArrayLike,
    class_weights: Triple = COMPETITION_WEIGHTS,
) -> CalibrationChoice:
    """Choose a method by cross-validation and fit it to everything.

    Args:
        probabilities: (N, 3) out-of-fold probabilities.
        grades: (N,) true grades 0 to 2.
        studies: (N,) study of each row; a study is never split.
        folds: (N,) its fold.
        class_weights: of the loss that the models were trained with.
    """
    p = np.asarray(probabilities, float).reshape(-1, 3)
    y, s, f = np.asarray(grades, int), np.asarray(studies), np.asarray(folds)
    method, held_out = _choose(p, y, s, f, class_weights)
    parts = held_out_parts(s, f)
    apart = np.full(p.shape, np.nan)
    for out in parts:
        rest = ~out
        inner, _ = _choose(p[rest], y[rest], s[rest], f[rest], class_weights)
        fitted = fit_calibration(inner, p[rest], y[rest], class_weights)
        apart[out] = fitted.apply(p[out])
    before = log_loss(p, y)
    nested = log_loss(apart, y) if parts else None
    helps = nested is not None and nested < before
    calibration = fit_calibration(method, p, y, class_weights) if helps else Calibration()
    return CalibrationChoice(calibration, before, held_out, nested, len(y), apart)


def _choose(
    p: Floats,
    y: NDArray[np.int_],
    studies: NDArray[np.generic],
    folds: NDArray[np.generic],
    class_weights: Triple,
) -> tuple[Method, dict[Method, float]]:
    """The method with the lowest held-out loss, the simpler one on a tie; identity without data."""
    parts = held_out_parts(studies, folds)
    if not parts:
        return Method.IDENTITY, {}
    found = {}
    for method in Method:
        losses = np.empty(len(y))
        for out in parts:
            fitted = fit_calibration(method, p[~out], y[~out], class_weights)
            losses[out] = row_losses(fitted.apply(p[out]), y[out])
        found[method] = float(losses.mean())
    return min(found, key=lambda method: found[method]), found
