"""Calibration of probabilities: class weights divided out, temperature and vector scaling.

A network trained with a weighted loss predicts w(k) P(k) up to a factor, not P(k). This is best for
a score with the same weights, but it deliberately over-predicts moderate and severe. Calibration
divides by the weights and then scales the logits (Guo et al. 2017, "On Calibration of Modern Neural
Networks", section 4.2), fitted to out-of-fold predictions, so that probabilities match frequencies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import softmax

from lumbargrade.domain.vocabulary import GRADE_WEIGHTS, Grade
from lumbargrade.scoring.local import sample_losses
from lumbargrade.scoring.resampling import held_out_parts

Triple = tuple[float, float, float]
Floats = NDArray[np.float64]

#: Weights of the competition's score and of the published losses.
COMPETITION_WEIGHTS: Triple = (
    float(GRADE_WEIGHTS[Grade.NORMAL_MILD]),
    float(GRADE_WEIGHTS[Grade.MODERATE]),
    float(GRADE_WEIGHTS[Grade.SEVERE]),
)
_ONES: Triple = (1.0, 1.0, 1.0)
_ZEROS: Triple = (0.0, 0.0, 0.0)

#: Smaller probabilities are raised to this, because zero has no logarithm.
FLOOR = 1e-7

#: Standard deviation of the normal prior on log temperature, scales - 1 and biases. It keeps a fit
#: to a few findings near the identity and has little effect with more.
_PRIOR = 1.0
_SCALES = (0.05, 20.0)


class Method(StrEnum):
    """Methods of calibration, simplest first."""

    IDENTITY = "identity"
    UNWEIGHTED = "unweighted"
    TEMPERATURE = "temperature"
    VECTOR = "vector"


@dataclass(frozen=True, slots=True)
class Calibration:
    """A map of grade probabilities: softmax of ``scale * log(p / class_weights) + bias``.

    The defaults change nothing. Temperature scaling has three equal scales (1 / T) and no bias.

    Attributes:
        method: how it was fitted.
        class_weights: (3,) weights of the training loss, which are divided out first; positive.
        scale: (3,) factor of each grade; positive.
        bias: (3,) bias of each grade.
    """

    method: Method = Method.IDENTITY
    class_weights: Triple = _ONES
    scale: Triple = _ONES
    bias: Triple = _ZEROS

    def __post_init__(self) -> None:
        for name in ("class_weights", "scale", "bias"):
            values = np.asarray(getattr(self, name), float)
            if values.shape != (3,) or not np.isfinite(values).all():
                raise ValueError(f"{name}: three finite numbers needed, got {values.tolist()}")
            if name != "bias" and (values <= 0).any():
                raise ValueError(f"{name}: not positive: {values.tolist()}")

    @property
    def temperature(self) -> float | None:
        """The temperature T; None if the scales differ or there is a bias."""
        same = len(set(self.scale)) == 1 and self.bias == _ZEROS
        return 1 / self.scale[0] if same else None

    def apply(self, probabilities: ArrayLike) -> Floats:
        """Return calibrated probabilities, (..., 3); each row adds up to 1.

        Args:
            probabilities: (..., 3) non-negative; rows need not add up to 1.
        """
        p = np.asarray(probabilities, float)
        if (self.class_weights, self.scale, self.bias) == (_ONES, _ONES, _ZEROS):
            return np.asarray(p / p.sum(axis=-1, keepdims=True), float)
        z = _logarithms(p, self.class_weights) * self.scale + self.bias
        return np.asarray(softmax(z, axis=-1), float)


def log_loss(probabilities: ArrayLike, grades: ArrayLike) -> float:
    """Return the mean unweighted log loss of (N, 3) for grades (N,); nan without rows.

    Probabilities below ``FLOOR`` are raised to it.
    """
    losses = row_losses(probabilities, grades)
    return float(losses.mean()) if len(losses) else float("nan")


def row_losses(probabilities: ArrayLike, grades: ArrayLike) -> Floats:
    """Return the unweighted log loss of each row, (N,)."""
    return sample_losses(probabilities, grades, FLOOR, 1.0)


def fit_calibration(
    method: Method,
    probabilities: ArrayLike,
    grades: ArrayLike,
    class_weights: Triple = COMPETITION_WEIGHTS,
) -> Calibration:
    """Fit one method by unweighted log loss, with a weak normal prior around the identity.

    On the data it was fitted to, no fitted method is worse than ``unweighted``.

    Args:
        method: the method; ``identity`` and ``unweighted`` have nothing to fit.
        probabilities: (N, 3) out-of-fold probabilities.
        grades: (N,) reference grades 0 to 2.
        class_weights: (3,) weights of the loss that the models were trained with.
    """
    if method is Method.IDENTITY:
        return Calibration()
    plain = Calibration(method, class_weights)
    y = np.asarray(grades, int)
    if method is Method.UNWEIGHTED or not len(y):
        return plain
    logs = _logarithms(np.asarray(probabilities, float).reshape(-1, 3), class_weights)
    fit = _fit_temperature if method is Method.TEMPERATURE else _fit_vector
    scale, bias = fit(logs, y)
    found = Calibration(method, class_weights, scale, bias)
    # if the search ended early, the result may be worse than no fit
    better = log_loss(found.apply(probabilities), y) <= log_loss(plain.apply(probabilities), y)
    return found if better else plain


def _fit_temperature(logs: Floats, y: NDArray[np.int_]) -> tuple[Triple, Triple]:
    def objective(theta: Floats) -> tuple[float, Floats]:
        z = logs * np.exp(-theta[0])
        loss, slope = _loss_and_slope(z, y)
        penalty, push = _penalty(theta, len(y))
        return loss + penalty, np.array([-(slope * z).sum()]) + push

    limits = [(-np.log(_SCALES[1]), -np.log(_SCALES[0]))]
    theta = minimize(objective, np.zeros(1), jac=True, method="L-BFGS-B", bounds=limits).x
    scale = float(np.exp(-theta[0]))
    return (scale, scale, scale), _ZEROS


def _fit_vector(logs: Floats, y: NDArray[np.int_]) -> tuple[Triple, Triple]:
    def objective(theta: Floats) -> tuple[float, Floats]:
        scale, bias = theta[:3], theta[3:]
        loss, slope = _loss_and_slope(logs * scale + bias, y)
        penalty, push = _penalty(np.concatenate([scale - 1, bias]), len(y))
        gradient = np.concatenate([(slope * logs).sum(axis=0), slope.sum(axis=0)])
        return loss + penalty, gradient + push

    start = np.array([*_ONES, *_ZEROS])
    limits = [_SCALES] * 3 + [(None, None)] * 3
    theta = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=limits).x.tolist()
    return (theta[0], theta[1], theta[2]), (theta[3], theta[4], theta[5])


def _penalty(theta: Floats, rows: int) -> tuple[float, Floats]:
    """Negative log prior per row and its gradient."""
    return float((theta**2).sum() / (2 * _PRIOR**2 * rows)), theta / (_PRIOR**2 * rows)


def _loss_and_slope(z: Floats, y: NDArray[np.int_]) -> tuple[float, Floats]:
    """Mean log loss of logits (N, 3) and its gradient by them."""
    q = np.asarray(softmax(z, axis=-1), float)
    rows = np.arange(len(y))
    loss = float(-np.log(np.maximum(q[rows, y], 1e-300)).mean())
    slope = q.copy()
    slope[rows, y] -= 1
    return loss, slope / len(y)


def _logarithms(p: Floats, weights: Triple) -> Floats:
    p = p / p.sum(axis=-1, keepdims=True)
    logs = np.log(np.maximum(p, FLOOR)) - np.log(weights)
    # normalised again without the weights, so that scaling acts on log probabilities
    total = np.log(np.exp(logs).sum(axis=-1, keepdims=True))
    return np.asarray(logs - total, float)


@dataclass(frozen=True)
class CalibrationChoice:
    """A calibration fitted to all data, with its cross-validated losses.

    Every loss is an unweighted log loss.

    Attributes:
        calibration: the chosen calibration; the identity if `nested` is not better than `before`.
        before: loss of the uncalibrated probabilities.
        held_out: method -> loss on parts that it was not fitted to; the method with the lowest
            loss is chosen. The loss of the chosen method is slightly too low, because it was
            chosen by it; `nested` is not.
        nested: loss if each part is calibrated by a method that was chosen and fitted without it;
            None with fewer than two studies.
        findings: number of rows.
        nested_probabilities: (N, 3) the probabilities that `nested` is the loss of; nan with fewer
            than two studies.
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
    """Choose a method by cross-validation, then fit it to all data.

    Args:
        probabilities: (N, 3) out-of-fold probabilities.
        grades: (N,) reference grades 0 to 2.
        studies: (N,) study of each row; a study is never split.
        folds: (N,) its fold.
        class_weights: (3,) weights of the loss that the models were trained with.
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
    """Return the method with the lowest held-out loss, on a tie the simpler one, and all losses.

    With fewer than two studies it is the identity.
    """
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
