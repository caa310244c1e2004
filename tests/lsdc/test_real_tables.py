"""The figures of the real tables, which every change of the row rules would move."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from lumbargrade.cli.main import main
from lumbargrade.domain.geometry import FloatArray, apply_homography
from lumbargrade.domain.vocabulary import TARGETS, Condition, Grade, SeriesKind
from lumbargrade.lsdc.corrections import PUBLISHED_FILE, Fix, read_corrections
from lumbargrade.lsdc.exclusions import exclusions
from lumbargrade.lsdc.inspection import LsdcSummary, inspect_lsdc
from lumbargrade.lsdc.mean_shape import mean_shape
from lumbargrade.lsdc.rows import select_rows
from lumbargrade.lsdc.series_file import SeriesRecord
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.lsdc.store_tables import (
    StoredPoint,
    render_grades,
    render_points,
    render_problems,
    render_series,
)
from lumbargrade.lsdc.tables import LsdcTables, assign_folds, read_tables
from lumbargrade.sampling.augment import align_by_consensus, align_similarity

LSDC = "realdata/rsna2024"


@pytest.fixture(scope="module")
def fixes(shared: Path) -> Path:
    return shared / "reference/published/train_label_coordinates.fix01b.csv"


@pytest.fixture(scope="module")
def summary(shared: Path, fixes: Path) -> LsdcSummary:
    return inspect_lsdc(shared / "realdata/rsna2024", label_fixes=fixes)


@pytest.fixture(scope="module")
def tables(shared: Path, fixes: Path) -> LsdcTables:
    return read_tables(shared / "realdata/rsna2024", label_fixes=fixes)


def test_studies_and_series(summary):
    assert summary.studies == 1975
    assert summary.series == {
        SeriesKind.SAGITTAL_T1: 1980,
        SeriesKind.SAGITTAL_T2: 1974,
        SeriesKind.AXIAL_T2: 2340,
    }
    assert len(summary.without_sagittal_kind) == 3


def test_studies_with_several_series_of_a_kind(summary):
    # 1,640 studies have one axial series, 306 two, 28 three and 1 four.
    assert len(summary.several_axial) == 306 + 28 + 1
    assert summary.several_of_a_kind == 340


def test_training_rows(summary):
    assert summary.foraminal_rows_published == 1959
    assert summary.foraminal_rows == 1956
    assert summary.canal_rows == 1898
    assert summary.canal_rows_corrected == 1973


def test_the_published_corrections_give_the_published_canal_points(shared, tables):
    """The corrections in the package do what the complete table does, rounding aside."""
    data = shared / LSDC
    ours = read_tables(data, label_fixes=PUBLISHED_FILE)
    assert not ours.problems
    assert len(select_rows(Condition.CANAL, ours.series, ours.points)) == 1973
    mine, theirs = (
        {(p.study_id, p.series_id, p.target): p for p in t.points} for t in (ours, tables)
    )
    assert mine.keys() == theirs.keys()
    for key, point in theirs.items():
        assert mine[key].instance_number == point.instance_number
        assert abs(mine[key].x - point.x) < 1e-6
        assert abs(mine[key].y - point.y) < 1e-6


def test_the_published_corrections_name_only_what_they_change(shared):
    raw = {(p.study_id, p.series_id, p.target): p for p in read_tables(shared / LSDC).points}
    for c in read_corrections(PUBLISHED_FILE):
        assert c.target.condition is Condition.CANAL
        assert (c.key in raw) == (c.fix is Fix.MOVE)
        if c.fix is Fix.MOVE:
            old = raw[c.key]
            moved = max(abs(old.x - c.x), abs(old.y - c.y))
            assert moved > 1 or old.instance_number != c.instance_number


def test_the_command_counts_rows_with_the_published_corrections(shared, capsys):
    line = ["inspect", str(shared / LSDC), "--label-fixes", "published", "--json"]
    assert main(line) == 1  # images are missing
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert (rows["canal"], rows["canal_corrected"]) == (1898, 1973)


def test_folds_and_grades(summary):
    assert summary.folds == [410, 395, 374, 391, 405]
    assert summary.empty_grades == 572
    graded = sum(sum(counts.values()) for counts in summary.prevalence.values())
    assert graded == 1975 * 25 - 572
    assert summary.prevalence[Condition.CANAL] == {
        Grade.NORMAL_MILD: 8664,
        Grade.MODERATE: 736,
        Grade.SEVERE: 470,
    }


def test_images_that_are_missing_are_counted_and_listed(summary):
    assert summary.missing.present == 3
    assert len(summary.missing.studies) == 1974
    assert 100206310 not in summary.missing.studies
    assert not summary.missing.series
    assert not summary.missing.instances
    assert not summary.ok


def test_tables_alone_are_enough(shared, tmp_path, fixes, summary):
    source = shared / "realdata/rsna2024"
    for name in ("train.csv", "train_series_descriptions.csv", "train_label_coordinates.csv"):
        (tmp_path / name).symlink_to(source / name)
    bare = inspect_lsdc(tmp_path, label_fixes=fixes)
    assert len(bare.missing.studies) == 1975
    mine, theirs = bare.as_dict(), summary.as_dict()
    assert mine["rows"] == theirs["rows"]
    assert mine["folds"] == theirs["folds"]


def test_the_command_says_it_and_ends_in_json(shared, capsys):
    assert main(["inspect", str(shared / "realdata/rsna2024"), "--json"]) == 1
    said = capsys.readouterr().out
    for fact in ("1,975", "1,959 as published", "1,956", "410/395/374/391/405", "572", "1,898"):
        assert fact in said
    last = json.loads(said.splitlines()[-1])
    assert last["rows"] == {
        "foraminal_published": 1959,
        "foraminal": 1956,
        "canal": 1898,
        "canal_corrected": None,
    }
    assert len(last["images"]["missing_studies"]) == 1974


def test_every_exclusion_names_something_that_exists(tables):
    series = {s.series_id for s in tables.series}
    studies = set(tables.grades)
    for e in exclusions():
        assert e.reason
        assert e.series in series if e.study is None else e.study in studies


def row_shapes(tables: LsdcTables, condition: Condition) -> FloatArray:
    chosen = select_rows(condition, tables.series, tables.points, include_wrong_left_points=True)
    return np.array([[p[t][4:6] for t in TARGETS[condition]] for p in chosen.values()])


def published_shape(shared: Path, condition: Condition) -> FloatArray:
    folder = shared / "reference/published"
    if condition is Condition.FORAMINAL:
        return np.load(folder / "nfn_sag_t1_mean_shape.512.npy")
    both = np.load(folder / "scs_sag_t2_mean.512.npy").reshape(5, 2, 2)
    return both[:, 1] + 256.0


@pytest.mark.parametrize("condition", [Condition.FORAMINAL, Condition.CANAL])
def test_mean_shapes_agree_with_the_published_ones(shared, tables, condition):
    """To 0.5 px once centre and size agree, to 0.2 px after a similarity.

    Centre and size in the frame depend on the image sizes, which the tables do not have.
    """
    ours = mean_shape(row_shapes(tables, condition))
    published = published_shape(shared, condition)
    fit = align_similarity(ours, published)
    distance = np.linalg.norm(apply_homography(fit, ours) - published, axis=1)
    assert distance.max() < 0.2
    assert abs(np.degrees(np.arctan2(fit[1, 0], fit[0, 0]))) < 0.5
    centred = published - published.mean(0)
    scale = np.linalg.norm(centred) / np.linalg.norm(ours - ours.mean(0))
    difference = (ours - ours.mean(0)) * scale - centred
    assert np.linalg.norm(difference, axis=1).max() < 0.5


@pytest.mark.parametrize(
    ("condition", "heights", "degrees"),
    [(Condition.FORAMINAL, (3.8, 11.2), 3.2), (Condition.CANAL, (2.8, 6.3), 2.6)],
)
def test_published_alignment_varies_more_than_least_squares(
    shared, tables, condition, heights, degrees
):
    """Heights of all aligned shapes (sd, px of the 512 frame), and the angle between the two maps.

    Image sizes are not in the tables and do not matter here: both alignments measure distances in
    the frame of the mean shape, so size and place of a shape in its image drop out.
    """
    shapes, mean = row_shapes(tables, condition), published_shape(shared, condition)
    least = [align_similarity(shape, mean) for shape in shapes]
    ransac = [align_by_consensus(shape, mean) for shape in shapes]
    found = [_heights(maps, shapes).std() for maps in (least, ransac)]
    np.testing.assert_allclose(found, heights, atol=0.1)
    turned = _degrees(ransac) - _degrees(least)
    assert turned.std() == pytest.approx(degrees, abs=0.1)
    again = [align_by_consensus(1.6 * shape + [37, -12], mean) for shape in shapes]
    np.testing.assert_allclose(
        _heights(again, 1.6 * shapes + [37, -12]), _heights(ransac, shapes), atol=0.01
    )


def _heights(maps: list[FloatArray], shapes: FloatArray) -> FloatArray:
    moved = [apply_homography(m, shape)[:, 1] for m, shape in zip(maps, shapes, strict=True)]
    return np.ptp(np.array(moved), axis=1)


def _degrees(maps: list[FloatArray]) -> FloatArray:
    return np.degrees([np.arctan2(m[1, 0], m[0, 0]) for m in maps])


def test_a_store_of_all_studies_has_the_same_rows_and_opens_at_once(tables, tmp_path):
    records = {e: SeriesRecord("", (18, 640, 640), "digest") for e in tables.series}
    points = [
        StoredPoint(
            *(p.target, p.series_id, p.instance_number, (p.x, p.y, 3.0), (1.25, -2.5, 3.75)),
            study_id=p.study_id,
        )
        for p in tables.points
    ]
    texts = {
        "series.csv": render_series(records),
        "points.csv": render_points(points),
        "grades.csv": render_grades(tables.grades, assign_folds(tables.grades)),
        "problems.csv": render_problems(tables.problems),
    }
    index = {"fingerprint": "", "mean_shapes": {}}
    start = time.process_time()
    store = VolumeStore.from_tables(tmp_path, texts, index)
    assert time.process_time() - start < 5
    assert store.points == tuple(points)
    assert store.grades == tables.grades
    assert len(store.rows(Condition.FORAMINAL)) == 1956
    assert len(store.rows(Condition.FORAMINAL, include_wrong_left_points=True)) == 1959
    assert len(store.rows(Condition.CANAL)) == 1973
    assert np.bincount(list(store.folds.values())).tolist() == [410, 395, 374, 391, 405]
