"""The examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import lumbargrade
from small_models import save_small_model
from small_studies import write_noise_study

PACKAGE = Path(lumbargrade.__file__).parent
MODULES = [
    ".".join(("lumbargrade", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the study and the models that examples name."""
    folder = tmp_path_factory.mktemp("examples")
    write_noise_study(folder / "STUDY")
    for task in ("canal", "foraminal"):
        save_small_model(folder / "MODELS" / task, task)
    return folder


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    done = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert done.attempted > 0
    assert done.failed == 0


@pytest.mark.parametrize("name", ["read_study", "load_model", "grade_study"])
def test_every_function_of_the_packages_face_has_an_example(name: str) -> None:
    assert name in lumbargrade.__all__
    assert ">>> " in getattr(lumbargrade, name).__doc__
