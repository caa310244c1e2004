"""Weights of a blend: non-negative, with sum 1, fitted to out-of-fold predictions.

The weighted log loss of a mixture of distributions is convex in its weights, so sequential least
squares (Kraft 1988, SLSQP) finds the best weights. On the data they were fitted to, their loss is
too low. `choose_weights` therefore measures them on parts that they were not fitted to, and uses
the plain mean or the best member if fitted weights are not better there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.files.tables import real
from lumbargrade.scoring.local import OFFICIAL_CLIP, WEIGHTS, local_score
from lumbargrade.scoring.resampling import held_out_parts

#: Condition -> a weight per member or file, in their order.
FixedWeights = Mapping[Condition, Sequence[float]]


def fixed_weights(
    texts: Sequence[str], count: int, what: str = "members"
) -> dict[Condition, list[float]]:
    """Parse weights of the command line.

    ``0.75 0.25`` holds for all conditions, ``foraminal=0.7,0.3`` for one.

    Args:
        texts: values of ``--weights``; weights of one condition have priority over those of all.
        count: required number of weights.
        what: what is weighted, for messages.

    Returns:
        Weights of the conditions that have any, as given (not normalised).

    Raises:
        UsageError: for malformed text, a wrong number of weights, weights that are negative or all
            zero, and two lists of weights for one condition.
    """
    plain = [text for text in texts if "=" not in text]
    given: dict[Condition, list[float]] = {}
    if plain:
        given = dict.fromkeys(Condition, _numbers(" ".join(plain), ",".join(plain), count, what))
    named: dict[Condition, list[float]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if equals:
            condition = _condition(name.strip(), text)
            if condition in named:
                raise UsageError(f"--weights {text}: {name.strip()} is given twice; keep one")
            named[condition] = _numbers(text, values, count, what)
    return {**given, **named}


def _condition(name: str, text: str) -> Condition:
    known = {alias: c for c in Condition for alias in (c.value, c.name.lower())}
    if name not in known:
        words = ", ".join(c.name.lower() for c in Condition)
        raise UsageError(f"--weights {text}: {name!r} is not one of {words}; give one of these")
    return known[name]


def _numbers(text: str, listed: str, count: int, what: str) -> list[float]:
    """Parse a list of numbers with commas; `text` is the command-line value, for messages."""
    try:
        values = [real(part) for part in listed.split(",")]
    except ValueError:
        raise UsageError(
            f"--weights {text}: not numbers; give one for each of {count} {what}"
        ) from None
    if min(values) < 0 or not 0 < sum(values) < math.inf:
        raise UsageError(
            f"--weights {text}: give finite weights that are not negative and not all zero"
        )
    if len(values) != count:
        raise UsageError(
            f"--weights {text}: {len(values)} weights for {count} {what}; give one for each"
        )
    return values


Floats = NDArray[np.float64]

#: Smaller weights are set to zero, because such a member costs time and changes nothing.
_LEAST = 1e-3


class Origin(StrEnum):
    """How weights were chosen."""

    FITTED = "fitted"
    EQUAL = "equal"
    SINGLE = "single"
    FIXED = "fixed"


@dataclass(frozen=True)
class WeightChoice:
    """Weights of the M members for one condition, with their losses (lower is better).

    Every loss is a weighted log loss.

    Attributes:
        weights: (M,) non-negative, with sum 1.
        origin: how the weights were chosen.
        counts: (M,) number of graded findings that each member predicts.
        own: (M,) loss of each member on the findings that it predicts.
        members: (M,) loss of each member on all findings; findings that it does not predict are
            taken from the other members.
        equal: loss of the plain mean.
        fitted: loss of the fitted weights on the data that they were fitted to; None if nothing
            was fitted (fixed weights, one member, or fewer than two studies).
        nested: loss of fitted weights on parts that they were not fitted to; None if nothing was
            fitted.
        blend: best estimate of the loss of ``weights``: ``nested`` if they were fitted, otherwise
            their loss on all data.
        mixed: (N, 3) the mixture, each row with weights that were not fitted to it.
    """

    weights: tuple[float, ...]
    origin: Origin
    counts: tuple[int, ...]
    own: tuple[float, ...]
    members: tuple[float, ...]
    equal: float
    fitted: float | None
    nested: float | None
    blend: float
    mixed: Floats

    @property
    def best_single(self) -> int:
        """Index of the member with the lowest loss on all findings."""
        return int(np.argmin(self.members))


def mix(weights: ArrayLike, probabilities: ArrayLike) -> Floats:
    """Return the weighted mean of the members that predict a row, (N, 3).

    Weights are renormalised over these members; if they are all zero, these members have equal
    weights. A row that no member predicts is nan.

    Args:
        weights: (M,) non-negative.
        probabilities: (M, N, 3), nan where a member lacks a row.
    """
    w, p = np.asarray(weights, float), np.asarray(probabilities, float)
    present = np.isfinite(p).all(axis=2)
    share = w[:, None] * present
    share = np.where(share.sum(axis=0) > 0, share, present)
    with np.errstate(invalid="ignore"):
        share = share / share.sum(axis=0)
    return np.asarray(np.einsum("mn,mnk->nk", share, np.where(present[..., None], p, 0.0)), float)


def blend_loss(weights: ArrayLike, probabilities: ArrayLike, grades: ArrayLike) -> float:
    """Return the weighted log loss (weights 1, 2, 4) of a mixture of (M, N, 3) for grades (N,)."""
    return local_score(mix(weights, probabilities), grades, OFFICIAL_CLIP).weighted


def fit_weights(probabilities: ArrayLike, grades: ArrayLike) -> Floats:
    """Fit weights (M,) that minimise the weighted log loss on this data.

    On this data they are never worse than any single member or the plain mean.

    Args:
        probabilities: (M, N, 3), nan where a member lacks a row; no row lacks all members.
        grades: (N,) 0 to 2.
    """
    p, y = np.asarray(probabilities, float), np.asarray(grades, int)
    count = len(p)
    candidates = [np.full(count, 1 / count), *np.eye(count)]
    if count > 1 and len(y):
        found = _descend(p, y)
        sparse = np.where(found < _LEAST, 0.0, found)
        candidates += [found, sparse / sparse.sum()]
    losses = [blend_loss(w, p, y) for w in candidates]
    best = min(range(len(candidates)), key=lambda i: losses[i])
    if best == count + 1 and losses[-1] < losses[best] + 1e-6:
        best = len(candidates) - 1  # tiny weights do not lower the loss
    return np.asarray(candidates[best], float)


def _descend(p: Floats, y: NDArray[np.int_]) -> Floats:
    count = len(p)
    present = np.isfinite(p).all(axis=2).astype(float)
    of_truth = np.nan_to_num(p[:, np.arange(len(y)), y])
    share = WEIGHTS[y] / WEIGHTS[y].sum()

    def objective(w: Floats) -> tuple[float, Floats]:
        chance = np.maximum(w @ of_truth, OFFICIAL_CLIP)
        total = np.maximum(w @ present, OFFICIAL_CLIP)
        loss = float((share * (np.log(total) - np.log(chance))).sum())
        return loss, (present * (share / total)).sum(axis=1) - (of_truth * (share / chance)).sum(1)

    result = minimize(
        objective,
        np.full(count, 1 / count),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-10, "maxiter": 200},
    )
    w = np.clip(result.x, 0, 1)
    return np.asarray(w / w.sum(), float)


def choose_weights(
    probabilities: ArrayLike,
    grades: ArrayLike,
    studies: ArrayLike,
    folds: ArrayLike,
    fixed: Sequence[float] | None = None,
) -> WeightChoice:
    """Choose weights of a condition: the best member, the plain mean, fitted or fixed weights.

    Fitted weights are used only if they are better on parts that they were not fitted to.

    Args:
        probabilities: (M, N, 3) out-of-fold, nan where a member lacks a row.
        grades: (N,) 0 to 2, or -1 where not graded; such rows are mixed, but not used to fit.
        studies: (N,) study of each row; a study is never split.
        folds: (N,) its fold.
        fixed: weights to use instead; only normalised.
    """
    p, y = np.asarray(probabilities, float), np.asarray(grades, int)
    known = y >= 0
    q, truth = p[:, known], y[known]
    equal = np.full(len(p), 1 / len(p))
    singles = [blend_loss(w, q, truth) for w in np.eye(len(p))]
    # simplest first: on a tie, the first option wins
    options = [
        (min(singles), Origin.SINGLE, np.eye(len(p))[int(np.argmin(singles))]),
        (blend_loss(equal, q, truth), Origin.EQUAL, equal),
    ]
    fitted, nested, crossed = None, None, None
    if fixed is not None:
        weights = np.asarray(fixed, float) / np.sum(fixed)
        options = [(blend_loss(weights, q, truth), Origin.FIXED, weights)]
    elif len(p) > 1 and (parts := held_out_parts(studies, folds)):
        fitted = fit_weights(q, truth)
        crossed = _cross_mixed(p, y, parts)
        nested = local_score(crossed[known], truth, OFFICIAL_CLIP).weighted
        options.append((nested, Origin.FITTED, fitted))
    loss, origin, weights = min(options, key=lambda option: option[0])
    present = np.isfinite(q).all(axis=2)
    return WeightChoice(
        weights=tuple(weights.tolist()),
        origin=origin,
        counts=tuple(int(n) for n in present.sum(axis=1)),
        own=tuple(
            blend_loss([1.0], one[None, k], truth[k]) for one, k in zip(q, present, strict=True)
        ),
        members=tuple(singles),
        equal=blend_loss(equal, q, truth),
        fitted=None if fitted is None else blend_loss(fitted, q, truth),
        nested=nested,
        blend=loss,
        mixed=crossed if crossed is not None and origin is Origin.FITTED else mix(weights, p),
    )


def _cross_mixed(p: Floats, y: NDArray[np.int_], parts: Sequence[NDArray[np.bool_]]) -> Floats:
    """Mix each part with weights that were fitted to the other parts."""
    mixed = np.empty(p.shape[1:])
    for out in parts:
        rest = ~out & (y >= 0)
        mixed[out] = mix(fit_weights(p[:, rest], y[rest]), p[:, out])
    return mixed
