"""The audit of the real tables finds what a person found, and puts points where the person did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lumbargrade.audit.records import Check, Suspect
from lumbargrade.audit.run import audit_tables
from lumbargrade.domain.vocabulary import Condition, Target
from lumbargrade.lsdc.tables import TablePoint, read_point_table, read_tables

#: Disc spacing of the mean sagittal shape in a frame of 512 pixels: no image size is known here.
SPACING_512 = 54.4

Places = dict[tuple[str, str], dict[Target, TablePoint]]


def canal_places(points: list[TablePoint] | tuple[TablePoint, ...]) -> Places:
    found: Places = {}
    for p in points:
        if p.target.condition is Condition.CANAL:
            found.setdefault(p[:2], {})[p.target] = p
    return found


@pytest.fixture(scope="module")
def tables(shared: Path):
    return read_tables(shared / "realdata/rsna2024")


@pytest.fixture(scope="module")
def suspects(tables) -> list[Suspect]:
    return audit_tables(tables).suspects


@pytest.fixture(scope="module")
def raw(tables) -> Places:
    return canal_places(tables.points)


@pytest.fixture(scope="module")
def person(shared: Path) -> Places:
    return canal_places(
        read_point_table(shared / "reference/published/train_label_coordinates.fix01b.csv")
    )


def moved_by_the_person(raw: Places, person: Places) -> set[tuple[tuple[str, str], Target]]:
    return {
        (series, t)
        for series, places in raw.items()
        for t, p in places.items()
        if abs(p.x - person[series][t].x) + abs(p.y - person[series][t].y) > 1e-3
    }


def distances(suspects, check: Check, person: Places, chosen) -> np.ndarray:
    """Of proposed canal places to the person's, in pixels of a 512 frame."""
    found = []
    for s in suspects:
        for c in s.corrections if s.check is check and s.condition is Condition.CANAL else ():
            series = (c.study_id, c.series_id)
            if not chosen(series, c.target):
                continue
            theirs = person[series]
            spacing = np.median(np.diff(sorted(p.y for p in theirs.values())))
            away = np.hypot(c.x - theirs[c.target].x, c.y - theirs[c.target].y)
            found.append(away / spacing * SPACING_512)
    return np.array(found)


def test_the_first_25_canal_series_hold_all_21_that_a_person_moved(suspects, raw, person):
    wrong = {series for series, _ in moved_by_the_person(raw, person)}
    assert len(wrong) == 21
    order = [
        (s.study_id, s.series_id)
        for s in suspects
        if s.condition is Condition.CANAL and s.check is not Check.MISSING
    ]
    assert wrong <= set(list(dict.fromkeys(order))[:25])


def test_moved_and_added_canal_points_lie_where_the_person_put_them(suspects, raw, person):
    points = moved_by_the_person(raw, person)
    moved = distances(suspects, Check.SHAPE, person, lambda s, t: (s, t) in points)
    added = distances(suspects, Check.MISSING, person, lambda s, t: t not in raw[s])
    assert len(moved) == 18
    assert np.median(moved) < 7
    assert np.mean(moved <= 20) >= 16 / 18
    assert len(added) == 113
    assert np.median(added) < 8.5
    assert np.mean(added <= 20) > 0.94


def test_every_series_to_which_the_person_added_points_is_listed(suspects, raw, person):
    added = {s for s, places in person.items() if set(places) - set(raw[s])}
    listed = {
        (s.study_id, s.series_id)
        for s in suspects
        if s.check is Check.MISSING and s.condition is Condition.CANAL
    }
    assert len(added) == 75
    assert listed == added


def test_the_known_foraminal_errors_lead_their_checks(suspects):
    foraminal = [s for s in suspects if s.condition is Condition.FORAMINAL]
    shape = [s.study_id for s in foraminal if s.check is Check.SHAPE]
    assert set(shape[:3]) == {"8785691", "3355993164", "4066376844"}
    sides = [s.series_id for s in foraminal if s.check is Check.SIDES]
    known = {"3230157587", "692927423", "2289719834", "4030602643", "856763877"}
    missed = {"2294821327", "2278678071", "1513597136", "3802667261"}
    assert set(sides[:9]) == known | missed


def test_a_person_can_work_through_the_list(suspects):
    assert len(suspects) < 320
