"""The Makefile installs the right build of torch."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pinned(name: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", (ROOT / name).read_text(encoding="utf-8"), re.M))


def test_only_torch_and_its_gpu_libraries_are_locked_apart() -> None:
    torch, rest = pinned("torch.lock"), pinned("requirements.lock")
    assert not torch & rest
    assert {"torch", "torchvision"} <= torch
    of_torch = ("torch", "torchvision", "triton")
    assert all(n in of_torch or n.startswith(("nvidia-", "cuda-")) for n in torch)
    assert not [n for n in rest if n.startswith(("nvidia-", "cuda-", "triton"))]
    assert {"numpy", "torchio", "timm", "sympy"} <= rest


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the Makefile needs a POSIX shell")


@pytest.fixture
def installed(tmp_path: Path) -> Callable[..., tuple[int, list[str], str]]:
    """Makes the environment with commands that only note what they are asked to install."""

    def script(name: str, *lines: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
        path.chmod(0o755)

    def make(
        choice: str, system: str = "Linux", driver: bool = False, index: bool = True
    ) -> tuple[int, list[str], str]:
        venv = tmp_path / "venv"
        for done in ("light", "ready"):
            (venv / done).unlink(missing_ok=True)
        (tmp_path / "asked").write_text("")
        script("bin/uname", f"echo {system}")
        script("bin/nvidia-smi", f"exit {int(not driver)}")
        script("venv/bin/python")
        reached = "" if index else 'case "$*" in *--torch-backend*) exit 2;; esac'
        script("venv/bin/uv", f'echo "$*" >> {tmp_path}/asked', reached)
        done = subprocess.run(
            ["make", f"VENV={venv}", "PYTHON=true", f"TORCH={choice}", f"{venv}/ready"],
            cwd=ROOT,
            env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        asked = (tmp_path / "asked").read_text().splitlines()
        builds = {"--torch-backend cpu": "cpu", "--require-hashes -r torch.lock": "pypi"}
        torch = [builds[b] for line in asked for b in builds if b in line]
        assert not asked or "--require-hashes -r inference.lock" in asked[0]
        return done.returncode, torch, done.stderr

    return make


def test_without_an_nvidia_driver_the_small_build_of_torch_is_taken(installed) -> None:
    assert installed("auto") == (0, ["cpu"], "")


def test_without_the_index_of_small_builds_the_one_of_pypi_is_taken_and_it_is_said(
    installed,
) -> None:
    code, torch, said = installed("auto", index=False)
    assert (code, torch) == (0, ["cpu", "pypi"])
    assert "Installing the build of PyPI, with its CUDA libraries (3 GB)." in said


@pytest.mark.parametrize(("system", "driver"), [("Linux", True), ("Darwin", False)])
def test_with_a_driver_and_on_a_mac_the_locked_build_is_taken(installed, system, driver) -> None:
    assert installed("auto", system, driver) == (0, ["pypi"], "")


def test_the_build_of_torch_can_be_chosen(installed) -> None:
    assert installed("cuda") == (0, ["pypi"], "")
    assert installed("cpu", driver=True) == (0, ["cpu"], "")


def test_a_chosen_build_is_never_replaced_by_another(installed) -> None:
    code, torch, _ = installed("cpu", index=False)
    assert code != 0
    assert torch == ["cpu"]


def test_an_unknown_build_of_torch_is_refused_before_anything_is_installed(installed) -> None:
    code, torch, said = installed("cud")
    assert code != 0
    assert torch == []
    assert "TORCH=cud is unknown; give auto, cpu or cuda" in said
