"""Grading with the starter imports nothing of what only training needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lumbargrade.domain.errors import UsageError
from lumbargrade.files.extras import needs_extra

#: Refuses the packages of the extra, as if they were not installed.
REFUSE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
"""
REFUSED = {"torch", "timm", "torchvision", "tensorboard", "safetensors", "onnx", "onnxscript"}


def run_without(code: str) -> subprocess.CompletedProcess[str]:
    script = REFUSE.format(refused=REFUSED) + code
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


@pytest.mark.parametrize("name", ["torch", "timm", "safetensors"])
def test_the_packages_are_refused_at_all(name: str) -> None:
    done = run_without(f"import {name}")
    assert done.returncode == 1
    assert f"No module named '{name}'" in done.stderr


def test_the_modules_of_grading_import_without_torch() -> None:
    done = run_without(
        "import lumbargrade.grading.study, lumbargrade.report.grading, lumbargrade.cli.grade\n"
        "import lumbargrade.cli.demo, lumbargrade.cli.phantom, lumbargrade.cli.inspect\n"
        "import lumbargrade.cli.evaluate, lumbargrade.cli.recalibrate\n"
        "import lumbargrade\nlumbargrade.grade_study, lumbargrade.read_study"
    )
    assert done.returncode == 0, done.stderr


def test_a_command_that_needs_the_extra_names_it() -> None:
    done = run_without(
        "from lumbargrade.cli.main import main\n"
        "sys.exit(main(['grade', '.', '--models', '.', '--out', 'never-written']))"
    )
    assert done.returncode == 2
    assert "`lumbargrade grade` needs torch, which is not installed" in done.stderr
    assert "pip install 'lumbargrade[train]'" in done.stderr


def test_a_package_of_no_extra_is_missing_as_python_says_it() -> None:
    with pytest.raises(ModuleNotFoundError, match="numpyy"), needs_extra("this"):
        import numpyy  # noqa: F401
    said = r"this needs timm, .*lumbargrade\[train\]"
    with pytest.raises(UsageError, match=said), needs_extra("this"):
        raise ModuleNotFoundError("No module named 'timm.layers'", name="timm.layers")
