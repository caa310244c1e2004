"""Outlines as a DICOM segmentation: the pixels, what they refer to, and their codes."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from made_results import required_program, result

from hospital_exports import Study as Export
from hospital_exports import enhanced, phantom_study, save
from lumbargrade.dicom.study import Study, read_study
from lumbargrade.dicom_results import codes
from lumbargrade.dicom_results.origin import origin_of
from lumbargrade.dicom_results.segmentation import write_segmentations
from lumbargrade.dicom_results.write import origin_or_note, write_objects
from lumbargrade.domain.outlines import SAGITTAL_STRUCTURES, Structure
from lumbargrade.domain.series_outlines import SeriesOutlines
from lumbargrade.domain.vocabulary import FINDINGS, SeriesKind
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.findings_file import read_findings
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.report.study import write_study


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    return phantom_study(tmp_path_factory.mktemp("phantom"))


@pytest.fixture(scope="module")
def study(export: Export, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return read_study(save(tmp_path_factory.mktemp("study"), export))


def outlines_of(volume: Volume, *, empty: bool = False) -> SeriesOutlines:
    """A square of each structure, in other places in every second slice."""
    zs = np.arange(0, len(volume.slices), 2)
    height, width = volume.slices[0].shape
    shares = np.zeros((len(zs), len(SAGITTAL_STRUCTURES), height, width), np.uint8)
    shares[:, 0] = 20
    for k in range(len(zs)):
        for p in range(1, len(SAGITTAL_STRUCTURES)):
            if not empty:
                shares[k, p, 8 * p : 8 * p + 5, 5 + k : 12 + k] = 255
    grids = np.tile(np.eye(3), (len(zs), 1, 1))
    return SeriesOutlines(volume.series_id, SAGITTAL_STRUCTURES, zs, shares, grids)


def outlined(*outlines: SeriesOutlines) -> GradedStudy:
    graded = result({}, dict.fromkeys(FINDINGS, "not looked at"))
    return replace(graded, prediction=replace(graded.prediction, outlines=outlines))


def sagittal(study: Study) -> Volume:
    return study.of(SeriesKind.SAGITTAL_T1)[0]


def test_pixels_are_those_of_the_outlines(study: Study, tmp_path: Path) -> None:
    volume = sagittal(study)
    outlines = outlines_of(volume)
    write_segmentations(tmp_path, study, outlined(outlines), origin_of(study))
    read = hd.seg.segread(tmp_path / "seg-1.dcm")
    named = {codes.STRUCTURE_OF[s]: s for s in Structure if s in codes.STRUCTURE_OF}
    structures = [
        named[read.get_segment_description(n).segmented_property_type] for n in read.segment_numbers
    ]
    assert structures == [s for s in SAGITTAL_STRUCTURES if s is not Structure.OTHER]
    for z in outlines.outlined:
        source = [volume.slices[z].sop_instance_uid]
        pixels = read.get_pixels_by_source_instance(source)[0]
        labels = outlines.label_map(volume, z)
        for k, structure in enumerate(structures):
            np.testing.assert_array_equal(pixels[..., k], labels == structure)


def test_frames_of_a_multi_frame_object_are_referred_to(export: Export, tmp_path: Path) -> None:
    save(tmp_path / "study", {"sagt1": [enhanced(export["sagt1"])]})
    study = read_study(tmp_path / "study")
    volume = sagittal(study)
    outlines = outlines_of(volume)
    write_segmentations(tmp_path, study, outlined(outlines), origin_of(study))
    read = hd.seg.segread(tmp_path / "seg-1.dcm")
    for z in outlines.outlined:
        one = volume.slices[z]
        pixels = read.get_pixels_by_source_frame(one.sop_instance_uid, [one.instance_number])[0]
        labels = outlines.label_map(volume, z)
        np.testing.assert_array_equal(pixels.any(axis=-1), labels != Structure.OTHER)
    said = required_program("dciodvfy")(tmp_path / "seg-1.dcm")
    assert "Error" not in said


def test_folder_has_one_object_for_each_outlined_series(study: Study, tmp_path: Path) -> None:
    volumes = study.of(SeriesKind.SAGITTAL_T1) + study.of(SeriesKind.SAGITTAL_T2)
    outlines = (outlines_of(volumes[0], empty=True), *map(outlines_of, volumes[1:]))
    graded = outlined(*outlines)
    origin, notes = origin_or_note(study)
    assert origin is not None
    assert notes == ()
    write_objects(tmp_path, study, graded, origin)
    assert {p.name for p in tmp_path.iterdir()} == {"sr.dcm", "seg-1.dcm"}
    data = pydicom.dcmread(tmp_path / "seg-1.dcm")
    head = study.heads[volumes[1].series_id]
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "FrameOfReferenceUID"):
        assert data[keyword].value == head[keyword].value
    (series,) = data.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == head.SeriesInstanceUID
    said = required_program("dciodvfy")(tmp_path / "seg-1.dcm")
    assert "Error" not in said


def test_images_that_cannot_be_referred_to_give_a_note(export: Export, tmp_path: Path) -> None:
    for name in ("sagt1", "sagt2"):
        (tmp_path / name).mkdir()
        for i, data in enumerate(map(copy.deepcopy, export[name])):
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{i}"
            data.save_as(tmp_path / name / f"{i}.dcm")
    origin, (note,) = origin_or_note(read_study(tmp_path))
    assert origin is None
    assert "used in several series" in note.what
    assert not note.fatal


def test_series_without_usable_geometry_costs_only_its_segmentation(
    study: Study, tmp_path: Path
) -> None:
    volume = sagittal(study)
    nowhere = replace(volume, frame_of_reference="")
    broken = replace(study, volumes=(nowhere, *study.of(SeriesKind.SAGITTAL_T2)))
    outlines = (outlines_of(volume), outlines_of(broken.volumes[1]))
    graded = outlined(*outlines)
    (note,) = write_objects(tmp_path, broken, graded, origin_of(study))
    assert volume.series_id == note.series
    assert "FrameOfReferenceUID" in note.what
    assert {p.name for p in tmp_path.iterdir()} == {"sr.dcm", "seg-1.dcm"}


def test_series_of_several_stacks_has_none(study: Study, tmp_path: Path) -> None:
    """OHIF cannot load segmentations of such series, and reports an error."""
    volume = sagittal(study)
    half = len(volume.slices) // 2
    tilted = [replace(s, group=int(z >= half)) for z, s in enumerate(volume.slices)]
    stacks = replace(study, volumes=(replace(volume, slices=tuple(tilted)),))
    made = outlined(outlines_of(volume))
    assert write_segmentations(tmp_path, stacks, made, origin_of(study)) == ()
    assert not list(tmp_path.iterdir())


def test_folder_of_a_study_has_the_objects_that_were_asked_for(
    study: Study, tmp_path: Path
) -> None:
    prediction = outlined(outlines_of(sagittal(study))).prediction

    def written(name: str, study: Study, **options: bool) -> tuple[set[str], GradedStudy]:
        given = {"flip": False, "fingerprint": "f", "pictures": False, **options}
        write_study(tmp_path / name, study, prediction, **given)
        objects = {p.name for p in (tmp_path / name).glob("*.dcm")}
        return objects, read_findings(tmp_path / name / "findings.json")

    whole, result_of_whole = written("whole", study, dicom_summary=True)
    assert whole == {"sr.dcm", "seg-1.dcm", "summary.dcm"}
    assert not result_of_whole.prediction.problems
    assert written("none", study, dicom=False, dicom_summary=True)[0] == set()
    unknown = replace(study, heads={})
    objects, result_without = written("unknown", unknown)
    assert objects == set()
    (note,) = result_without.prediction.problems
    assert "no DICOM results: the images are not DICOM files" in str(note)


def test_results_among_the_images_are_only_noted(
    study: Study, export: Export, tmp_path: Path
) -> None:
    save(tmp_path, export)
    made = outlined(outlines_of(sagittal(study)))
    results = tmp_path / "results"
    write_study(results, study, made.prediction, flip=False, fingerprint="f", dicom_summary=True)
    again = read_study(tmp_path)
    assert [v.series_id for v in again.volumes] == [v.series_id for v in study.volumes]
    assert {Path(p.file).name for p in again.problems} >= {"sr.dcm", "seg-1.dcm", "summary.dcm"}
    assert not any(p.fatal for p in again.problems)
