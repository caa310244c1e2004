"""A data set study by study: what cannot be read is named, and the rest goes on."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from lsdc_layout import series_ids, write_lsdc
from lumbargrade.domain.errors import BadTable, UsageError
from lumbargrade.domain.vocabulary import TARGETS, Condition, SeriesKind
from lumbargrade.grading.ensembles import Ensemble
from lumbargrade.grading.lsdc_studies import LsdcStudies, predict_one
from lumbargrade.grading.members import Member, load_member
from small_models import save_small_model

CPU = "cpu"
T1, T2, AXIAL = SeriesKind


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    folder = tmp_path_factory.mktemp("models")
    return [
        load_member(save_small_model(folder / task, task), CPU) for task in ("foraminal", "canal")
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three test studies: 1000, 1007 and 1014."""
    write_lsdc(tmp_path, 3, split="test")
    return tmp_path


def folder_of(data: Path, study: str, kind: SeriesKind) -> Path:
    return data / "test_images" / study / series_ids(study)[kind]


def test_studies_and_kinds_come_from_the_table(data: Path) -> None:
    studies = LsdcStudies.open(data)
    assert list(studies.series) == ["1000", "1007", "1014"]
    assert studies.series["1007"] == [(i, k) for k, i in series_ids("1007").items()]
    volumes, problems = studies.read("1007", {T1, AXIAL})
    assert [v.kind for v in volumes] == [T1, AXIAL]
    assert [v.series_id for v in volumes] == [series_ids("1007")[k] for k in (T1, AXIAL)]
    assert not [p for p in problems if p.fatal]


def test_the_test_split_is_taken_where_there_is_one(data: Path) -> None:
    write_lsdc(data, 1, split="train")
    assert LsdcStudies.open(data).images == data / "test_images"
    assert LsdcStudies.open(data, "train").images == data / "train_images"
    assert list(LsdcStudies.open(data, "train").series) == ["1000"]


def test_what_is_no_data_set_is_a_usage_error(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        LsdcStudies.open(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"train_series_descriptions\.csv with train_images"):
        LsdcStudies.open(data, "train")
    with pytest.raises(UsageError, match="use test, train or auto"):
        LsdcStudies.open(data, "tset")
    (data / "test_series_descriptions.csv").write_text("study_id,series_id\n1,2\n")
    with pytest.raises(BadTable, match="series_description"):
        LsdcStudies.open(data)


def test_a_garbage_series_is_named_and_every_other_one_predicted(
    data: Path, members: list[Member]
) -> None:
    for path in folder_of(data, "1007", T1).iterdir():
        path.write_bytes(b"this is no image" * 40)
    studies = LsdcStudies.open(data)
    found = {s: predict_one(studies, Ensemble(members, False), s) for s in studies.series}
    canal, foraminal = TARGETS[Condition.CANAL], TARGETS[Condition.FORAMINAL]
    assert set(found["1000"].findings) == set(found["1014"].findings) == {*canal, *foraminal}
    assert set(found["1007"].findings) == set(canal)
    assert not found["1000"].problems
    fatal = [p for p in found["1007"].problems if p.fatal]
    assert fatal
    assert {(p.study, p.series) for p in fatal} == {("1007", series_ids("1007")[T1])}
    assert "no usable Sagittal T1 series" in [p.what for p in found["1007"].problems if not p.fatal]


def test_a_spoiled_slice_is_named_and_its_series_predicted_without_it(
    data: Path, members: list[Member]
) -> None:
    spoiled = folder_of(data, "1000", T2) / "3.dcm"
    spoiled.write_bytes(spoiled.read_bytes()[:300])
    studies = LsdcStudies.open(data)
    volumes, _ = studies.read("1000", {T2})
    assert sorted(s.instance_number for s in volumes[0].slices) == [1, 2, 4]
    one = predict_one(studies, Ensemble(members, True), "1000")
    assert len(one.findings) == 15
    assert [Path(p.file).name for p in one.problems if p.fatal] == ["3.dcm"]


def test_findings_name_their_slices_by_the_file_and_not_by_the_header(
    data: Path, members: list[Member]
) -> None:
    for kind in (T1, T2):
        for file in sorted(folder_of(data, "1000", kind).iterdir()):
            file.rename(file.with_name(f"{50 - int(file.stem)}.dcm"))
    studies = LsdcStudies.open(data)
    slices = {v.series_id: v.slices for v in studies.read("1000", {T1, T2})[0]}
    one = predict_one(studies, Ensemble(members, False), "1000")
    places = [f.point for f in one.findings.values()]
    assert len(places) == 15
    for place in places:
        assert place is not None
        nearest = slices[place.series_id][round(place.z)]
        assert place.instance_number == int(Path(nearest.file).stem) in range(46, 50)


def test_absent_images_are_named(data: Path, members: list[Member]) -> None:
    import shutil

    shutil.rmtree(data / "test_images" / "1014")
    last = predict_one(LsdcStudies.open(data), Ensemble(members, False), "1014")
    assert not last.findings
    assert len([p for p in last.problems if p.fatal and "no such series folder" in p.what]) == 2


def test_series_that_no_model_looks_at_are_not_read(data: Path, members: list[Member]) -> None:
    for path in folder_of(data, "1000", T1).iterdir():
        path.write_bytes(b"")
    one = predict_one(LsdcStudies.open(data), Ensemble(members[1:], False), "1000")
    assert set(one.findings) == set(TARGETS[Condition.CANAL])
    assert not one.problems


def test_a_kind_that_the_table_lacks_is_noted(data: Path, members: list[Member]) -> None:
    path = data / "test_series_descriptions.csv"
    with path.open(newline="") as lines:
        rows = [r for r in csv.reader(lines) if r[:2] != ["1000", series_ids("1000")[T2]]]
    with path.open("w", newline="") as lines:
        csv.writer(lines).writerows(rows)
    one = predict_one(LsdcStudies.open(data), Ensemble(members, False), "1000")
    assert set(one.findings) == set(TARGETS[Condition.FORAMINAL])
    assert [(p.what, p.fatal) for p in one.problems] == [
        ("no usable Sagittal T2/STIR series", False)
    ]
