"""A labelled data set whose series are stored in other ways trains the same networks."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lumbargrade.dicom.study import read_study
from lumbargrade.dicom.variants import WAYS, Way
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.geometry import apply_homography, fit_to_frame
from lumbargrade.domain.upright import Upright, pose_of
from lumbargrade.domain.vocabulary import KIND_OF, TARGETS, Condition, SeriesKind
from lumbargrade.domain.volume import Volume, locate
from lumbargrade.lsdc.prepare import prepare
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.lsdc.tables import read_tables
from lumbargrade.models.registry import get_task
from lumbargrade.models.series_task import SeriesTask
from lumbargrade.models.study_task import StudySample
from lumbargrade.phantom.dataset import Settings, make_dataset
from lumbargrade.sampling.series import Sample, fitted, make_sample, warp_volume
from lumbargrade.scoring.points import point_errors
from lumbargrade.validation.judged import JudgedRows
from lumbargrade.validation.scores import point_columns
from made_series import make_row
from small_models import small_recipe
from stored_otherwise import read_series_files, write_study

POINTS = "train_label_coordinates.csv"


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[VolumeStore, VolumeStore]:
    """Stores of one phantom data set, as it is and with every series stored in a way of its own."""
    folder = tmp_path_factory.mktemp("stored")
    make_dataset(folder / "data", Settings(2, 8, 0, "train", "explicit"))
    store_otherwise(folder / "data", folder / "other")
    for name in ("data", "other"):
        prepare(folder / name, folder / f"{name}-store")
    first, other = (VolumeStore.open(folder / f"{n}-store") for n in ("data", "other"))
    assert not first.problems
    assert not other.problems
    return first, other


def store_otherwise(data: Path, out: Path) -> None:
    """A data set with its images turned and its coordinates to match."""
    out.mkdir()
    for table in data.glob("*.csv"):
        shutil.copy(table, out)
    with (data / POINTS).open() as stream:
        header, *rows = list(csv.reader(stream))
    for i, entry in enumerate(read_tables(data).series):
        way = WAYS[(3 * i + 5) % len(WAYS)]
        name = entry.series_id
        study = data / "train_images" / entry.study_id
        slices = read_series_files(study / name)
        write_study(out / "train_images" / entry.study_id, {name: slices}, {name: way})
        for row in rows:
            if row[header.index("series_id")] == name:
                move(row, header, way, slices[0].pixel_array.shape, len(slices))
    with (out / POINTS).open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def move(
    row: list[str], header: Sequence[str], way: Way, shape: tuple[int, ...], count: int
) -> None:
    """A labelled point where its pixel is stored now, in place."""
    at = {name: header.index(name) for name in ("x", "y", "instance_number")}
    x, y = float(row[at["x"]]), float(row[at["y"]])
    height, width = shape
    if way.transpose:
        x, y, height, width = y, x, width, height
    row[at["x"]] = repr(width - 1 - x if way.columns else x)
    row[at["y"]] = repr(height - 1 - y if way.rows else y)
    if way.numbers:
        row[at["instance_number"]] = str(count + 1 - int(row[at["instance_number"]]))


@pytest.mark.parametrize("task", ["foraminal", "canal", "subarticular", "two_stage", "keypoints"])
def test_samples_are_the_same_augmented_or_not(
    task: str, stores: tuple[VolumeStore, VolumeStore]
) -> None:
    """Left stays left: points and grades keep their targets."""
    known = get_task(small_recipe(task))
    first, other = (known.rows(store) for store in stores)
    assert len(first) == len(other) > 0
    for one, same in zip(first, other, strict=True):
        for seed in (None, *range(6)):
            a, b = (
                known.sample(store, row, None if seed is None else np.random.default_rng(seed))
                for store, row in zip(stores, (one, same), strict=True)
            )
            assert_same_sample(a, b)


def assert_same_sample(one: Sample | StudySample, other: Sample | StudySample) -> None:
    assert (one.grades == other.grades).all()
    if isinstance(one, Sample):
        assert isinstance(other, Sample)
        assert one.annotated.all()
        np.testing.assert_allclose(one.points, other.points, atol=1e-3)
        assert differing(one.image, other.image) < 1e-3
        return
    assert isinstance(other, StudySample)
    for kind, crops in one.crops.views.items():
        for place, (crop, same) in enumerate(zip(crops, other.crops.views[kind], strict=True)):
            assert (crop.valid == same.valid).all()
            assert differing(crop.image, same.image) < 1e-3
            truth, moved = one.point_in(kind, place, 0), other.point_in(kind, place, 0)
            assert (truth is None) == (moved is None)
            if truth is not None and moved is not None:
                np.testing.assert_allclose(truth, moved, atol=1e-3)


def differing(one: np.ndarray, other: np.ndarray) -> float:
    """The share of pixels that differ; interpolation rounds the last bits of a matrix."""
    return float((one != other).mean())


def assert_seen_as_stored(volume: Volume) -> None:
    """The network input is that of the pixels as they are, to the bit, and so are crops' slices."""
    upright = Upright.of(volume, pose_of(volume.kind))
    assert upright.unchanged
    assert upright.pixels(volume) is volume.pixels
    if volume.kind is SeriesKind.AXIAL_T2:
        return
    condition = next(c for c, kind in KIND_OF.items() if kind is volume.kind)
    points = np.random.default_rng(0).uniform(0, 9, (len(TARGETS[condition]), 3))
    row = replace(make_row(condition), points=points.astype(np.float32))
    for frame in (0, 128):
        sample = make_sample(volume, row, size=96, frame=frame)
        if frame:
            expected = fitted(fitted(volume.pixels, frame)[0], 96)[0]
        else:
            matrix = fit_to_frame(volume.pixels.shape[1:], 96)
            expected = warp_volume(volume.pixels, matrix, 96)
            moved = apply_homography(matrix, row.points[:, :2]).astype(np.float32)
            assert (sample.points[:, :2] == moved).all()
        assert (sample.image == expected).all()
        assert (sample.points[:, 2] == row.points[:, 2]).all()


def test_ordinary_series_of_phantoms_are_seen_as_they_are_stored(
    stores: tuple[VolumeStore, VolumeStore],
) -> None:
    for entry in stores[0].series:
        assert_seen_as_stored(stores[0].volume(entry.study_id, entry.series_id))


def test_series_of_the_real_study_are_seen_as_they_are_stored(shared: Path) -> None:
    data = shared / "realdata" / "rsna2024"
    kinds = {s.series_id: s.kind for s in read_tables(data).series}
    study = read_study(data / "train_images" / "100206310", kinds=kinds)
    assert len(study.volumes) == 3
    for volume in study.volumes:
        assert_seen_as_stored(volume)


def test_mean_shapes_and_patient_points_are_the_same(
    stores: tuple[VolumeStore, VolumeStore],
) -> None:
    first, other = stores
    assert set(first.mean_shapes) == set(other.mean_shapes)
    for condition, shape in first.mean_shapes.items():
        np.testing.assert_allclose(other.mean_shapes[condition], shape, atol=1e-3)
    for one, same in zip(first.points, other.points, strict=True):
        assert one.target is same.target or one.target == same.target
        np.testing.assert_allclose(one.patient, same.patient, atol=1e-5)


def test_point_errors_of_validation_are_the_same(stores: tuple[VolumeStore, VolumeStore]) -> None:
    """Shares along x and y are of the patient's axes, not of those of the stored image."""
    task = get_task(small_recipe("foraminal"))
    assert isinstance(task, SeriesTask)
    errors = []
    for store in stores:
        rows = store.rows(Condition.FORAMINAL)
        predictions = []
        for row in rows:
            volume = store.volume(row.study_id, row.series_id)
            away = volume.to_patient(row.points) + np.array([0.3, 9.0, 1.2])
            voxels = volume.from_patient(away)
            points = locate(volume, row.targets, voxels)
            predictions.append(StudyPrediction(row.study_id, {}, points=points))
        judged = JudgedRows(rows, predictions)
        errors.append(point_errors(*point_columns(judged, store, 320)))
    one, other = errors
    assert one.within == other.within
    assert one.within["x"] != one.within["y"]
    assert one.median_mm == pytest.approx(other.median_mm, abs=1e-3)
