"""Series of several stacks and image sizes, stored in other ways: the same upright volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset

from lsdc_layout import write_slice
from lumbargrade.dicom.study import read_study
from lumbargrade.dicom.variants import WAYS, Way
from lumbargrade.domain.upright import Upright
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume
from stored_otherwise import write_study

#: Left end, mm; gap, mm; angle about the patient's long axis, degrees; size. The second stack lies
#: inside the first, as when a few slices are scanned again at another angle.
STACKS = ((30.0, 5.0, 0.0, (40, 32)), (12.0, 4.0, 9.0, (28, 36)))


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[FileDataset]:
    folder, number = tmp_path_factory.mktemp("stacks"), 0
    for left, gap, angle, shape in STACKS:
        turn = np.radians(angle)
        row = [float(np.sin(turn)), float(np.cos(turn)), 0.0]
        normal = np.cross(row, [0, 0, -1])
        for i in range(5):
            number += 1
            position = (np.array([left, -12.0, 20.0]) + i * gap * normal).tolist()
            path = folder / f"{number}.dcm"
            write_slice(path, number, position, [*row, 0.0, 0.0, -1.0], shape)
    found = [pydicom.dcmread(folder / f"{n + 1}.dcm") for n in range(number)]
    for data in found:
        data.Modality, data.SeriesDescription = "MR", "T2 TSE SAG"
        data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.4"
        data.FrameOfReferenceUID = "1.2.3.5"
    return found


def read(folder: Path) -> Volume:
    (volume,) = read_study(folder).of(SeriesKind.SAGITTAL_T2)
    return volume


@pytest.mark.parametrize("way", WAYS, ids=range(len(WAYS)))
def test_stacks_of_any_size_come_back_in_the_same_order_with_the_same_edges(
    way: Way, slices: list[FileDataset], tmp_path: Path
) -> None:
    first = read(write_study(tmp_path / "first", {"t2": slices}, {}, shuffle=0))
    volume = read(write_study(tmp_path / "other", {"t2": slices}, {"t2": way}, shuffle=1))
    upright, same = Upright.of(volume), Upright.of(first)
    assert np.array_equal(upright.pixels(volume), same.pixels(first))
    points = np.array([[3.0, 4.0, z] for z in np.linspace(0, 9, 19) if z != 4.5])
    np.testing.assert_allclose(
        volume.to_patient(upright.maps.to_native(points)),
        first.to_patient(same.maps.to_native(points)),
        atol=1e-6,
    )
