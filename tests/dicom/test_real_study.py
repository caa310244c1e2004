"""The real study: pixels and order as the reference says, geometry as highdicom says."""

from __future__ import annotations

import hashlib
import json

import highdicom
import numpy as np
import pydicom
import pytest

import lumbargrade
from lumbargrade.dicom.inspect import summarise_folder
from lumbargrade.dicom.reader import read_series
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.report.inspected import inspected_text

STUDY = "100206310"
SERIES = {
    "1012284084": SeriesKind.AXIAL_T2,
    "1792451510": SeriesKind.SAGITTAL_T2,
    "2092806862": SeriesKind.SAGITTAL_T1,
}


@pytest.mark.parametrize("series", SERIES)
@pytest.mark.parametrize("told", [True, False], ids=["kind told", "kind unknown"])
def test_pixels_order_and_groups_are_the_reference(shared, series, told):
    reference = json.loads((shared / "reference/volumes.json").read_text())[f"{STUDY}/{series}"]
    assert reference["description"] == SERIES[series].value
    folder = shared / "realdata/rsna2024/train_images" / STUDY / series
    result = read_series(folder, kind=SERIES[series] if told else None)
    volume = result.volume
    assert hashlib.sha256(volume.pixels.tobytes()).hexdigest() == reference["sha256"]
    assert [s.instance_number for s in volume.slices] == reference["instance_numbers"]
    assert [s.group for s in volume.slices] == reference["groups"]
    assert not any(p.fatal for p in result.problems)


@pytest.mark.parametrize("series", SERIES)
def test_voxels_are_where_highdicom_puts_them(shared, series):
    folder = shared / "realdata/rsna2024/train_images" / STUDY / series
    volume = read_series(folder).volume
    rng = np.random.default_rng(0)
    for z, s in enumerate(volume.slices):
        header = pydicom.dcmread(folder / s.file, stop_before_pixels=True)
        geometry = {
            "image_position": header.ImagePositionPatient,
            "image_orientation": header.ImageOrientationPatient,
            "pixel_spacing": header.PixelSpacing,
        }
        xy = rng.uniform(-0.5, 300, (20, 2))
        # highdicom's image coordinates have the first pixel's centre at (0.5, 0.5)
        expected = highdicom.spatial.ImageToReferenceTransformer(**geometry)(xy + 0.5)
        ours = volume.to_patient(np.column_stack([xy, np.full(20, z)]))
        np.testing.assert_allclose(ours, expected, atol=1e-3)
        np.testing.assert_allclose(s.plane.to_patient(xy), expected, atol=1e-3)
        anywhere = expected + rng.normal(0, 30, expected.shape)
        there = highdicom.spatial.ReferenceToImageTransformer(**geometry)(anywhere)
        x, y, depth = s.plane.from_patient(anywhere).T
        dy, dx = header.PixelSpacing
        difference = np.array([x - there[:, 0] + 0.5, y - there[:, 1] + 0.5]).T * (dx, dy)
        assert np.abs(difference).max() < 1e-3
        # highdicom drops the depth, so it is judged by putting the point together again
        back = s.plane.to_patient(np.column_stack([x, y])) + depth[:, None] * s.plane.normal
        np.testing.assert_allclose(back, anywhere, atol=1e-9)


def test_each_tilted_axial_stack_has_its_own_plane(shared):
    folder = shared / "realdata/rsna2024/train_images" / STUDY / "1012284084"
    volume = read_series(folder).volume
    normals = {s.group: tuple(np.round(s.plane.normal, 3)) for s in volume.slices}
    assert len(set(normals.values())) == 6
    voxels = np.array([(160.0, 150.0, z) for z in range(len(volume.slices))])
    np.testing.assert_allclose(volume.from_patient(volume.to_patient(voxels)), voxels, atol=1e-6)


def test_the_whole_study_is_read_and_its_kinds_told_from_the_headers(shared):
    study = lumbargrade.read_study(shared / "realdata/rsna2024/train_images" / STUDY)
    assert study.study_id == STUDY
    assert {v.series_id: v.kind for v in study.volumes} == SERIES
    assert not study.other
    assert not any(p.fatal for p in study.problems)
    axial = study.of(SeriesKind.AXIAL_T2)[0]
    assert axial.pixels.shape == (60, 320, 320)


def test_inspect_of_the_real_study(shared):
    summary = summarise_folder(shared / "realdata/rsna2024/train_images" / STUDY)
    assert summary.studies == (STUDY,)
    found = {s.series_id: s for s in summary.series}
    assert {k: s.kind for k, s in found.items()} == SERIES
    assert found["1792451510"].shape == (18, 462, 448)
    assert found["1792451510"].stacks[0].gap == pytest.approx(4.48, abs=0.01)
    assert len(found["1012284084"].stacks) == 6
    json.dumps(summary.as_dict())
    assert all(s.chosen for s in summary.series)
    assert "Sagittal T1" in inspected_text(summary)
    assert "6 stacks" in inspected_text(summary)
