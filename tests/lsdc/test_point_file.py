"""Points from one stage to the next: written, read back, refused where a model has seen a study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lumbargrade.domain.errors import BadTable, UsageError
from lumbargrade.domain.findings import ModelSource
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, Target
from lumbargrade.lsdc.point_file import (
    PointRow,
    read_points,
    refuse_seen,
    write_points,
)
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.sampling.study_rows import (
    DEFAULT_JITTER,
    FEWEST_ERRORS,
    measured_jitter,
    study_rows,
)

CANAL, FORAMINAL = TARGETS[Condition.CANAL], TARGETS[Condition.FORAMINAL]


def point(target: Target, study: str = "7", fold: int = 3, **change) -> PointRow:
    at = Point(target, "70", 4, (1.25, 2.5, 3.125), (-10.5, 20.25, -30.0))
    made = PointRow(
        study, fold, at, (ModelSource("small/canal", fold), ModelSource("other#name", fold))
    )
    return replace(made, **change)


def written(path: Path, points: list[PointRow]) -> Path:
    assert write_points(path / "points.csv", points) == len(points)
    return path / "points.csv"


def test_points_come_back_as_they_were(tmp_path: Path) -> None:
    points = [point(t, study) for study in ("9", "7") for t in (CANAL[1], FORAMINAL[4])]
    points.append(point(CANAL[0], "7", 3, models=()))
    found = read_points(written(tmp_path, points))
    assert list(found) == ["7", "9"]
    assert found == {
        study: {p.point.target: p for p in points if p.study_id == study} for study in ("7", "9")
    }


def test_no_points_are_no_points(tmp_path: Path) -> None:
    assert read_points(written(tmp_path, [])) == {}


def spoiled(tmp_path: Path, old: str, new: str) -> Path:
    """The third line of a good file, changed."""
    path = written(tmp_path, [point(CANAL[0]), point(CANAL[1])])
    lines = path.read_text().splitlines()
    assert old in lines[2]
    lines[2] = lines[2].replace(old, new, 1)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("20.25", "twenty"),
        ("20.25", ""),
        ("20.25", "nan"),
        ("3.125", "inf"),
        ("spinal_canal_stenosis_l2_l3", "spinal_canal_stenosis_l9"),
        ("7,3", "7.5,3"),
        ("small/canal#3", "small/canal"),
        (",small/canal#3;other#name#3", ""),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(BadTable, match=r"points\.csv, row 3[,:] "):
        read_points(spoiled(tmp_path, old, new))


def test_a_second_point_of_a_target_is_named(tmp_path: Path) -> None:
    path = spoiled(tmp_path, "l2_l3", "l1_l2")
    with pytest.raises(
        BadTable, match="row 3: duplicate spinal_canal_stenosis_l1_l2 of study 7, also in row 2"
    ):
        read_points(path)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, [point(CANAL[0])])
    path.write_text(path.read_text().replace("patient_x", "px").replace("models", "by"))
    with pytest.raises(BadTable, match="missing columns: patient_x, models"):
        read_points(path)


def test_a_file_that_is_none_or_no_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadTable, match="no such file"):
        read_points(tmp_path / "absent.csv")
    path = tmp_path / "image.csv"
    path.write_bytes(b"\x89PNG\xff\xfe" * 9)
    with pytest.raises(BadTable, match=r"image\.csv: not a CSV table"):
        read_points(path)
    path.write_text("")
    with pytest.raises(BadTable, match="the file is empty"):
        read_points(path)


def test_points_of_a_model_that_was_trained_on_the_study_are_refused() -> None:
    points = {"7": {CANAL[0]: point(CANAL[0])}, "8": {CANAL[2]: point(CANAL[2], "8", 1)}}
    refuse_seen(points, {"7": 3, "8": 1}, "p.csv")
    refuse_seen(points, {"7": 3}, "p.csv")  # a study that is not in the store
    mixed = {
        "7": {CANAL[0]: point(CANAL[0], models=(ModelSource("good", 3), ModelSource("bad/one", 2)))}
    }
    said = r"p\.csv: the point spinal_canal_stenosis_l1_l2 of study 7 \(fold 3\).*bad/one fold 2"
    with pytest.raises(UsageError, match=said):
        refuse_seen(mixed, {"7": 3}, "p.csv")
    with pytest.raises(UsageError, match=r"study 8 \(fold 0\) comes from small/canal fold 1"):
        refuse_seen(points, {"7": 3, "8": 0}, "p.csv")


Spread = tuple[float, float, float]


def compared(
    count: int, spread: Spread, *, far: int = 0, seed: int = 0
) -> tuple[dict[str, dict[Target, PointRow]], dict[str, dict[Target, Point]]]:
    """Points off their labels by a normal error; the first ``far`` lie on another level."""
    rng = np.random.default_rng(seed)
    predicted, labels = {}, {}
    for number in range(count):
        study = str(number)
        off = rng.normal(0, spread) if number >= far else np.array([0, 0, 35.0])
        truth = rng.normal(0, 50, 3)
        true = Point(CANAL[0], "70", 4, (0, 0, 0), tuple(truth.tolist()))
        found = replace(true, patient=tuple((truth + off).tolist()))
        predicted[study] = {CANAL[0]: point(CANAL[0], study, point=found)}
        labels[study] = {CANAL[0]: true}
    return predicted, labels


def test_jitter_is_the_spread_of_the_errors_whatever_a_few_far_points_say() -> None:
    for far in (0, 60):
        predicted, labels = compared(1000, (1.0, 2.0, 4.0), far=far)
        assert measured_jitter(predicted, labels) == pytest.approx((1, 2, 4), rel=0.15)


def test_too_few_errors_say_nothing() -> None:
    for count, known in ((FEWEST_ERRORS - 1, False), (FEWEST_ERRORS, True)):
        found = measured_jitter(*compared(count, (0.1, 0.1, 0.1)))
        assert (found == (DEFAULT_JITTER,) * 3) == (not known)
    predicted, labels = compared(100, (0.1, 0.1, 0.1))
    assert measured_jitter(predicted, {}) == (DEFAULT_JITTER,) * 3
    assert measured_jitter({}, labels) == (DEFAULT_JITTER,) * 3


def test_recesses_say_nothing_of_the_guides() -> None:
    predicted, labels = compared(100, (0.1, 0.1, 0.1))
    target = TARGETS[Condition.SUBARTICULAR][0]
    recesses = {s: {target: p[CANAL[0]]} for s, p in predicted.items()}
    truth = {s: {target: p[CANAL[0]]} for s, p in labels.items()}
    assert measured_jitter(recesses, truth) == (DEFAULT_JITTER,) * 3


@pytest.fixture(scope="module")
def store(phantom_store: Path) -> VolumeStore:
    return VolumeStore.open(phantom_store)


def test_a_study_is_guided_by_its_predicted_points_alone_and_others_by_their_labels(
    store: VolumeStore,
) -> None:
    first, *rest = store.folds
    predicted = {
        first: {CANAL[0]: point(CANAL[0], first), FORAMINAL[3]: point(FORAMINAL[3], first)}
    }
    rows = {r.study_id: r for r in study_rows(store, FINDINGS, predicted)}
    assert set(rows) == set(store.folds)
    assert [(g.target, g.series_id, g.patient) for g in rows[first].guides] == [
        (t, "70", (-10.5, 20.25, -30.0)) for t in (CANAL[0], FORAMINAL[3])
    ]
    assert not rows[first].guided_by_labels
    for study in rest:
        labels = {p.target: p.patient for p in store.points if p.study_id == study}
        assert rows[study].guided_by_labels
        assert {g.target: g.patient for g in rows[study].guides} == labels
        assert rows[study].fold == store.folds[study]
    for study, row in rows.items():  # what is true stays true
        labels = {p.target: p.patient for p in store.points if p.study_id == study}
        np.testing.assert_allclose(row.points, [labels[t] for t in FINDINGS])
        assert row.grades.tolist() == [store.grades[study][t] for t in FINDINGS]


def test_a_study_without_grades_of_the_targets_or_without_any_point_is_no_row(
    store: VolumeStore,
) -> None:
    first, second, *rest = store.folds
    grades = dict(store.grades) | {first: {}}
    points = tuple(p for p in store.points if p.study_id != second)
    rows = study_rows(replace(store, grades=grades, points=points), FINDINGS)
    assert [r.study_id for r in rows] == rest
    predicted = {second: {CANAL[0]: point(CANAL[0], second)}}
    rows = study_rows(replace(store, grades=grades, points=points), FINDINGS, predicted)
    assert [r.study_id for r in rows] == [second, *rest]
    assert np.isnan(rows[0].points).all()


def test_points_of_unknown_models_are_refused() -> None:
    unknown = {"7": {CANAL[0]: point(CANAL[0], "7", 3, models=())}}
    with pytest.raises(UsageError, match="study 7, so it is not known"):
        refuse_seen(unknown, {"7": 3}, "p.csv")
