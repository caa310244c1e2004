"""Tables of labels without images: spines of many sizes and places, and errors to plant in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lsdc_layout import write_table
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, Grade, Level, Side, Target
from lumbargrade.lsdc.corrections import POINT_COLUMNS
from lumbargrade.lsdc.tables import LsdcTables, SeriesEntry, TablePoint

KINDS = {Condition.FORAMINAL: 0, Condition.CANAL: 1, Condition.SUBARTICULAR: 2}


def made_tables(studies: int = 40, seed: int = 0) -> LsdcTables:
    """Studies whose labels are right: lordotic spines, hands that place points within a pixel."""
    from lumbargrade.domain.vocabulary import SeriesKind

    rng = np.random.default_rng(seed)
    series, points, grades = [], [], {}
    for n in range(studies):
        study = str(100 + n)
        grades[study] = dict.fromkeys(FINDINGS, Grade.NORMAL_MILD)
        gap = rng.uniform(30, 70)
        corner = rng.uniform(2, 3, 2) * gap
        bend = rng.uniform(0.1, 0.3)
        for condition, k in KINDS.items():
            series_id = f"{study}{k}"
            series.append(SeriesEntry(study, series_id, list(SeriesKind)[k]))
            for i, target in enumerate(TARGETS[condition]):
                level, side = i % 5, i // 5
                if condition is Condition.SUBARTICULAR:
                    x, y = corner + gap * np.array([0.5 - side, 0.1 * rng.normal()])
                    instance = 4 + 5 * level
                else:
                    x, y = corner + gap * np.array([bend * (level - 2) ** 2, float(level)])
                    x += 0.3 * gap if condition is Condition.FORAMINAL else 0
                    instance = 4 + 6 * side if condition.sided else 8
                x, y = np.array([x, y]) + 0.02 * gap * rng.normal(size=2)
                points.append(TablePoint(study, series_id, instance, target, float(x), float(y)))
    return LsdcTables(Path("made"), "train", grades, tuple(series), tuple(points))


def canal(level: Level) -> Target:
    return Target(Condition.CANAL, level)


def foraminal(level: Level, side: Side) -> Target:
    return Target(Condition.FORAMINAL, level, side)


def edited(
    tables: LsdcTables,
    study: str,
    targets: Sequence[Target],
    change: Callable[[TablePoint], TablePoint | None],
) -> LsdcTables:
    """The tables with points of a study changed, or taken out where ``change`` gives None."""
    points = [
        change(p) if p.study_id == study and p.target in targets else p for p in tables.points
    ]
    return replace(tables, points=tuple(p for p in points if p is not None))


def write_tables(folder: Path, tables: LsdcTables) -> Path:
    """The three tables of a training set as files."""
    folder.mkdir()
    write_table(
        folder / "train_series_descriptions.csv",
        ["study_id", "series_id", "series_description"],
        [[s.study_id, s.series_id, s.kind.value] for s in tables.series],
    )
    write_table(
        folder / "train.csv",
        ["study_id", *(t.column for t in FINDINGS)],
        [[study, *(g[t].label for t in FINDINGS)] for study, g in tables.grades.items()],
    )
    rows = [
        [*p[:3], p.target.coordinate_label, p.target.level.label, p.x, p.y] for p in tables.points
    ]
    write_table(folder / "train_label_coordinates.csv", list(POINT_COLUMNS), rows)
    return folder
