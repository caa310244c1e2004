"""The tools behind the Makefile: the lock file loses torch only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def tool(name: str, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / f"{name}.py"), *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


LOCK = """\
# a comment
numpy==2.3.5 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
nvidia-cublas==13.1.1.3 ; sys_platform == 'linux' \\
    --hash=sha256:cc
cuda-toolkit==13.0 ; sys_platform == 'linux'
torch==2.13.0 \\
    --hash=sha256:dd
torchio==1.2.1 \\
    --hash=sha256:ee
torchvision==0.28.0 ; python_version < '4' \\
    --hash=sha256:ff
triton==3.7.1 \\
    --hash=sha256:00
"""


def test_only_torch_and_its_gpu_libraries_leave_the_lock_file() -> None:
    rest = tool("without_torch", given=LOCK)
    assert rest.returncode == 0
    assert rest.stdout == (
        "# a comment\n"
        "numpy==2.3.5 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "torchio==1.2.1 \\\n    --hash=sha256:ee\n"
    )
    pins = tool("without_torch", "--torch", given=LOCK)
    assert pins.stdout == "torch==2.13.0 torchvision==0.28.0\n"


def test_a_lock_file_without_torch_is_an_error() -> None:
    done = tool("without_torch", "--torch", given="numpy==2.3.5\n")
    assert done.returncode == 1
    assert "torch, torchvision not pinned" in done.stderr


def test_the_real_lock_file_splits_without_loss() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    rest = tool("without_torch", given=lock).stdout
    names = {line.split("==")[0] for line in lock.splitlines() if "==" in line and line[0] != " "}
    kept = {line.split("==")[0] for line in rest.splitlines() if "==" in line and line[0] != " "}
    gone = names - kept
    assert {"torch", "torchvision"} <= gone
    assert all(n.startswith(("torch", "triton", "nvidia-", "cuda-")) for n in gone)
    assert {"numpy", "torchio", "timm"} <= kept
