"""Grading with the starter or exported models imports nothing of what only training needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lumbargrade.domain.errors import UsageError
from lumbargrade.files.extras import needs_extra
from lumbargrade.models.export import export_model
from small_models import save_small_model
from small_studies import write_noise_study

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


def test_a_model_that_was_not_exported_names_the_extra_that_it_needs(tmp_path: Path) -> None:
    model = save_small_model(tmp_path / "model", "canal")
    done = run_without(
        "from lumbargrade.cli.main import main\n"
        f"sys.exit(main(['grade', '.', '--models', {str(model)!r}, '--out', 'never-written']))"
    )
    assert done.returncode == 2
    assert f"{model}: a model that was not exported needs" in done.stderr
    assert "which is not installed" in done.stderr
    assert "pip install 'lumbargrade[train]'" in done.stderr


@pytest.mark.parametrize("tasks", [["canal", "foraminal"], ["keypoints", "two_stage"]])
def test_exported_models_grade_a_study_without_torch(tasks: list[str], tmp_path: Path) -> None:
    """Beside their models, which torch could run, and as they are."""
    for task in tasks:
        export_model(save_small_model(tmp_path / "models" / task, task), "onnx")
    copied = [tmp_path / "copies" / task for task in tasks]
    for task, copy in zip(tasks, copied, strict=True):
        shutil.copytree(tmp_path / "models" / task / "onnx", copy)
    study = write_noise_study(tmp_path / "study")
    for name in ("models", "copies"):
        done = run_without(
            "from lumbargrade.cli.main import main\n"
            f"sys.exit(main(['grade', {str(study)!r}, '--models', {str(tmp_path / name)!r}, "
            f"'--out', {str(tmp_path / 'out' / name)!r}, '--no-check-points', '--no-pictures']))"
        )
        assert done.returncode == 0, done.stderr
    one, other = (next((tmp_path / "out" / n).glob("*/findings.csv")) for n in ("models", "copies"))
    assert "normal_mild" in one.read_text(encoding="utf-8")
    assert one.read_text(encoding="utf-8") == other.read_text(encoding="utf-8")


def test_a_package_of_no_extra_is_missing_as_python_says_it() -> None:
    with pytest.raises(ModuleNotFoundError, match="numpyy"), needs_extra("this"):
        import numpyy  # noqa: F401
    said = r"this needs timm, .*lumbargrade\[train\]"
    with pytest.raises(UsageError, match=said), needs_extra("this"):
        raise ModuleNotFoundError("No module named 'timm.layers'", name="timm.layers")
