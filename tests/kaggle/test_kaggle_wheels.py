"""Wheels of a kit: this package as it runs, and what an image of another Python lacks."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from lumbargrade import __version__
from lumbargrade.domain.errors import LumbargradeError, UsageError
from lumbargrade.kaggle.own_wheel import read_project, write_own_wheel
from lumbargrade.kaggle.wheels import Target, gather, read_image, required_by

ROOT = Path(__file__).resolve().parents[2]
TARGET = Target("3.12")


def make_wheel(
    folder: Path, name: str, version: str, *requires: str, tag: str = "py3-none-any"
) -> None:
    """An empty wheel with requirements."""
    folder.mkdir(exist_ok=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {text}" for text in requires]
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")


def test_what_an_image_lacks_or_has_too_old_is_downloaded_for_its_python(tmp_path: Path) -> None:
    index, out = tmp_path / "index", tmp_path / "out"
    out.mkdir()
    linux = "manylinux_2_28_x86_64"
    make_wheel(index, "reader", "1.0", "arrays>=1", "Codec[fast]", 'win-only; os_name == "nt"')
    make_wheel(index, "codec", "3.0", "torch>=9", "arrays>=2.1", 'speed; extra == "fast"')
    make_wheel(index, "speed", "1.0", "tables<2", tag=f"cp312-cp312-{linux}")
    make_wheel(index, "speed", "2.0", tag=f"cp311-cp311-{linux}")  # for another Python
    make_wheel(index, "arrays", "2.3")
    make_wheel(index, "tables", "1.9")
    make_wheel(index, "tables", "2.0")  # chosen first, then excluded by speed
    make_wheel(index, "fonts", "5.0")  # the image's is good enough
    image = {"arrays": Version("2.0.2"), "fonts": Version("4.1+local")}
    wanted = [
        Requirement(text) for text in ("reader", "tables>=1", "fonts>=4", "gone; extra == 'x'")
    ]
    found = gather(wanted, image, TARGET, out, index)
    assert {name: str(version) for name, version in found.wheels.items()} == {
        "arrays": "2.3",
        "codec": "3.0",
        "reader": "1.0",
        "speed": "1.0",
        "tables": "1.9",
    }
    assert sorted(p.name.split("-")[1] for p in out.iterdir()) == [
        "1.0",
        "1.0",
        "1.9",
        "2.3",
        "3.0",
    ]
    assert found.replaced == {"arrays": Version("2.0.2")}
    assert set(found.requirements) == {
        "arrays>=1,>=2.1",
        "codec",
        "reader",
        "speed",
        "tables<2,>=1",
    }
    assert {*found.wanted} == {*found.wheels, "fonts"}


def test_a_wheel_that_does_not_exist_is_named(tmp_path: Path) -> None:
    make_wheel(tmp_path / "index", "speed", "2.0", tag="cp311-cp311-manylinux_2_28_x86_64")
    with pytest.raises(LumbargradeError, match=r"no wheels for Python 3\.12 of speed>=1: ERROR"):
        gather([Requirement("speed>=1")], {}, TARGET, tmp_path, tmp_path / "index")


def test_a_damaged_wheel_is_named(tmp_path: Path) -> None:
    (tmp_path / "x-1-py3-none-any.whl").write_bytes(b"no zip file")
    with pytest.raises(LumbargradeError, match="not a usable wheel"):
        required_by(tmp_path / "x-1-py3-none-any.whl")


def test_an_image_is_a_list_of_pip_freeze(tmp_path: Path) -> None:
    path = tmp_path / "image.txt"
    path.write_text("# text\nPillow==11.3\nx @ file:///x\ntorch==2.11.0+cu128\nodd==1-of-2\n")
    assert read_image(path) == {"pillow": Version("11.3"), "torch": Version("2.11.0+cu128")}
    path.write_text("nothing\n")
    with pytest.raises(UsageError, match=r"image\.txt: no line NAME==VERSION"):
        read_image(path)
    assert {"numpy", "torch", "timm", "scipy"} <= read_image(None).keys()


def test_the_own_wheel_holds_this_code_and_its_requirements(tmp_path: Path) -> None:
    project = read_project()
    said = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    train = [str(Requirement(r)) for r in said["optional-dependencies"]["train"]]
    assert sorted(map(str, project.of_extra("train").values())) == sorted(train)
    wheel = write_own_wheel(tmp_path, project)
    assert wheel.name == f"lumbargrade-{__version__}-py3-none-any.whl"
    assert required_by(wheel) == list(project.requires)
    plain = [r for r in project.requires if TARGET.needs(r)]
    assert sorted(map(str, plain)) == sorted(str(Requirement(r)) for r in said["dependencies"])
    with zipfile.ZipFile(wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    package = ROOT / "src" / "lumbargrade"
    there = {p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    for path in there:
        assert content[f"lumbargrade/{path.relative_to(package).as_posix()}"] == path.read_bytes()
    record = next(name for name in content if name.endswith(".dist-info/RECORD"))
    rows = list(csv.reader(io.StringIO(content[record].decode())))
    assert {name for name, *_ in rows} == set(content)
    for name, digest, size in rows:
        if name != record:
            sha = base64.urlsafe_b64encode(hashlib.sha256(content[name]).digest())
            assert (digest, int(size)) == (
                f"sha256={sha.decode().rstrip('=')}",
                len(content[name]),
            )
