"""Studies whose header words mislead, made from a phantom: the same volumes as a plain export."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid

from lumbargrade.dicom.study import Study, read_study
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.phantom.dataset import Settings, make_dataset

T1, T2, AXIAL = SeriesKind
PLAIN = {
    T1: ("T1 TSE SAG", "LWS sag"),
    T2: ("T2 TSE SAG", "LWS sag"),
    AXIAL: ("T2 TSE TRA", "LWS tra"),
}

Spoil = Callable[[SeriesKind, FileDataset], None]


@pytest.fixture(scope="module")
def slices(tmp_path_factory) -> dict[SeriesKind, list[FileDataset]]:
    """The first series of each kind of a phantom study."""
    data = tmp_path_factory.mktemp("words") / "data"
    make_dataset(data, Settings(1, 1698, 0, "train", "explicit"))
    (folder,) = (data / "train_images").iterdir()
    study = read_study(folder)
    return {
        kind: [
            pydicom.dcmread(folder / study.of(kind)[0].series_id / s.file)
            for s in study.of(kind)[0].slices[:: 1 if kind.sagittal else 4]
        ]
        for kind in SeriesKind
    }


def export(folder: Path, slices: dict[SeriesKind, list[FileDataset]], spoil: Spoil) -> Path:
    """The study as a hospital would store it, every file changed by ``spoil`` before writing."""
    for kind, files in slices.items():
        for number, file in enumerate(files, start=1):
            data = copy.deepcopy(file)
            data.SeriesDescription, data.ProtocolName = PLAIN[kind]
            data.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
            data.SeriesInstanceUID = generate_uid(entropy_srcs=[kind.value])
            spoil(kind, data)
            path = folder / kind.name / f"{number}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            data.save_as(path)
    return folder


@pytest.fixture(scope="module")
def plain(slices, tmp_path_factory) -> Study:
    return read_study(export(tmp_path_factory.mktemp("plain"), slices, lambda kind, data: None))


def assert_same(study: Study, plain: Study) -> None:
    """Every kind has the same volumes, so that every model finds the same."""
    assert [v.kind for v in study.volumes] == list(SeriesKind)
    for volume, same in zip(study.volumes, plain.volumes, strict=True):
        assert volume.kind is same.kind
        np.testing.assert_array_equal(volume.pixels, same.pixels)
        assert [s.plane for s in volume.slices] == [s.plane for s in same.slices]


def words(**tags: str) -> Spoil:
    """Set the same words in every file."""

    def spoil(kind: SeriesKind, data: FileDataset) -> None:
        for tag, value in tags.items():
            setattr(data, tag, value)

    return spoil


def descriptions(**by_kind: str) -> Spoil:
    def spoil(kind: SeriesKind, data: FileDataset) -> None:
        if (text := by_kind.get(kind.name)) is not None:
            data.SeriesDescription, data.ProtocolName = text, ""

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        words(ProtocolName="MRI L-SPINE W/O CONTRAST"),
        words(ProtocolName="LWS nativ ohne KM", ContrastBolusAgent="NONE"),
        words(StudyDescription="IRM rachis lombaire sans injection", ContrastBolusAgent="0"),
        words(ProtocolName="LSPINE T1 T2 STIR"),
        words(ProtocolName="LOC T1 T2 MYELO W/WO"),
        words(BodyPartExamined="ABDOMEN", ProtocolName=""),
        words(BodyPartExamined="HEAD", StudyDescription="MRI LUMBAR SPINE"),
        words(ImageType="DERIVED\\SECONDARY"),
        descriptions(AXIAL_T2="AX T2 T12-S1", SAGITTAL_T2="SAG T2 T11-S2"),
        descriptions(AXIAL_T2="t2_tra_L1-S1", SAGITTAL_T1="T1_sag_Th12-S1"),
        descriptions(AXIAL_T2="AX T2 POST LAMINECTOMY", SAGITTAL_T2="SAG T2 POST OP"),
        descriptions(SAGITTAL_T1="T2 TSE SAG"),
        descriptions(SAGITTAL_T2="T1 TSE SAG"),
        descriptions(AXIAL_T2="", SAGITTAL_T2="", SAGITTAL_T1=""),
    ],
)
def test_words_that_mislead_give_the_same_volumes(spoil, slices, plain, tmp_path):
    study = read_study(export(tmp_path, slices, spoil))
    assert_same(study, plain)
    assert not any(p.fatal for p in study.problems)


def test_a_contradiction_of_words_and_times_is_said(slices, tmp_path):
    study = read_study(export(tmp_path, slices, descriptions(SAGITTAL_T1="T2 TSE SAG")))
    (problem,) = study.problems
    assert problem.series == study.of(T1)[0].series_id
    assert problem.what == (
        "SeriesDescription 'T2 TSE SAG' says T2, but echo time 10 ms, repetition time 550 ms is "
        "that of T1; the times decide"
    )


def test_an_operated_spine_is_said(slices, tmp_path):
    spoil = descriptions(AXIAL_T2="AX T2 POST LAMINECTOMY", SAGITTAL_T2="SAG T2 POST OP")
    study = read_study(export(tmp_path, slices, spoil))
    said = {p.series: p.what for p in study.problems}
    for kind in (T2, AXIAL):
        assert "the spine may be operated" in said[study.of(kind)[0].series_id]
    assert len(study.problems) == 2


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (words(SeriesDescription="SAG T1 +C"), "after contrast agent, SeriesDescription"),
        (words(ContrastBolusAgent="GADOVIST"), "after contrast agent, ContrastBolusAgent"),
        (words(ImageType="DERIVED\\SECONDARY\\SUBTRACTION"), "computed from others, ImageType"),
        (words(SeriesDescription="PD TSE", EchoTime="20", RepetitionTime="3000"), "proton density"),
        (words(EchoTime="20", RepetitionTime="3000", ScanningSequence="SE"), "proton density"),
        (words(SeriesDescription="T2 KNEE"), "SeriesDescription 'T2 KNEE' names another region"),
        (
            words(StudyDescription="MR KNEE", BodyPartExamined="KNEE", ProtocolName=""),
            "StudyDescription 'MR KNEE' names another region than the lumbar spine",
        ),
    ],
)
def test_a_series_that_must_not_be_graded_has_no_kind(spoil, reason, slices, tmp_path):
    study = read_study(export(tmp_path, slices, spoil))
    assert not study.volumes
    assert len(study.reasons) == len(study.other) == len(slices)
    assert all(reason in r for r in study.reasons if "axial T1" not in r)


def test_the_region_may_stand_in_a_sequence(slices, tmp_path):
    """AnatomicRegionSequence and RequestAttributesSequence are read where the plain tags lack."""

    def knee(kind: SeriesKind, data: FileDataset) -> None:
        code, request = pydicom.Dataset(), pydicom.Dataset()
        code.CodeMeaning, request.RequestedProcedureDescription = "Knee joint", "MRI knee right"
        data.ProtocolName, data.BodyPartExamined = "", ""
        if kind is T1:
            data.AnatomicRegionSequence = [code]
        else:
            data.RequestAttributesSequence = [request]

    study = read_study(export(tmp_path, slices, knee))
    assert not study.volumes
    assert {r.split(" names")[0] for r in study.reasons} == {
        "BodyPartExamined 'Knee joint'",
        "RequestedProcedureDescription 'MRI knee right'",
    }


def test_subtractions_before_the_originals_are_told_apart(slices, plain, tmp_path):
    def spoil(kind: SeriesKind, data: FileDataset) -> None:
        data.ImageType = "ORIGINAL\\PRIMARY\\M"

    export(tmp_path, slices, spoil)
    for number, file in enumerate(slices[T2], start=1):
        data = copy.deepcopy(file)
        original = pydicom.dcmread(tmp_path / T2.name / f"{number}.dcm", stop_before_pixels=True)
        data.StudyInstanceUID = original.StudyInstanceUID
        data.SeriesInstanceUID = original.SeriesInstanceUID
        data.SeriesDescription, data.ProtocolName = PLAIN[T2]
        data.SOPInstanceUID = generate_uid(entropy_srcs=["subtraction", str(number)])
        data.ImageType = "DERIVED\\SECONDARY\\SUBTRACTION"
        data.PixelData = (file.pixel_array // 2).tobytes()
        data.save_as(tmp_path / f"0-{number}.dcm")
    study = read_study(tmp_path)
    assert_same(study, plain)
    (reason,) = study.reasons
    assert "computed from other images" in reason
