"""Grading studies of a bucket: the results of a folder of this machine, and nothing left behind."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from fake_models import calls, open_fake
from lumbargrade.batch import results as results_module
from lumbargrade.batch.launch import Launch
from lumbargrade.batch.remote import RemoteStudy, find_remote
from lumbargrade.batch.results import Results
from lumbargrade.batch.run import grade_studies
from lumbargrade.batch.steps import Steps, StudyJob, StudyOutcome
from lumbargrade.dicom.find import FoundStudy, find_studies
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.files.urls import Url, fetch, list_files, list_folder, place, remove, upload
from lumbargrade.grading.findings_file import read_findings
from lumbargrade.report.overview import GradingSummary
from small_studies import write_noise_study
from without_time import timeless

T1, T2, _ = SeriesKind


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "studies"
    for name in ("anna", "ben", "carl"):
        write_noise_study(folder / name, (T1, T2), depth=2)
    (folder / "anna" / "anna-0" / "broken.dcm").write_bytes(b"no image")
    return folder


def worker(tmp_path: Path, out: Path | Url, *, restart: bool = False) -> Steps:
    """A worker of this process."""
    opened = open_fake(tmp_path)
    return Steps(opened, Results(out, tmp_path / "scratch"), restart=restart)


def done(one: Steps, name: str, study: FoundStudy | RemoteStudy) -> StudyOutcome:
    return one.all(StudyJob(name, study))


def graded(studies: Url, out: Url, tmp_path: Path) -> GradingSummary:
    return grade_studies(partial(open_fake, tmp_path), [studies], out, launch=Launch(1))


def test_a_study_of_a_bucket_gets_the_findings_of_the_same_study_on_disk(
    s3: str, images: Path, tmp_path: Path
) -> None:
    url = Url(f"{s3}/studies")
    upload(images, url)
    (tmp_path / "local").mkdir()
    (here,) = find_studies([images / "anna"]).studies
    assert done(worker(tmp_path, tmp_path / "local"), "anna", here).entry is not None
    out = Url(f"{s3}/results")
    outcome = done(worker(tmp_path, out), "anna", RemoteStudy(url / "anna"))
    assert outcome.entry is not None
    fetch(out, [f.name for f in list_files(out)], tmp_path / "remote")
    files = [
        sorted(p.relative_to(tmp_path / folder) for p in (tmp_path / folder).rglob("*"))
        for folder in ("local", "remote")
    ]
    assert files[0] == files[1]
    found = read_findings(tmp_path / "remote" / "anna" / "findings.json")
    same = read_findings(tmp_path / "local" / "anna" / "findings.json")
    assert found.fingerprint != same.fingerprint
    texts = [
        timeless(tmp_path / folder / "anna" / "findings.json")
        .decode()
        .replace(one.fingerprint, "-")
        for folder, one in (("remote", found), ("local", same))
    ]
    assert str(url / "anna") in texts[0]  # the broken file is named by its URL
    assert texts[0].replace(str(url), str(images)) == texts[1]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_bucket_is_graded_once_and_what_is_missing_by_the_second_run(
    s3: str, images: Path, tmp_path: Path
) -> None:
    studies, out = Url(f"{s3}/studies"), Url(f"{s3}/results")
    upload(images, studies)
    first = graded(studies, out, tmp_path)
    assert len(first.graded) == len(calls(tmp_path)) == 3
    folders, files = list_folder(out)
    assert [f.name for f in folders] == ["anna", "ben", "carl"]
    assert files == ["findings.csv", "index.html", "summary.json"]
    fetch(out, ["summary.json", "index.html"], tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["out"] == str(out)
    assert f'href="{summary["studies"][0]["folder"]}/report.html"' in (
        tmp_path / "index.html"
    ).read_text(encoding="utf-8")
    remove(out / "ben" / "findings.json")  # as if its upload was interrupted
    write_noise_study(tmp_path / "new" / "carl", (T1,), depth=2)
    upload(tmp_path / "new", studies)
    (tmp_path / "calls.txt").unlink()
    second = graded(studies, out, tmp_path)
    assert [line.reused for line in second.graded] == [True, False, False]
    assert len(calls(tmp_path)) == 2


def test_what_goes_wrong_with_one_study_of_a_bucket_is_its_own_failure(
    s3: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, out = Url(f"{s3}/studies"), Url(f"{s3}/results")
    upload(images, url)
    one = worker(tmp_path, out)
    gone = done(one, "gone", RemoteStudy(url / "gone"))
    assert gone.failed is not None
    assert f"{url}/gone: no files" in gone.failed.what
    listed = RemoteStudy(url / "ben").files()
    remove(url / "ben" / listed[0].name)
    with monkeypatch.context() as patched:
        patched.setattr(RemoteStudy, "files", lambda self: listed)
        vanished = done(one, "ben", RemoteStudy(url / "ben"))
    assert vanished.failed is not None
    assert "vanished while it was read" in vanished.failed.what
    several = done(one, "all", RemoteStudy(url))
    assert several.failed is not None
    assert f"{url}: files of 3 studies" in several.failed.what
    assert list_files(out) == ()
    assert list((tmp_path / "scratch").iterdir()) == []
    assert done(one, "ben", RemoteStudy(url / "ben")).entry is not None


def test_an_interrupted_upload_is_no_result(
    s3: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, out = Url(f"{s3}/studies"), Url(f"{s3}/results")
    upload(images / "anna", url / "anna")
    one = worker(tmp_path, out)

    def interrupted(folder: Path, to: Url, *, last: str = "") -> None:
        (folder / last).unlink()
        upload(folder, to)
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(results_module, "upload", interrupted)
        lost = done(one, "anna", RemoteStudy(url / "anna"))
    assert lost.failed is not None
    written = f"the results cannot be written: ConnectionResetError: {out / 'anna'}"
    assert lost.failed.what == written
    assert "anna/report.html" in [f.name for f in list_files(out)]
    again = done(one, "anna", RemoteStudy(url / "anna"))
    assert again.entry is not None
    assert not again.entry.line.reused
    third = done(one, "anna", RemoteStudy(url / "anna"))
    assert third.entry is not None
    assert third.entry.line.reused


def test_a_url_is_a_study_or_a_folder_of_studies(s3: str, images: Path, tmp_path: Path) -> None:
    url = Url(f"{s3}/studies")
    upload(images, url)
    found = [study.folder for study in find_remote(url, tmp_path)]
    assert found == [url / "anna", url / "ben", url / "carl"]
    assert find_remote(url / "anna", tmp_path) == [RemoteStudy(url / "anna")]
    upload(images / "ben", Url(f"{s3}/one/ben"))
    assert find_remote(Url(f"{s3}/one"), tmp_path) == [RemoteStudy(Url(f"{s3}/one/ben"))]
    upload(images / "ben" / "ben-0", Url(f"{s3}/two/ben/ben-0"))
    assert find_remote(Url(f"{s3}/two/ben"), tmp_path) == [RemoteStudy(Url(f"{s3}/two/ben"))]
    series = list_folder(url / "anna")[0][0]
    assert find_remote(series, tmp_path) == [RemoteStudy(series)]


def test_a_batch_says_at_once_that_a_bucket_is_missing(s3: str, tmp_path: Path) -> None:
    out = place("s3://no-such-bucket/results")
    with pytest.raises(UsageError, match="--out s3://no-such-bucket/results: not found"):
        grade_studies(partial(open_fake, tmp_path), [Url(s3)], out, launch=Launch(1))
    summary = grade_studies(
        partial(open_fake, tmp_path), [Url("s3://no-such-bucket/a")], Url(s3), launch=Launch(1)
    )
    assert [p.study for p in summary.failed] == ["s3://no-such-bucket/a"]
    upload(write_noise_study(tmp_path / "anna", (T1,), depth=2), Url(f"{s3}/in/anna"))
    with pytest.raises(UsageError, match="refusing to write results into the image folder"):
        graded(Url(f"{s3}/in/anna"), Url(f"{s3}/in"), tmp_path)
