"""Files at URLs: what is fetched, uploaded and copied, and errors that say what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsdc_layout import write_lsdc
from lumbargrade.cli.main import main
from lumbargrade.domain.errors import BadInput, UsageError
from lumbargrade.files import mirror, urls
from lumbargrade.files.mirror import local_copy, publish_copy
from lumbargrade.files.urls import (
    Url,
    fetch,
    list_files,
    list_folder,
    place,
    require_writable_url,
    upload,
)
from lumbargrade.lsdc.prepare import prepare
from lumbargrade.lsdc.store import VolumeStore


def test_a_path_stays_a_path_and_a_url_keeps_its_slashes(tmp_path: Path) -> None:
    assert place("a/b") == Path("a/b")
    assert place("C:/data") == Path("C:/data")
    assert place("file:///data/a%20b") == Path("/data/a b")
    found = place("s3://bucket/studies/")
    assert found == Url("s3://bucket/studies")
    assert str(found) == "s3://bucket/studies"
    assert (Url("s3://b/a") / "c").parent.name == "a"
    with pytest.raises(UsageError, match="s3://: give a bucket"):
        place("s3://")


def tree(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_folder_comes_back_from_a_url(s3: str, tmp_path: Path) -> None:
    url = Url(f"{s3}/deep/folder")
    made = tree(tmp_path / "made", a_txt="1", b__c_txt="22", b__d__e_txt="333")
    upload(made, url)
    assert [(f.name, f.size) for f in list_files(url)] == [
        ("a.txt", 1),
        ("b/c.txt", 2),
        ("b/d/e.txt", 3),
    ]
    assert list_folder(url) == ([url / "b"], ["a.txt"])
    fetch(url, ["b/d/e.txt", "a.txt"], tmp_path / "back")
    assert (tmp_path / "back" / "b" / "d" / "e.txt").read_text() == "333"
    assert not (tmp_path / "back" / "b" / "c.txt").exists()
    with pytest.raises(BadInput, match="outside"):
        fetch(url, ["../a.txt"], tmp_path / "back")


def test_the_file_that_marks_a_result_as_complete_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tree(tmp_path / "made", a_json="1", b_txt="2", c_txt="3")
    puts: list[list[str]] = []

    class System:
        def put(self, local: list[str], remote: list[str]) -> None:
            assert all(Path(path).exists() for path in local)
            puts.append(remote)

    monkeypatch.setattr(urls, "_open", lambda url: (System(), "out"))
    upload(made, Url("s3://bucket/out"), last="a.json")
    assert puts == [["out/b.txt", "out/c.txt"], ["out/a.json"]]


def test_errors_name_the_url_and_what_to_do(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    with pytest.raises(BadInput, match=r"s3://no-such-bucket/x: not found .*bucket"):
        list_folder(Url("s3://no-such-bucket/x"))
    with pytest.raises(BadInput, match=r"s3://no-such-bucket/x: not found .*bucket"):
        require_writable_url(Url("s3://no-such-bucket/x"))
    with pytest.raises(BadInput, match=r"/a: not found .*key"):
        fetch(Url(f"{s3}/a"), ["gone"], tmp_path)
    require_writable_url(Url(f"{s3}/new"))
    assert list_files(Url(f"{s3}/new")) == ()
    with pytest.raises(UsageError, match=r"ftpx://a/b: Protocol not known.*; give s3://"):
        list_files(Url("ftpx://a/b"))
    with pytest.raises(UsageError, match=r"abfs://a/b: Install adlfs"):
        list_files(Url("abfs://a/b"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(UsageError, match=r"no access \(Unable to locate.*set AWS_ACCESS_KEY_ID"):
        list_files(Url(f"{s3}/a"))


@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [
        (PermissionError("Forbidden"), UsageError, r"s3://b/a: no access \(Forbidden\); set AWS"),
        (ConnectionResetError("reset"), UsageError, r"s3://b/a: the server cannot be reached"),
        (PermissionError(13, "denied", "/copies/x"), PermissionError, r"denied: '/copies/x'"),
        (ZeroDivisionError("a fault of a program"), ZeroDivisionError, "a fault"),
    ],
)
def test_errors_of_the_server_are_explained_and_others_stay_as_they_are(
    error: Exception,
    expected: type[Exception],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class System:
        def get(self, remote: list[str], local: list[str]) -> None:
            raise error

    monkeypatch.setattr(urls, "_open", lambda url: (System(), "b/a"))
    with pytest.raises(expected, match=text):
        fetch(Url("s3://b/a"), ["x"], tmp_path)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UsageError, match=r"s3://b/a needs fsspec.*lumbargrade\[cloud\]"):
        list_files(Url("s3://b/a"))


def test_a_copy_fetches_only_what_has_changed(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = Url(f"{s3}/models")
    made = tree(tmp_path / "made", m__weights_bin="abc", m__meta_json="{}", old_txt="x")
    upload(made, url)
    fetched: list[list[str]] = []

    def counted(url: Url, names: list[str], to: Path) -> None:
        fetched.append(list(names))
        fetch(url, names, to)

    monkeypatch.setattr(mirror, "fetch", counted)
    folder = local_copy(url)
    assert folder.name == "models"
    assert (folder / "m" / "weights.bin").read_text() == "abc"
    assert local_copy(url) == folder
    assert fetched == [["m/meta.json", "m/weights.bin", "old.txt"]]
    tree(made, m__weights_bin="abd")  # of the same size
    upload(made, url)
    urls.remove(url / "old.txt")
    assert local_copy(url) == folder
    assert fetched[1:] == [["m/weights.bin"]]
    assert (folder / "m" / "weights.bin").read_text() == "abd"
    assert not (folder / "old.txt").exists()
    (folder / "m" / "meta.json").unlink()
    local_copy(url)
    assert fetched[2:] == [["m/meta.json"]]
    assert local_copy(url / "m" / "meta.json").read_text() == "{}"
    assert local_copy(tmp_path) == tmp_path
    with pytest.raises(BadInput, match="nothing is there"):
        local_copy(Url(f"{s3}/none"))


def test_a_store_is_prepared_to_a_url_and_opened_from_it(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lsdc(tmp_path / "data", 2)
    url = Url(f"{s3}/store")
    command = ["prepare", str(tmp_path / "data"), "--out", str(url), "--workers", "1"]
    uploads: list[int] = []

    def counted(folder: Path, url: Url, *, names: list[str], last: str) -> None:
        uploads.append(len(names))
        upload(folder, url, names=names, last=last)

    monkeypatch.setattr(mirror, "upload", counted)
    assert main(command) == 0
    monkeypatch.setenv("LUMBARGRADE_CACHE", str(tmp_path / "elsewhere"))
    store = VolumeStore.open(url)
    assert store.path.is_relative_to(tmp_path / "elsewhere")
    prepare(tmp_path / "data", tmp_path / "here")
    here = VolumeStore.open(tmp_path / "here")
    assert store.fingerprint == here.fingerprint
    for study, series, _ in here.series:
        same = here.volume(study, series).pixels
        assert (store.volume(study, series).pixels == same).all()
    assert main(command) == 0
    assert VolumeStore.open(url).fingerprint == here.fingerprint
    tables = len(list(store.path.glob("[!.]*.*")))
    assert uploads[0] > len(here.series) + tables
    assert uploads[1] <= tables  # the volumes that were there are not uploaded again


def test_an_upload_of_a_store_that_was_interrupted_is_no_store(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = Url(f"{s3}/store")
    folder = local_copy(url, new=True)
    tree(folder, a_bin="1", store_json="1")
    publish_copy(url, last="store.json")
    tree(folder, a_bin="2", b_bin="2", store_json="2")

    def interrupted(folder: Path, url: Url, *, names: list[str], last: str) -> None:
        upload(folder, url, names=[n for n in names if n != last])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(mirror, "upload", interrupted)
        with pytest.raises(KeyboardInterrupt):
            publish_copy(url, last="store.json")
    assert [f.name for f in list_files(url)] == ["a.bin", "b.bin"]
    (folder / "a.bin").unlink()
    publish_copy(url, last="store.json")
    assert [f.name for f in list_files(url)] == ["b.bin", "store.json"]


def test_an_interrupted_copy_is_fetched_again(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = Url(f"{s3}/store")
    upload(tree(tmp_path / "made", a_bin="aaa", b_bin="bbb"), url)
    local_copy(url)
    upload(tree(tmp_path / "made", a_bin="AAA", b_bin="BBB"), url)

    def broken(url: Url, names: list[str], to: Path) -> None:
        fetch(url, names[:1], to)
        (to / names[1]).write_text("B??")  # half a file of the right size
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(mirror, "fetch", broken)
        with pytest.raises(KeyboardInterrupt):
            local_copy(url)
    folder = local_copy(url)
    assert [(folder / n).read_text() for n in ("a.bin", "b.bin")] == ["AAA", "BBB"]
