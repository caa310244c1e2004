"""Points that do not fit the others of their series, levels out of order, points missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lumbargrade.audit.chain import Chain
from lumbargrade.audit.shape_model import Deviation, ShapeModel, fit_shape_model
from lumbargrade.audit.suspect import Check, Suspect
from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.lsdc.corrections import Correction, Fix

#: Standard deviations from its prediction beyond which a point is suspect. Axial slices are placed
#: and angled freely from level to level, so their points say less of each other.
LIMITS: Mapping[Condition, float] = {
    Condition.CANAL: 5.0,
    Condition.FORAMINAL: 5.0,
    Condition.SUBARTICULAR: 8.0,
}


@dataclass(frozen=True)
class Fit:
    """What is left of a series after the points that do not fit.

    Attributes:
        wrong: points that do not fit, the worst first.
        trusted: indices of the others.
    """

    wrong: tuple[Deviation, ...]
    trusted: tuple[int, ...]


def learn_shape(chains: Sequence[Chain]) -> ShapeModel | None:
    """The model of a condition's points, from the series that have all of them."""
    whole = [c for c in chains if len(c.there) == len(c.targets)]
    if not whole:
        return None
    return fit_shape_model(np.array([c.xy for c in whole]), [c.spacing for c in whole])


def fit_chain(model: ShapeModel, xy: FloatArray, among: Iterable[int], limit: float) -> Fit:
    """Take out the point furthest from what the others predict, until all fit.

    Fewer than three points say nothing of each other, so two always remain.
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
    """Levels of a sagittal series that would be in order if their names were exchanged."""
    if chain.condition is Condition.SUBARTICULAR:
        return None
    order = list(range(len(chain.targets)))
    for side in chain.sides:
        mine = [i for i in chain.side(side).tolist() if i in chain.there]
        by_height = sorted(mine, key=lambda i: float(chain.xy[i, 1]))
        for i, j in zip(mine, by_height, strict=True):
            order[i] = j
    changed = [i for i, j in enumerate(order) if i != j]
    sorted_xy = chain.xy[order]
    if not changed:
        return None
    limit = LIMITS[chain.condition]
    if model is not None and fit_chain(model, sorted_xy, chain.there.tolist(), limit).wrong:
        return None
    moves = tuple(
        chain.correction(Fix.MOVE, i, sorted_xy[i], chain.instances[order[i]]) for i in changed
    )
    return Suspect(
        Check.ORDER,
        chain.study_id,
        chain.series_id,
        tuple(chain.targets[i] for i in changed),
        float(len(changed)),
        "from head to foot the levels are out of order; exchanged they are in order",
        moves,
    )


def check_shape(
    chain: Chain, model: ShapeModel, groups: Sequence[Sequence[int]] | None = None
) -> tuple[Suspect | None, Fit]:
    """Points far from where the others of their series predict them.

    Args:
        groups: sets of points to be judged apart; all together when None.

    Returns:
        The suspect, or None, and which points can be trusted to predict others.
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
        f"{worst.spacings:.1f} spacings, {worst.distance:.0f} standard deviations, from where the "
        "other points put it"
    )
    if len(trusted := fit.trusted) <= len(wrong):
        reason += f"; {len(wrong)} of {len(wrong) + len(trusted)} points do not fit: look at all"
    return (
        Suspect(
            Check.SHAPE,
            chain.study_id,
            chain.series_id,
            tuple(chain.targets[d.point] for d in wrong),
            worst.distance / limit,
            reason,
            tuple(moves),
        ),
        fit,
    )


def check_missing(
    chain: Chain, model: ShapeModel | None, fit: Fit, wanted: Iterable[int]
) -> Suspect | None:
    """Points that a series lacks, each with a place by the points that fit.

    Args:
        wanted: indices of the targets that should have a point.
    """
    absent = [i for i in wanted if i not in chain.there]
    if not absent:
        return None
    added: list[Correction] = []
    for i in absent:
        instance = chain.likely_instance(i)
        if model is not None and instance is not None and len(fit.trusted) >= 2:
            place = model.predict(chain.xy, fit.trusted, i)
            added.append(chain.correction(Fix.ADD, i, place, instance))
    count = f"{len(absent)} of {len(chain.targets)} points missing"
    where = "" if len(added) == len(absent) else "; too few others to say where it should lie"
    return Suspect(
        Check.MISSING,
        chain.study_id,
        chain.series_id,
        tuple(chain.targets[i] for i in absent),
        float(len(absent)),
        count + where,
        tuple(added),
    )
