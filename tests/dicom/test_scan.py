"""Studies below any paths: who is found, whose a broken file is, and when a study has changed."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pydicom
import pytest

from lumbargrade.dicom.find import find_studies
from lumbargrade.dicom.requests import HeaderValue
from lumbargrade.dicom.slices import SliceHeader, read_headers
from lumbargrade.dicom.study import read_found, read_study
from lumbargrade.domain.errors import BadDicom
from lumbargrade.domain.vocabulary import SeriesKind
from small_studies import write_noise_study

T1, T2, AXIAL = SeriesKind


@pytest.fixture
def two(tmp_path: Path) -> Path:
    write_noise_study(tmp_path / "in" / "anna", (T1, T2))
    write_noise_study(tmp_path / "in" / "ben", (T1, AXIAL))
    return tmp_path / "in"


def test_a_study_found_among_others_is_the_study_read_alone(two: Path) -> None:
    found = find_studies([two])
    assert not found.problems
    assert [s.folder for s in found.studies] == [two / "anna", two / "ben"]
    for one in found.studies:
        ours, alone = read_found(one), read_study(one.folder)
        assert ours.study_id == one.study_id == alone.study_id
        for volume, same in zip(ours.volumes, alone.volumes, strict=True):
            assert volume.kind is same.kind
            assert (volume.pixels == same.pixels).all()
            assert volume.slices == same.slices


def test_a_broken_file_goes_to_the_study_around_it_and_else_to_none(two: Path) -> None:
    places = ["anna/anna-0", "ben", "ben/lost", "elsewhere", "."]
    for place in places:
        (two / place).mkdir(exist_ok=True)
        (two / place / "broken.dcm").write_bytes(b"no image")
    found = find_studies([two])
    anna, ben = ([Path(p.file).parent for p in s.problems] for s in found.studies)
    assert anna == [two / "anna" / "anna-0"]
    assert set(ben) == {two / "ben", two / "ben" / "lost"}
    assert {Path(p.file).parent for p in found.problems} == {two / "elsewhere", two}
    assert all(p.fatal for p in found.problems)


def test_a_broken_path_beside_a_study_is_no_problem_of_the_study(two: Path) -> None:
    (two / "carl").mkdir()
    (two / "carl" / "1.dcm").write_bytes(b"no image")
    found = find_studies([two / "carl", two / "anna"])
    assert [s.problems for s in found.studies] == [()]
    (problem,) = found.problems
    assert problem.study == str(two / "carl")
    assert problem.advice


def test_a_study_is_the_same_until_a_file_changes(two: Path) -> None:
    def fingerprint() -> str:
        return find_studies([two / "anna"]).studies[0].fingerprint()

    before = fingerprint()
    assert fingerprint() == before
    file = two / "anna" / "anna-0" / "1.dcm"
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    touched = fingerprint()
    file.unlink()
    assert len({before, touched, fingerprint()}) == 3


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """How often each file's header is read."""
    counts: Counter[Path] = Counter()

    def counted(
        path: Path, values: Sequence[HeaderValue] = ()
    ) -> tuple[list[SliceHeader], list[BadDicom]]:
        counts[path] += 1
        return read_headers(path, values)

    monkeypatch.setattr("lumbargrade.dicom.scan.read_headers", counted)
    return counts


def test_each_header_is_read_once_even_below_several_paths(two: Path, reads: Counter[Path]) -> None:
    found = find_studies([two, two / "anna", two / "ben" / "ben-0" / "1.dcm"])
    assert [len(read_found(one).volumes) for one in found.studies] == [2, 2]
    assert set(reads) == {f for one in found.studies for f in one.files}
    assert set(reads.values()) == {1}


def test_headers_beyond_the_limit_are_read_again(two: Path, reads: Counter[Path]) -> None:
    anna, ben = find_studies([two], most_headers=8).studies
    alone = read_study(two / "ben")
    reads.clear()
    assert read_found(anna).volumes
    assert not reads
    for volume, same in zip(read_found(ben).volumes, alone.volumes, strict=True):
        assert (volume.pixels == same.pixels).all()
        assert volume.slices == same.slices
    assert set(reads) == set(ben.files)


def test_many_headers_are_read_by_several_processes_with_the_same_result(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (two / "ben" / "broken.dcm").write_bytes(b"no image")
    write_noise_study(two / "plain" / "carl", (T1,), named=False)
    alone = find_studies([two, two / "anna"])
    monkeypatch.setattr("lumbargrade.dicom.find._FEW", 3)
    several = find_studies([two, two / "anna"], workers=2)
    assert several == alone
    assert len(several.studies) == 3
    assert [s.scan for s in several.studies] == [None] * 3


def test_a_study_without_headers_is_a_few_kilobytes_and_can_be_sent(two: Path) -> None:
    anna, _ = find_studies([two], most_headers=0).studies
    sent = pickle.dumps(anna)
    assert len(sent) < 500 + 100 * len(anna.files)
    again = pickle.loads(sent)
    assert again == anna
    assert [v.kind for v in read_found(again).volumes] == [T1, T2]


def test_headers_of_a_study_that_changes_after_the_scan_are_read_again(
    two: Path, reads: Counter[Path]
) -> None:
    anna, ben = find_studies([two]).studies
    file = anna.files[0]
    data = pydicom.dcmread(file)
    data.ImagePositionPatient = [500.0, 0.0, 0.0]
    data.save_as(file)
    os.utime(file, (0, 0))
    places = [s.plane.position for v in read_found(anna).volumes for s in v.slices]
    assert (500.0, 0.0, 0.0) in places
    read_found(ben)
    assert {reads[f] for f in anna.files} == {2}
    assert {reads[f] for f in ben.files} == {1}


def test_a_file_that_has_vanished_is_named(two: Path) -> None:
    (study,) = find_studies([two / "anna"]).studies
    study.files[0].unlink()
    with pytest.raises(BadDicom, match=study.files[0].name):
        study.fingerprint()
    assert [p.file for p in read_found(study).problems if p.fatal] == [str(study.files[0])]


def test_one_file_is_a_path_too(two: Path) -> None:
    file = two / "anna" / "anna-0" / "1.dcm"
    (study,) = find_studies([file]).studies
    assert study.files == (file,)


def test_links_below_a_folder_are_followed_and_a_study_is_read_once(two: Path) -> None:
    elsewhere = two.parent / "elsewhere"
    elsewhere.mkdir()
    for name in ("anna", "ben"):
        (elsewhere / name).symlink_to(two / name)
    (elsewhere / "again").symlink_to(two / "anna")
    (elsewhere / "round").symlink_to(elsewhere)  # a link to its own folder
    studies = find_studies([elsewhere]).studies
    assert [s.study_id for s in studies] == [s.study_id for s in find_studies([two]).studies]
    assert not any(s.problems for s in studies)


def test_a_symbolic_link_to_a_folder_is_the_folder(two: Path) -> None:
    link = two.parent / "link"
    link.symlink_to(two / "anna")
    assert find_studies([link, two / "anna"]) == find_studies([two / "anna"])
