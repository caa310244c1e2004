"""Enhanced multi-frame files: a series in one file, or several; bad frames cost no other."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from highdicom.legacy import LegacyConvertedEnhancedMRImage
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import RLELossless

import hospital_exports as made
from hospital_exports import Study as Datasets
from lumbargrade.dicom.find import find_studies
from lumbargrade.dicom.inspect import summarise_folder
from lumbargrade.dicom.reader import read_series
from lumbargrade.dicom.study import Study, read_found, read_study
from lumbargrade.domain.errors import BadDicom
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume

T1, T2, AXIAL = SeriesKind


@pytest.fixture(scope="module")
def plain(base: Datasets, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return read_study(made.save(tmp_path_factory.mktemp("plain"), base))


def written(data: FileDataset, path: Path) -> Path:
    data.save_as(path, enforce_file_format=True)
    return path


def assert_same(volume: Volume, expected: Volume) -> None:
    np.testing.assert_array_equal(volume.pixels, expected.pixels)
    assert [s.plane for s in volume.slices] == [s.plane for s in expected.slices]
    assert [s.group for s in volume.slices] == [s.group for s in expected.slices]


@pytest.mark.parametrize("name", ["sagt2", "sagt1", "axt2"])
@pytest.mark.parametrize("compressed", [False, True])
def test_an_enhanced_file_is_the_series_of_its_frames(base, plain, tmp_path, name, compressed):
    path = written(made.enhanced(base[name], compressed=compressed), tmp_path / "IM1")
    for study in (read_study(path), read_found(find_studies([tmp_path]).studies[0])):
        (volume,) = study.volumes
        kind = volume.kind
        assert_same(volume, plain.of(kind)[0])
        numbers = [s.instance_number for s in plain.of(kind)[0].slices]
        assert [s.instance_number for s in volume.slices] == numbers
        assert {s.file for s in volume.slices} == {"IM1"}
        (note,) = study.problems
        assert "are numbered by frame" in note.what
    (summary,) = summarise_folder(path).series
    assert summary.kind is kind
    assert summary.shape == volume.pixels.shape


def test_a_legacy_converted_file_is_the_series_that_it_was_made_of(base, plain, tmp_path):
    sources = [copy.deepcopy(d) for d in base["sagt2"]]
    for data in sources:
        data.ContentDate, data.ContentTime = "20240503", "120000"
        data.Manufacturer, data.AccessionNumber, data.PatientName = "maker", "", "A^B"
    converted = LegacyConvertedEnhancedMRImage(
        sources, made.uid("series"), 7, made.uid("converted"), 1
    )
    converted.SeriesDescription = "T2 TSE SAG"
    study = read_study(written(converted, tmp_path / "1.dcm"))
    (volume,) = study.of(T2)
    assert_same(volume, plain.of(T2)[0])


def test_every_frame_has_its_own_slope(base, tmp_path):
    slopes = [1.0 + 0.25 * i for i in range(len(base["sagt2"]))]
    scaled = [copy.deepcopy(d) for d in base["sagt2"]]
    for data, slope in zip(scaled, slopes, strict=True):
        data.RescaleSlope, data.RescaleIntercept = slope, 0
    single = read_study(made.save(tmp_path / "single", {"sagt2": scaled}))
    whole = read_study(written(made.enhanced(base["sagt2"], slopes=slopes), tmp_path / "whole"))
    assert_same(whole.of(T2)[0], single.of(T2)[0])
    assert len(set(slopes)) > 1


def test_two_echoes_of_one_file_are_two_volumes(base, plain, tmp_path):
    second = made.again(base["sagt2"], "second", made.brighter)
    for data in second:
        data.EchoTime = "120"
    both = [d for pair in zip(base["sagt2"], second, strict=True) for d in pair]
    study = read_study(written(made.enhanced(both), tmp_path / "both"))
    first, other = study.of(T2)
    assert_same(first, plain.of(T2)[0])
    assert [s.instance_number % 2 for s in other.slices] == [0] * 15


def test_frames_that_are_there_twice_count_once(base, plain, tmp_path):
    study = read_study(written(made.enhanced(base["sagt2"] * 2), tmp_path / "both"))
    assert_same(study.of(T2)[0], plain.of(T2)[0])
    assert [p.what for p in study.problems].count("is a duplicate of another file") == 15


def test_a_frame_without_a_place_is_named_and_the_others_are_read(base, tmp_path):
    data = made.enhanced(base["sagt2"])
    del data.PerFrameFunctionalGroupsSequence[4].PlanePositionSequence
    path = written(data, tmp_path / "1.dcm")
    for study in (read_study(path), read_found(find_studies([path]).studies[0])):
        assert len(study.of(T2)[0].slices) == 14
        (problem,) = [p for p in study.problems if p.fatal]
        assert problem.file == str(path)
        assert problem.what.startswith("frame 5: has no ImagePositionPatient (0020,0032)")


def test_a_frame_that_is_cut_short_is_named_and_the_others_are_read(base, tmp_path):
    data = made.enhanced(base["sagt2"], compressed=True)
    *good, last = generate_frames(data.PixelData, number_of_frames=15)
    data.PixelData = encapsulate([*good, last[:100]])
    study = read_study(written(data, tmp_path / "1.dcm"))
    lost = [p.what for p in study.problems if p.fatal]
    assert [what.split(":")[0] for what in lost] == ["frame 15"]
    assert len(study.of(T2)[0].slices) == 14


@pytest.mark.parametrize("count", [3, 14, 200_000])
def test_frames_and_their_groups_must_be_as_many(base, tmp_path, count):
    data = made.enhanced(base["sagt2"])
    data.NumberOfFrames = count
    with pytest.raises(BadDicom, match=rf"NumberOfFrames \(0028,0008\) '{count}' does not match"):
        read_study(written(data, tmp_path / "1.dcm"))


def test_an_enhanced_file_is_read_as_a_series_folder_too(base, plain, tmp_path):
    written(made.enhanced(base["axt2"]), tmp_path / "1.dcm")
    volume = read_series(tmp_path, kind=AXIAL).volume
    np.testing.assert_array_equal(volume.pixels, plain.of(AXIAL)[0].pixels)
    assert sorted(s.instance_number for s in volume.slices) == list(range(1, 22))


def test_compression_is_that_of_the_frames(base):
    assert made.enhanced(base["sagt2"], compressed=True).file_meta.TransferSyntaxUID == RLELossless
