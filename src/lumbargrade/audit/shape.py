"""Predict each point of a series from its other points, and find points that do not fit.

Up to shift and size, the points of a spine vary as a Gaussian around their mean shape. The best
linear unbiased prediction of a point from others is universal kriging with shift and size as the
unknown trend (Goldberger 1962). The leave-one-out residuals of all points need only one matrix
inverse (Dubrule 1983). Distances are in disc spacings of the series, so image sizes are not needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lumbargrade.audit.records import Chain, Check, Suspect
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.lsdc.corrections import Fix

#: Smallest number of series from which a shape is learnt.
LEAST_SERIES = 8

#: Precision with which a person places a point, disc spacings; used as a lower bound.
_HAND = 0.03
#: Prior standard deviation of the points, disc spacings, and its weight in series.
_PRIOR, _PRIOR_SERIES = 0.15, 10
#: Series beyond this multiple of the median squared distance are excluded from the fit.
_TRIM = 4.0
_ROUNDS = 8
#: A point this many standard deviations from its prediction is suspect. Axial slices are placed and
#: angled freely at each level, so their points predict each other less well.
LIMITS: Mapping[Condition, float] = {
    Condition.CANAL: 5.0,
    Condition.FORAMINAL: 5.0,
    Condition.SUBARTICULAR: 8.0,
}


class Deviation(NamedTuple):
    """Leave-one-out residual of a point.

    Attributes:
        point: index of the point.
        distance: Mahalanobis distance, in standard deviations of the prediction.
        spacings: distance in disc spacings.
    """

    point: int
    distance: float
    spacings: float


@dataclass(frozen=True)
class ShapeModel:
    """Mean and covariance of a set of points, up to shift and size.

    Attributes:
        mean: (P, 2) centred, in disc spacings.
        covariance: (2P, 2P) of the points, in the order x0, y0, x1, y1, ...
        series: number of series from which the model was learnt.
    """

    mean: FloatArray
    covariance: FloatArray
    series: int

    def size(self, xy: ArrayLike, using: Sequence[int]) -> float:
        """Pixels per disc spacing, from the points ``using`` of (P, 2); NaN with fewer than two.

        This is the median over pairs of points that lie far apart in the mean shape (Theil and
        Sen), so a single wrong point has little influence.
        """
        points = np.asarray(xy, float)
        i, j = np.triu_indices(len(using), 1)
        chosen = np.asarray(using, int)
        between = self.mean[chosen[i]] - self.mean[chosen[j]]
        length = (between**2).sum(axis=1)
        if not len(length):
            return float("nan")
        far = length >= length.max() / 4
        ratio = ((points[chosen[i]] - points[chosen[j]]) * between).sum(axis=1)[far] / length[far]
        return float(np.median(ratio))

    def predict(self, xy: ArrayLike, using: Sequence[int], index: int) -> FloatArray:
        """Predict point ``index``, (2,) pixels, from the points ``using`` of (P, 2).

        Raises:
            ValueError: if ``using`` has fewer than two points.
        """
        if len(using) < 2:
            raise ValueError("predicting a point needs at least two other points")
        a, b = _flat(using), _flat([index])
        trend, wanted = self._trend(using), self._trend([index])
        known = np.asarray(xy, float)[list(using)].reshape(-1)
        precision = np.linalg.inv(self.covariance[np.ix_(a, a)])
        fitted = np.linalg.solve(trend.T @ precision @ trend, trend.T @ precision @ known)
        rest = self.covariance[np.ix_(b, a)] @ precision @ (known - trend @ fitted)
        return np.asarray(wanted @ fitted + rest)

    def leave_one_out(self, xy: ArrayLike, using: Sequence[int]) -> list[Deviation]:
        """Residual of each point of ``using`` from its prediction by the others.

        The list is empty with fewer than three points, or if their size is zero.
        """
        points = np.asarray(xy, float)
        size = abs(self.size(points, using))
        if len(using) < 3 or not size > 0:
            return []
        a, trend = _flat(using), self._trend(using)
        precision = np.linalg.inv(self.covariance[np.ix_(a, a)])
        weighted = precision @ trend
        free = precision - weighted @ np.linalg.solve(trend.T @ weighted, weighted.T)
        pulled = free @ points[list(using)].reshape(-1)
        found = []
        for n, index in enumerate(using):
            own = slice(2 * n, 2 * n + 2)
            residual = np.linalg.solve(free[own, own], pulled[own])
            distance = np.sqrt(max(float(residual @ pulled[own]), 0.0)) / size
            spacings = float(np.hypot(*residual)) / size
            found.append(Deviation(index, distance, spacings))
        return found

    def _trend(self, indices: Sequence[int]) -> FloatArray:
        """(2n, 3): effect of a shift in x, a shift in y and of size on the points."""
        trend = np.zeros((2 * len(indices), 3))
        trend[0::2, 0] = trend[1::2, 1] = 1
        trend[:, 2] = self.mean[list(indices)].reshape(-1)
        return trend


def fit_shape_model(shapes: ArrayLike, spacing: ArrayLike) -> ShapeModel | None:
    """Learn a model from complete series; some of them may be wrong.

    Args:
        shapes: (N, P, 2) pixels without NaN.
        spacing: (N,) rough pixels between discs; series with a value that is not positive are
            excluded.

    Returns:
        The model, or None with fewer than :data:`LEAST_SERIES` series.
    """
    points, size = np.asarray(shapes, float), np.asarray(spacing, float)
    points, size = points[size > 0], size[size > 0]
    if len(points) < LEAST_SERIES:
        return None
    scaled = (points - np.median(points, axis=1, keepdims=True)) / size[:, None, None]
    mean = np.median(scaled, axis=0)
    spread = 1.4826 * np.median(np.abs(scaled - mean), axis=0).reshape(-1)
    covariance = np.diag(np.maximum(spread, _HAND) ** 2)
    keep = np.ones(len(points), bool)
    for _ in range(_ROUNDS):
        mean = mean - mean.mean(axis=0)
        residual, size = _residuals(points, mean)
        distance = np.einsum("ni,ij,nj->n", residual, np.linalg.inv(covariance), residual)
        keep = (size > 0) & (distance <= _TRIM * np.median(distance))
        mean = mean + residual[keep].mean(axis=0).reshape(mean.shape)
        covariance = _covariance(residual[keep])
    return ShapeModel(mean - mean.mean(axis=0), covariance, int(keep.sum()))


@dataclass(frozen=True)
class Fit:
    """Points of a series that fit each other, and points that do not.

    Attributes:
        wrong: points that do not fit, the worst first.
        trusted: indices of the points that fit.
    """

    wrong: tuple[Deviation, ...]
    trusted: tuple[int, ...]


def learn_shape(chains: Sequence[Chain]) -> ShapeModel | None:
    """Learn the model of a condition from the series that have all its points."""
    whole = [c for c in chains if len(c.there) == len(c.targets)]
    if not whole:
        return None
    return fit_shape_model(np.array([c.xy for c in whole]), [c.spacing for c in whole])


def fit_chain(model: ShapeModel, xy: FloatArray, among: Iterable[int], limit: float) -> Fit:
    """Remove the point with the largest residual until all points are within the limit.

    Two points have no residuals, so at least two always remain.
    """
    trusted, wrong = list(among), []
    while found := model.leave_one_out(xy, trusted):
        worst = max(found, key=lambda d: d.distance)
        if worst.distance < limit:
            break
        wrong.append(worst)
        trusted.remove(worst.point)
    return Fit(tuple(wrong), tuple(trusted))


def check_order(chain: Chain, model: ShapeModel | None) -> Suspect | None:
    """Find levels of a sagittal series that are in order once their names are exchanged."""
    if chain.condition is Condition.SUBARTICULAR:
        return None
    order = list(range(len(chain.targets)))
    for side in chain.sides:
        mine = chain.marked_on(side)
        by_height = sorted(mine, key=lambda i: float(chain.xy[i, 1]))
        for i, j in zip(mine, by_height, strict=True):
            order[i] = j
    changed = [i for i, j in enumerate(order) if i != j]
    if not changed:
        return None
    xy, limit = chain.xy[order], LIMITS[chain.condition]
    if model is not None and fit_chain(model, xy, chain.there.tolist(), limit).wrong:
        return None
    return chain.suspect(
        Check.ORDER,
        changed,
        len(changed),
        "the levels are not in order from head to foot; with exchanged names they are",
        (chain.correction(Fix.MOVE, i, xy[i], chain.instances[order[i]]) for i in changed),
    )


def check_shape(
    chain: Chain, model: ShapeModel, groups: Sequence[Sequence[int]] | None = None
) -> tuple[Suspect | None, Fit]:
    """Find points that lie far from their prediction by the other points of the series.

    Args:
        groups: sets of points that are checked separately; None checks all points together.

    Returns:
        The suspect, or None; and the points that fit.
    """
    limit = LIMITS[chain.condition]
    here = set(chain.there.tolist())
    fits = [
        fit_chain(model, chain.xy, [i for i in group if i in here], limit)
        for group in groups or [range(len(chain.targets))]
    ]
    wrong = sorted((d for f in fits for d in f.wrong), key=lambda d: d.point)
    fit = Fit(tuple(wrong), tuple(i for f in fits for i in f.trusted))
    if not wrong:
        return None, fit
    moves = []
    for d in wrong:
        trusted = next(f.trusted for f in fits if d in f.wrong)
        place = model.predict(chain.xy, trusted, d.point)
        moves.append(chain.correction(Fix.MOVE, d.point, place, chain.nearby_instance(d.point)))
    worst = max(wrong, key=lambda d: d.distance)
    reason = (
        f"{worst.spacings:.1f} spacings ({worst.distance:.0f} standard deviations) from the place "
        "that the other points predict"
    )
    if len(trusted := fit.trusted) <= len(wrong):
        reason += f"; {len(wrong)} of {len(wrong) + len(trusted)} points do not fit, so check all"
    points = [d.point for d in wrong]
    return chain.suspect(Check.SHAPE, points, worst.distance / limit, reason, moves), fit


def check_missing(
    chain: Chain, model: ShapeModel | None, fit: Fit, wanted: Iterable[int]
) -> Suspect | None:
    """Find missing points, and predict their place from the points that fit.

    Args:
        wanted: indices of the targets that should have a point.
    """
    absent = [i for i in wanted if i not in chain.there]
    if not absent:
        return None
    added = [
        chain.correction(Fix.ADD, i, model.predict(chain.xy, fit.trusted, i), instance)
        for i in absent
        if model is not None
        and len(fit.trusted) >= 2
        and (instance := chain.likely_instance(i)) is not None
    ]
    reason = f"{len(absent)} of {len(chain.targets)} points missing"
    if len(added) < len(absent):
        reason += "; too few other points to propose a place"
    return chain.suspect(Check.MISSING, absent, len(absent), reason, added)


def _residuals(points: FloatArray, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Residuals of (N, P, 2) shapes after shift and size, (N, 2P) in spacings; sizes (N,)."""
    centred = points - points.mean(axis=1, keepdims=True)
    size = (centred * mean).sum(axis=(1, 2)) / (mean**2).sum()
    safe = np.where(size > 0, size, np.inf)
    return (centred / safe[:, None, None] - mean).reshape(len(points), -1), size


def _covariance(residual: FloatArray) -> FloatArray:
    """Covariance of (N, 2P) residuals, shrunk towards the prior."""
    n, width = residual.shape
    spread = residual - residual.mean(axis=0)
    seen = spread.T @ spread + _PRIOR_SERIES * _PRIOR**2 * np.eye(width)
    return np.asarray(seen / (n + _PRIOR_SERIES) + _HAND**2 * np.eye(width))


def _flat(indices: Sequence[int]) -> NDArray[np.intp]:
    """Indices of points in an array of x0, y0, x1, y1, ..."""
    return np.array([2 * i + k for i in indices for k in (0, 1)], np.intp)
