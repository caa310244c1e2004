"""Volumes, slices, crops and decoding are those of the published code, bit for bit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from lumbargrade.dicom.study import read_study
from lumbargrade.domain.errors import NothingDone
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.lsdc.tables import read_series_table
from lumbargrade.team_two_stage.crops import GREY, crop_at, network_crop, plain_crop, stretched
from lumbargrade.team_two_stage.decoding import best_series, levels_of_series
from lumbargrade.team_two_stage.series import read_case
from lumbargrade.team_two_stage.slices import level_ranges, six_of, ten_slices, with_neighbours
from lumbargrade.team_two_stage.volumes import (
    nearest_indices,
    published_volume,
    spatial_order,
)
from small_studies import write_noise_study

GOLDEN = "reference/two-stage/golden"


@pytest.fixture(scope="module")
def rules(shared: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((shared / GOLDEN / "rules.json").read_text())
    return content


@pytest.mark.parametrize(
    ("series", "plane", "side"),
    [
        ("1012284084", "sagittal", 512),
        ("1792451510", "axial", 720),
        ("2092806862", "axial", 720),
    ],
)
def test_volumes_of_a_real_study_are_the_published_ones(
    rules: dict[str, Any], shared: Path, series: str, plane: str, side: int
) -> None:
    """The published volume of a series has the recorded order of files and SHA-256."""
    name = f"train_images/100206310/{series}"
    expected = rules["volumes"][f"{name}|{plane}|{side}"]
    files = sorted(
        (shared / "realdata/rsna2024" / name).glob("*.dcm"), key=lambda file: int(file.stem)
    )
    images = [pydicom.dcmread(file) for file in files]
    order = spatial_order(
        [i.ImagePositionPatient for i in images], sagittal=plane == "sagittal"
    ).tolist()
    assert [int(files[i].stem) for i in order] == expected["order"]
    volume = published_volume([images[i].pixel_array for i in order], side)
    assert hashlib.sha256(volume.tobytes()).hexdigest() == expected["sha256"]


def test_a_study_is_read_again_from_its_files(rules: dict[str, Any], shared: Path) -> None:
    """From our volumes of the real study, the published ones follow; places find their slices."""
    data = shared / "realdata/rsna2024"
    entries = read_series_table(data / "train_series_descriptions.csv")
    kinds = {e.series_id: e.kind for e in entries if e.study_id == "100206310"}
    study = read_study(data / "train_images/100206310", kinds=kinds)
    case = read_case(study.study_id, study.volumes, large=True)
    assert not case.problems
    assert case.t1 is not None
    assert case.t2 is not None
    for series in (case.t1, case.t2, *case.axial):
        volume = series.volume
        sagittal = volume.kind is not SeriesKind.AXIAL_T2
        name = f"train_images/100206310/{volume.series_id}|{'sagittal' if sagittal else 'axial'}"
        assert (
            hashlib.sha256(series.slices.data).hexdigest()
            == (rules["volumes"][f"{name}|512"]["sha256"])
        )
        numbers = [volume.slices[i].instance_number for i in series.order]
        assert numbers == rules["volumes"][f"{name}|512"]["order"]
        x, y, z = series.voxel(np.array([255.5, 255.5, 2]))
        height, width = volume.pixels.shape[1:]
        assert (x, y) == pytest.approx(((width - 1) / 2, (height - 1) / 2))
        assert volume.slices[int(z)].instance_number == numbers[2]
    (axial,) = case.axial
    images = [pydicom.dcmread(volume_file) for volume_file in axial.volume.files]
    assert axial.spacing == float(images[axial.order[0]].SpacingBetweenSlices)
    assert axial.large is not None
    whole = published_volume([images[i].pixel_array for i in axial.order], 720)
    expected = rules["volumes"][f"train_images/100206310/{axial.volume.series_id}|axial|720"]
    assert hashlib.sha256(whole.data).hexdigest() == expected["sha256"]
    np.testing.assert_array_equal(axial.large, whole[:, 104:616, 104:616])


@pytest.mark.parametrize(
    ("stored", "used"), [("4.5", 4.5), ("30", 30.0), ("0", None), ("-4", None), ("9000", None)]
)
def test_an_impossible_spacing_of_slices_is_not_used(
    tmp_path: Path, stored: str, used: float | None
) -> None:
    """It would let the level network read thousands of slices, or one."""
    study = write_noise_study(tmp_path / "S", [SeriesKind.AXIAL_T2], depth=3)
    for path in study.rglob("*.dcm"):
        data = pydicom.dcmread(path)
        data.SpacingBetweenSlices = stored
        data.save_as(path)
    read = read_study(study)
    (series,) = read_case(read.study_id, read.volumes, large=False).axial
    assert series.spacing == used


def test_slices_are_chosen_by_the_published_rules(rules: dict[str, Any]) -> None:
    """Ten of a series, six of a level and the ranges of levels are those of the reference."""
    for depth, chosen in rules["ten_slices"].items():
        assert ten_slices(int(depth)).tolist() == chosen
    for count, chosen in rules["six_of_k"].items():
        assert six_of(int(count)).tolist() == chosen
    for case in rules["level_slices"]:
        assert level_ranges(case["z"], case["depth"]).tolist() == case["first_last"]
    assert with_neighbours(np.arange(5), 5).T.tolist() == rules["neighbours_5"]


def test_nearest_neighbours_are_those_of_torch(rules: dict[str, Any]) -> None:
    """Indices are those of the reference, and of torch for every size in use."""
    torch = pytest.importorskip("torch")
    for name, expected in rules["nearest"].items():
        count, wanted = map(int, name.split("->"))
        assert nearest_indices(count, wanted).tolist() == expected
    sizes = [(count, wanted) for count in range(1, 100) for wanted in (3, 5, 7, 32, 48, 96, 224)]
    for count, wanted in [*sizes, (384, 224), (512, 384), (512, 256), (72, 128), (96, 128)]:
        numbers = torch.arange(count, dtype=torch.float32)[None, None]
        expected = torch.nn.functional.interpolate(numbers, size=wanted)[0, 0].int().tolist()
        assert nearest_indices(count, wanted).tolist() == expected, (count, wanted)


def test_crops_are_moved_inside_the_frame(rules: dict[str, Any]) -> None:
    """Every crop of the reference starts at its slice, row and column."""
    z, y, x = np.ogrid[:9, :512, :512]
    volume = np.zeros((9, 512, 512), np.int64) + z * 512 * 512 + y * 512 + x
    for case in rules["crop_v24"]:
        crop = crop_at(volume, np.array(case["point"]), (case["slices"], case["h"], case["w"]))
        if case.get("zero"):
            assert (crop == GREY).all()
            continue
        first = (case["first_slice"] * 512 + case["top"]) * 512 + case["left"]
        assert list(crop.shape) == case["shape"]
        assert crop[0, 0, 0] == first
        assert (
            crop[-1, -1, -1]
            == volume[
                case["first_slice"] + case["slices"] - 1,
                case["top"] + case["h"] - 1,
                case["left"] + case["w"] - 1,
            ]
        )
    for case in rules["crop_v2"]:
        crop = plain_crop(volume, np.array(case["point"]))
        assert crop.shape == (9, 128, 128)
        assert crop[0, 0, 0] == case["top"] * 512 + case["left"]


def test_a_crop_of_too_few_slices_is_refused_unless_the_series_is_stretched() -> None:
    """Three slices give no crop of five; stretched to five, each is there in order."""
    volume = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((512, 512), np.uint8)
    point = np.array([256, 256, 1])
    with pytest.raises(NothingDone, match="5 slices cannot be cut from 3"):
        crop_at(volume, point, (5, 64, 96))
    crop = crop_at(stretched(volume, 5), point, (5, 64, 96))
    assert crop[:, 0, 0].tolist() == [0, 0, 1, 1, 2]
    assert network_crop(crop).shape == (5, 128, 128)


@pytest.mark.parametrize("name", ["two", "three"])
def test_axial_levels_are_decoded_as_published(shared: Path, name: str) -> None:
    """Slices and confidences are those of the reference, its wrong windows included."""
    stored = np.load(shared / GOLDEN / "axial-decode.npz")
    logits, lengths = stored[f"{name}_logits"][0], stored[f"{name}_lengths"].tolist()
    expected = stored[f"{name}_z_confidence"]
    found = levels_of_series(logits, lengths, published_windows=True)
    np.testing.assert_allclose(found, expected, atol=2e-7)
    mended = levels_of_series(logits, lengths, published_windows=False)
    np.testing.assert_allclose(mended[:2], expected[:2], atol=2e-7)
    if name == "three":
        assert np.abs(mended[2] - expected[2]).max() > 0.05
        alone = levels_of_series(logits[-lengths[2] :], lengths[2:], published_windows=False)
        np.testing.assert_allclose(mended[2], alone[0], atol=1e-12)


def test_a_rounded_confidence_prefers_the_first_good_series() -> None:
    """0.6 before 0.9 wins if both are rounded; the largest wins if they are not."""
    confidence = np.array([0.2, 0.6, 0.9])[:, None, None] * np.ones((2, 5))
    assert (best_series(confidence, rounded=True) == 1).all()
    assert (best_series(confidence, rounded=False) == 2).all()
    assert (best_series(confidence[:1], rounded=True) == 0).all()
