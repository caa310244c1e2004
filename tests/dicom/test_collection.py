"""Studies below any paths: who is found, whose a broken file is, and when a study has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lumbargrade.dicom.collection import find_studies
from lumbargrade.dicom.study import read_study
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
        ours, alone = one.read(), read_study(one.folder)
        assert ours.study_id == one.study_id == alone.study_id
        assert {k: len(v) for k, v in ours.series.items()} == {
            k: len(v) for k, v in alone.series.items()
        }
        for kind, volumes in ours.series.items():
            for volume, same in zip(volumes, alone.series[kind], strict=True):
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


def test_a_file_that_has_vanished_is_named(two: Path) -> None:
    (study,) = find_studies([two / "anna"]).studies
    study.files[0].unlink()
    with pytest.raises(BadDicom, match=study.files[0].name):
        study.fingerprint()
    assert [p.file for p in study.read().problems if p.fatal] == [str(study.files[0])]


def test_one_file_is_a_path_too(two: Path) -> None:
    file = two / "anna" / "anna-0" / "1.dcm"
    (study,) = find_studies([file]).studies
    assert study.files == (file,)


def test_a_symbolic_link_to_a_folder_is_the_folder(two: Path) -> None:
    link = two.parent / "link"
    link.symlink_to(two / "anna")
    assert find_studies([link, two / "anna"]) == find_studies([two / "anna"])
