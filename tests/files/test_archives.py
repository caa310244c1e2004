"""Zip files are unpacked within limits, and never outside the folder that is given."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.domain.errors import BadInput
from lumbargrade.files.archives import LIMITS, Limits, is_archive, list_archive, unpack


def packed(path: Path, **files: bytes) -> Path:
    """A zip file; __ in a name stands for a slash, and _dot_ for a dot."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return path


def test_files_are_unpacked_into_the_same_tree(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", one__x_dot_dcm=b"abc", two=b"d" * 3_000_000, empty=b"")
    contents = list_archive(archive)
    assert [m.path for m in contents.members] == ["one/x.dcm", "two"]
    assert not contents.refused
    found = {m.path: p for m, p in unpack(archive, contents.members, tmp_path / "out")}
    assert found["one/x.dcm"] == tmp_path / "out/one/x.dcm"
    assert found["one/x.dcm"].read_bytes() == b"abc"
    assert found["two"].read_bytes() == b"d" * 3_000_000
    assert is_archive(archive)
    assert not is_archive(found["two"])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_files_with_one_name_the_first_is_used(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr("one", b"first")
        made.writestr("one", b"the second")
    contents = list_archive(tmp_path / "a.zip")
    assert [why for _, why in contents.refused] == ["is twice in the archive; the first is used"]
    ((_, path),) = unpack(tmp_path / "a.zip", contents.members, tmp_path / "out")
    assert isinstance(path, Path)
    assert path.read_bytes() == b"first"


BAD_NAMES = {
    "../out.dcm": "leads out",
    "a/../../out.dcm": "leads out",
    "..\\out.dcm": "leads out",
    "/etc/passwd": "absolute",
    "\\etc\\passwd": "absolute",
    "C:/windows.dcm": "absolute",
    "C:\\windows.dcm": "absolute",
    "inner.zip": "archive in an archive",
    "a" * 2000: "no folder can hold",
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_is_refused_and_the_rest_is_unpacked(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr(name, b"bad")
        made.writestr("good", b"good")
    contents = list_archive(tmp_path / "a.zip")
    assert [m.path for m in contents.members] == ["good"]
    ((refused, why),) = contents.refused
    assert refused == name
    assert BAD_NAMES[name] in why


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12),
        min_size=1,
        max_size=6,
        unique=True,
    )
)
def test_nothing_is_ever_written_outside(tmp_path_factory: pytest.TempPathFactory, names) -> None:
    folder = tmp_path_factory.mktemp("any")
    with zipfile.ZipFile(folder / "a.zip", "w") as made:
        for name in names:
            try:
                made.writestr(name + "./../" * (len(name) % 3) + "x", name.encode() + b"x")
            except (UnicodeEncodeError, UserWarning):
                return
    contents = list_archive(folder / "a.zip")
    out = folder / "deep" / "out"
    results = list(unpack(folder / "a.zip", contents.members, out))
    assert len(results) + len(contents.refused) == len(names)
    written = {p for p in folder.rglob("*") if p.is_file()} - {folder / "a.zip"}
    assert written == {p for _, p in results if isinstance(p, Path)}
    assert all(out in p.parents for p in written)


def test_links_and_encrypted_files_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(link, "/etc/passwd")
        made.writestr("secret", b"secret")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    at = content.rindex(b"PK\x01\x02")  # the entry of the second file in the directory
    content[at + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    contents = list_archive(tmp_path / "a.zip")
    assert not contents.members
    assert [why.split(";")[0] for _, why in contents.refused] == ["is a link", "is encrypted"]


def test_an_archive_with_another_name_is_not_unpacked(tmp_path: Path) -> None:
    inner = packed(tmp_path / "inner.zip", x=b"x").read_bytes()
    archive = packed(tmp_path / "a.zip", image=inner)
    ((_, result),) = unpack(archive, list_archive(archive).members, tmp_path / "out")
    assert "it is an archive; unpack it" in str(result)


def test_limits(tmp_path: Path) -> None:
    bomb = packed(tmp_path / "bomb.zip", zeros=bytes(20 << 20), fine=b"fine")
    contents = list_archive(bomb)
    assert [m.path for m in contents.members] == ["fine"]
    assert contents.refused == (("zeros", "would unpack to more than 200 times its size"),)
    assert "more than 1 MiB" in list_archive(bomb, replace(LIMITS, file=1 << 20)).refused[0][1]
    with pytest.raises(BadInput, match="would unpack to 20 MiB, more than 2 MiB"):
        list_archive(bomb, replace(LIMITS, total=2 << 20))
    with pytest.raises(BadInput, match="has 2 files, more than 1"):
        list_archive(bomb, replace(LIMITS, members=1))


def test_overlapping_files_are_refused(tmp_path: Path) -> None:
    """Many entries of the directory that share one compressed file."""
    archive = packed(tmp_path / "a.zip", one=bytes(range(256)) * 40, two=bytes(range(256)) * 40)
    content = archive.read_bytes()
    first, second = (content.index(b"PK\x01\x02"), content.rindex(b"PK\x01\x02"))
    entry = content[first:second]
    end = content.index(b"PK\x05\x06")
    many = 200
    directory = entry * many
    record = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, many, many, len(directory), first, 0)
    assert end
    archive.write_bytes(content[:first] + directory + record)
    with pytest.raises(BadInput, match=r"its files overlap|not a zip file, or damaged"):
        list_archive(archive)


def test_a_file_of_another_size_than_announced_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", one=b"abcdef" * 100, two=b"two")
    content = bytearray(archive.read_bytes())
    at = content.index(b"PK\x01\x02") + 24  # the size in the directory
    content[at : at + 4] = struct.pack("<L", 100)
    archive.write_bytes(content)
    results = dict(unpack(archive, list_archive(archive).members, tmp_path / "out"))
    whys = [r for r in results.values() if isinstance(r, str)]
    assert len(whys) == 1
    assert "is damaged in the archive" in whys[0]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["two"]


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_zip_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(BadInput, match=r"a\.zip: not a zip file, or damaged"):
        list_archive(tmp_path / "a.zip")


@given(st.data())
def test_damage_is_an_error_or_told(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    folder = tmp_path_factory.mktemp("damage")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("one", b"one" * 50)
        made.writestr("two", b"two" * 50)
    content = bytearray(stream.getvalue())
    for _ in range(3):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "a.zip").write_bytes(content)
    limits = Limits(file=1 << 20, total=1 << 21)
    try:
        contents = list_archive(folder / "a.zip", limits)
        results = list(unpack(folder / "a.zip", contents.members, folder / "out"))
    except BadInput:
        return
    for member, result in results:
        assert isinstance(result, str) or result.stat().st_size == member.size
