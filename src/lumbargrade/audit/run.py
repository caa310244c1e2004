"""Run all checks of a data set: of its tables, its store and its out-of-fold predictions."""

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
        store: made from the same labels; gives image bounds and positions in the patient.
        predictions: out-of-fold predictions by file.
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
    """Result of the checks of tables.

    Attributes:
        suspects: sorted, the most suspicious first.
        problems: what could not be checked.
    """

    suspects: list[Suspect]
    problems: list[Problem]


def audit_tables(tables: LsdcTables, sizes: Sizes | None = None) -> TableAudit:
    """Check every labelled point against the other points and tables.

    Args:
        sizes: of the images. Without them, only points above or to the left of any image count as
            outside.
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
            what = (
                f"{condition}: fewer than {LEAST_SERIES} series with all points; shape not checked"
            )
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
    """Check order, shape and missing points; if the order is wrong, the shape is not checked."""
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
    """Indices of targets that should have a point in this series, but have none in the study.

    A sagittal series shows every level. Axial series may each show some levels, so a target is
    wanted only if it is graded and this series has a point on the other side of its level.
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
    """Labelled series that the store lacks, and points of the store that differ from the tables.

    If the store holds no series of a kind, it was prepared so: one problem reports all of them.
    """
    stored = {s[:2] for s in store.series}
    without = {s.kind for s in tables.series} - {s.kind for s in store.series}
    expected = {s[:2] for s in tables.series if s.kind not in without}
    absent: dict[str, set[str]] = {}
    for p in tables.points:
        if p[:2] in expected and p[:2] not in stored:
            absent.setdefault(p.study_id, set()).add(p.series_id)
    problems = [
        Problem(
            f"the store holds no {kind.value} series: no pictures, no checks in mm", fatal=False
        )
        for kind in sorted(without)
    ]
    problems += [
        Problem(
            f"{len(series)} series with labels are not in the store: no pictures, no checks in mm",
            study=study,
            series=", ".join(sorted(series, key=id_order)),
        )
        for study, series in sorted(absent.items(), key=lambda item: id_order(item[0]))[:_NAMED]
    ]
    if len(absent) > _NAMED:
        problems.append(
            Problem(f"{len(absent) - _NAMED} more studies have series that are not in the store")
        )
    labels = {(p.series_id, p.target, p.instance_number, p.x, p.y) for p in tables.points}
    other = [
        p
        for p in store.points
        if (p.series_id, p.target, p.instance_number, p.x, p.y) not in labels
    ]
    if other:
        what = f"{len(other)} points of the store differ from the tables"
        advice = "prepare the store again with the same --label-fixes"
        problems.append(Problem(what, file=str(store.path), advice=advice))
    return problems
