"""Images of multi-frame files are turned and mirrored as those of single frames are."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless

import hospital_exports as made
from hospital_exports import Study as Datasets
from lumbargrade.dicom.study import read_study
from lumbargrade.dicom.variants import WAYS, encode, load, mirror, save, turn
from lumbargrade.domain.errors import BadDicom
from lumbargrade.domain.volume import Volume


def only_volume(path: Path) -> Volume:
    (volume,) = read_study(path).volumes
    return volume


def some_voxels(volume: Volume) -> np.ndarray:
    """Some voxels (N, 3) = (x, y, z) that cover a volume."""
    size = volume.pixels.shape[::-1]
    numbers = np.arange(0, np.prod(size), 97)
    return np.stack(np.unravel_index(numbers, size), axis=-1)


def at(volume: Volume, voxels: np.ndarray) -> np.ndarray:
    x, y, z = np.rint(voxels).astype(int).T
    return volume.pixels[z, y, x]


@pytest.mark.parametrize("name", ["sagt2", "axt2"])
@pytest.mark.parametrize("multiframe", [False, True])
def test_a_mirrored_series_has_its_pixels_on_the_other_side(
    base: Datasets, tmp_path: Path, name: str, multiframe: bool
) -> None:
    files = [made.enhanced(base[name])] if multiframe else base[name]
    for number, data in enumerate(files):
        save(data, tmp_path / "before" / f"IM{number}")
        changed = copy.deepcopy(data)
        mirror(changed)
        save(changed, tmp_path / "after" / f"IM{number}")
    before, after = only_volume(tmp_path / "before"), only_volume(tmp_path / "after")
    assert before.kind is after.kind
    axes = [np.array([s.plane.row, s.plane.column]) for s in (before.slices[0], after.slices[0])]
    assert np.abs(np.diff(axes, axis=0)).max() < 0.2  # the usual directions
    voxels = some_voxels(before)
    there = after.from_patient(before.to_patient(voxels) * (-1, 1, 1))
    np.testing.assert_array_equal(at(before, voxels), at(after, there))


@pytest.mark.parametrize("way", [way for way in WAYS if not way.numbers])
def test_a_turned_multi_frame_file_has_its_pixels_where_they_were(
    base: Datasets, tmp_path: Path, way: object
) -> None:
    data = made.enhanced(base["axt2"])
    save(data, tmp_path / "before" / "IM")
    turn(data, way)  # type: ignore[arg-type]
    save(data, tmp_path / "after" / "IM")
    before, after = only_volume(tmp_path / "before"), only_volume(tmp_path / "after")
    voxels = some_voxels(before)
    there = after.from_patient(before.to_patient(voxels))
    np.testing.assert_array_equal(at(before, voxels), at(after, there))


def test_a_compressed_file_is_loaded_with_its_pixels(base: Datasets, tmp_path: Path) -> None:
    data = copy.deepcopy(base["sagt2"][0])
    pixels = data.pixel_array.copy()
    encode(data, JPEG2000Lossless)
    save(data, tmp_path / "small")
    np.testing.assert_array_equal(load(tmp_path / "small").pixel_array, pixels)


def test_a_big_endian_file_is_refused(base: Datasets, tmp_path: Path) -> None:
    data = copy.deepcopy(base["sagt2"][0])
    data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    data.set_original_encoding(is_implicit_vr=False, is_little_endian=False)
    save(data, tmp_path / "big")
    with pytest.raises(BadDicom, match="stored in Explicit VR Big Endian"):
        load(tmp_path / "big")
