"""All checks of the tables of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lumbargrade.audit.axial import check_axial
from lumbargrade.audit.bounds import check_bounds, check_series
from lumbargrade.audit.chain import Chain, chains_of
from lumbargrade.audit.shape import (
    Fit,
    check_missing,
    check_order,
    check_shape,
    learn_shape,
)
from lumbargrade.audit.shape_model import LEAST_SERIES, ShapeModel
from lumbargrade.audit.shift import check_shifts, sides_apart
from lumbargrade.audit.sides import check_instances, check_sides
from lumbargrade.audit.suspect import Suspect, ranked
from lumbargrade.domain.errors import Problem
from lumbargrade.domain.vocabulary import Condition, Side, Target
from lumbargrade.lsdc.tables import Grades, LsdcTables

#: (height, width) of a series' images, by (study id, series id).
Sizes = Mapping[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class TableAudit:
    """What the tables alone say.

    Attributes:
        suspects: the most suspicious first.
        chains: how many series of each condition were looked at.
        points: and how many points.
        problems: what could not be checked.
    """

    suspects: list[Suspect]
    chains: dict[Condition, int]
    points: dict[Condition, int]
    problems: list[Problem]


def audit_tables(tables: LsdcTables, sizes: Sizes | None = None) -> TableAudit:
    """Check every labelled point against the other points and tables.

    Args:
        sizes: of the images, where they are known. Without, distances are in disc spacings of the
            series, and only points above or left of any image count as outside.
    """
    kinds = {s[:2]: s.kind for s in tables.series}
    chains = {c: chains_of(c, tables.points) for c in Condition}
    models: dict[Condition, ShapeModel] = {}
    problems = []
    for condition, mine in chains.items():
        model = learn_shape(mine)
        if model is not None:
            models[condition] = model
        elif mine:
            what = f"{condition}: fewer than {LEAST_SERIES} series with all points, shape unchecked"
            problems.append(Problem(what, fatal=False))
    placed = {series for _, series in sizes or {}}
    suspects = check_shifts(chains[Condition.CANAL], chains[Condition.FORAMINAL], models, placed)
    for condition, mine in chains.items():
        together = Counter(c.study_id for c in mine)
        labelled = {(c.study_id, t) for c in mine for t in c.marked}
        for chain in mine:
            ids = chain.study_id, chain.series_id
            suspects += check_bounds(chain, (sizes or {}).get(ids))
            suspects += check_series(chain, kinds, together[chain.study_id])
            suspects += [*check_sides(chain), *check_instances(chain), *check_axial(chain)]
            wanted = _wanted(chain, labelled, tables.grades)
            suspects += _check_shape(chain, models.get(condition), wanted)
    return TableAudit(
        ranked(suspects),
        {c: len(mine) for c, mine in chains.items()},
        {c: sum(len(x.there) for x in mine) for c, mine in chains.items()},
        problems,
    )


def _check_shape(chain: Chain, model: ShapeModel | None, wanted: list[int]) -> Iterator[Suspect]:
    """Order, shape and what is missing; a series whose levels are exchanged is not judged twice."""
    fit = Fit((), ())
    if order := check_order(chain, model):
        yield order
    elif model is not None:
        apart = chain.condition is Condition.FORAMINAL and sides_apart(chain, model)
        groups = [chain.side(side).tolist() for side in Side] if apart else None
        shape, fit = check_shape(chain, model, groups)
        if shape is not None:
            yield shape
    if missing := check_missing(chain, model, fit, wanted):
        yield missing


def _wanted(chain: Chain, labelled: set[tuple[int, Target]], grades: Grades) -> list[int]:
    """Targets that should have a point here: no series of the study has one.

    A sagittal series shows every level. Axial series share the levels of a study, so there a
    target is missed where it is graded and this series has the level's other side.
    """
    absent = [i for i, t in enumerate(chain.targets) if (chain.study_id, t) not in labelled]
    if chain.condition is not Condition.SUBARTICULAR:
        return absent
    graded = grades.get(chain.study_id, {})
    return [
        i
        for i in absent
        if chain.targets[i] in graded and chain.targets[i].mirror() in chain.marked
    ]
