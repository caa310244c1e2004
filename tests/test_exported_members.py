"""The public face of the package: what it names is there, and naming it costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lumbargrade


@pytest.mark.parametrize("name", lumbargrade.__all__)
def test_every_exported_name_resolves(name: str) -> None:
    value = getattr(lumbargrade, name)
    assert callable(value) or isinstance(value, str)
    assert getattr(value, "__name__", name) == name
    assert name in dir(lumbargrade)


def test_exported_names_are_sorted_and_said_once() -> None:
    assert list(lumbargrade.__all__) == sorted(set(lumbargrade.__all__))
    assert {"grade_study", "load_model", "read_study"} <= set(lumbargrade.__all__)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'grade_studio'"):
        _ = lumbargrade.grade_studio


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, lumbargrade; dir(lumbargrade); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
