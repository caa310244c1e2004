"""All checks of a data set: its tables, then with a store its images, then predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.audit.between_series import check_patient, check_shifts, sides_apart
from lumbargrade.audit.grades import check_grades, prediction_problems
from lumbargrade.audit.records import Chain, Suspect, chains_of, ranked
from lumbargrade.audit.result import Audit
from lumbargrade.audit.shape import (
    LEAST_SERIES,
    Fit,
    ShapeModel,
    check_missing,
    check_order,
    check_shape,
    learn_shape,
)
from lumbargrade.audit.within_series import (
    check_axial,
    check_bounds,
    check_instances,
    check_series,
    check_sides,
)
from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.ids import id_order
from lumbargrade.domain.vocabulary import Condition, Side, Target
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.lsdc.tables import Grades, LsdcTables

#: (height, width) of a series' images, by (study id, series id).
Sizes = Mapping[tuple[str, str], tuple[int, int]]

_NAMED = 20


def audit(
    tables: LsdcTables,
    store: VolumeStore | None = None,
    predictions: Mapping[Path, Mapping[str, StudyPrediction]] | None = None,
) -> Audit:
    """Check the labels of a data set.

    Args:
        store: of the same labels: gives image bounds and places in the patient.
        predictions: out of fold, by file.
    """
    sizes = {s[:2]: shape[1:] for s, shape in store.shapes.items()} if store else None
    found = audit_tables(tables, sizes)
    suspects, problems = found.suspects, [*tables.problems, *found.problems]
    if store is not None:
        doubted = {(s.series_id, t) for s in suspects for t in s.targets if s.series_id}
        suspects = ranked([*suspects, *check_patient(store.points, doubted)])
        problems += store_problems(tables, store)
    if predictions:
        suspects = [*suspects, *check_grades(list(predictions.values()), tables.grades)]
        problems += prediction_problems(predictions, tables.grades)
    return Audit.of(suspects, len(tables.points), problems)


@dataclass(frozen=True)
class TableAudit:
    """What the tables alone say.

    Attributes:
        suspects: the most suspicious first.
        problems: what could not be checked.
    """

    suspects: list[Suspect]
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
    return TableAudit(ranked(suspects), problems)


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


def _wanted(chain: Chain, labelled: set[tuple[str, Target]], grades: Grades) -> list[int]:
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


def store_problems(tables: LsdcTables, store: VolumeStore) -> list[Problem]:
    """Studies with labels but without images in the store, and labels that the store has not.

    A store that was prepared without a kind of series lacks it on purpose: that is said once.
    """
    stored = {s[:2] for s in store.series}
    without = {s.kind for s in tables.series} - {s.kind for s in store.series}
    expected = {s[:2] for s in tables.series if s.kind not in without}
    absent: dict[str, set[str]] = {}
    for p in tables.points:
        if p[:2] in expected and p[:2] not in stored:
            absent.setdefault(p.study_id, set()).add(p.series_id)
    problems = [
        Problem(f"the store holds no {kind.value} series: no picture, nothing in mm", fatal=False)
        for kind in sorted(without)
    ]
    problems += [
        Problem(
            f"{len(series)} series with labels not in the store: no picture, nothing in mm",
            study=study,
            series=", ".join(sorted(series, key=id_order)),
        )
        for study, series in sorted(absent.items(), key=lambda item: id_order(item[0]))[:_NAMED]
    ]
    if len(absent) > _NAMED:
        problems.append(Problem(f"and {len(absent) - _NAMED} more studies not in the store"))
    labels = {(p.series_id, p.target, p.instance_number, p.x, p.y) for p in tables.points}
    other = [
        p
        for p in store.points
        if (p.series_id, p.target, p.instance_number, p.x, p.y) not in labels
    ]
    if other:
        what = f"{len(other)} points of the store lie elsewhere than in the tables"
        advice = "prepare the store again with the same --label-fixes"
        problems.append(Problem(what, file=str(store.path), advice=advice))
    return problems
