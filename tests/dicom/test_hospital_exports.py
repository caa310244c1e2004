"""However a study is exported, the same series are read, and nothing else is taken for them.

"As the control" means: for every kind the volumes of the plain export of the same study, bit for
bit, with every slice's plane.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hospital_exports as made
from export_cases import CASES
from hospital_exports import Study as Datasets
from lumbargrade.dicom.find import find_studies
from lumbargrade.dicom.inspect import summarise_folder
from lumbargrade.dicom.study import Study, read_found, read_study
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume

T1, T2, AXIAL = SeriesKind


@pytest.fixture(scope="session")
def control(base: Datasets, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return read_study(made.save(tmp_path_factory.mktemp("control"), made.export_of(base, "c")))


def assert_same(volume: Volume, expected: Volume, *, numbers: bool = True) -> None:
    np.testing.assert_array_equal(volume.pixels, expected.pixels)
    for ours, theirs in zip(volume.slices, expected.slices, strict=True):
        np.testing.assert_allclose(ours.plane.position, theirs.plane.position, atol=1e-4)
        np.testing.assert_allclose(ours.plane.spacing, theirs.plane.spacing, rtol=1e-9)
        assert ours.group == theirs.group
        assert not numbers or ours.instance_number == theirs.instance_number


def assert_as_control(study: Study, control: Study, *, numbers: bool = True) -> None:
    for volume, expected in zip(study.volumes, control.volumes, strict=True):
        assert volume.kind is expected.kind
        assert_same(volume, expected, numbers=numbers)


@pytest.fixture(scope="session", params=CASES)
def export(request, base: Datasets, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    CASES[request.param](made.export_of(base, "case"), folder)
    return folder


def test_a_study_is_read_as_its_plain_export(export: Path, control: Study) -> None:
    ways = [read_study(export), *map(read_found, find_studies([export]).studies)]
    assert len(ways) == 2
    for study in ways:
        assert_as_control(study, control)
        assert not [str(p) for p in study.problems if p.fatal]
    summary = summarise_folder(export)
    assert not [str(p) for p in summary.problems if p.fatal]
    kinds = [s.kind for s in summary.series if s.kind is not None]
    assert sorted(kinds) == sorted(SeriesKind)


@pytest.mark.parametrize("layout", ["single", "multi-frame"])
def test_the_header_of_each_series_stays_with_the_study(
    base: Datasets, tmp_path: Path, layout: str
) -> None:
    """Results copy patient and study from it when the files may be gone."""
    for images in base.values():
        for image in images:
            image.add_new((0x0009, 0x0010), "LO", "PRIVATE")
    if layout == "single":
        folder = made.save(tmp_path / "s", base)
    else:
        folder = tmp_path / "s"
        folder.mkdir()
        for name, images in base.items():
            made.enhanced(images).save_as(folder / name, enforce_file_format=True)
    study = read_study(folder)
    assert set(study.heads) == {v.series_id for v in (*study.volumes, *study.other)}
    for volume in study.volumes:
        head = study.heads[volume.series_id]
        assert head.SOPInstanceUID == volume.slices[0].sop_instance_uid
        assert head.StudyInstanceUID == study.study_id
        assert "PixelData" not in head
        assert not any(tag.is_private for tag in head)
        assert head.SeriesInstanceUID == volume.series_id
