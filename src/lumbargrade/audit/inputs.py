"""Whether the tables, a store and predictions are of the same data: what does not fit is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.lsdc.tables import LsdcTables

_NAMED = 20


def store_problems(tables: LsdcTables, store: VolumeStore) -> list[Problem]:
    """Studies with labels but without images in the store, and labels that the store has not.

    A store that was prepared without a kind of series lacks it on purpose: that is said once.
    """
    stored = {s[:2] for s in store.series}
    without = {s.kind for s in tables.series} - {s.kind for s in store.series}
    expected = {s[:2] for s in tables.series if s.kind not in without}
    absent: dict[int, set[int]] = {}
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
            study=str(study),
            series=", ".join(map(str, sorted(series))),
        )
        for study, series in sorted(absent.items())[:_NAMED]
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


def prediction_problems(
    paths: Sequence[Path], files: Sequence[Mapping[str, StudyPrediction]], tables: LsdcTables
) -> list[Problem]:
    """Files of predictions that are of other studies than the tables."""
    known = {str(study) for study in tables.grades}
    problems = []
    for path, file in zip(paths, files, strict=True):
        strange = [study for study in file if study not in known]
        if strange or not file:
            what = f"{len(strange)} of {len(file)} predicted studies are not in train.csv"
            problems.append(Problem(what if file else "holds no prediction", file=str(path)))
    return problems
