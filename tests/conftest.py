"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# how long an example takes says nothing about the code: machines are shared, imports are lazy
settings.register_profile("lumbargrade", deadline=None)
settings.load_profile("lumbargrade")

os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that writes the golden files of ``tests/pins`` anew."""
    parser.addoption("--renew-pins", action="store_true", help="write tests/pins/*.json anew")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data that is not part of the project; skips where it is absent."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("LUMBARGRADE_SHARED", root.parent / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"no shared reference data at {folder} (set LUMBARGRADE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared store of ten studies of noise; folds 2 and 4 hold four each, 1 and 3 one."""
    from lsdc_layout import write_lsdc
    from lumbargrade.lsdc.prepare import prepare

    folder = tmp_path_factory.mktemp("small")
    write_lsdc(folder / "data", 10)
    prepare(folder / "data", folder / "store")
    return folder / "store"


@pytest.fixture(scope="session")
def phantom_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared store of four phantom studies with every series, label and grade.

    Folds 2 and 3 hold one each, 4 holds two; the data set itself lies beside it in ``data``.
    """
    from lumbargrade.lsdc.prepare import prepare
    from lumbargrade.phantom.dataset import Settings, make_dataset

    folder = tmp_path_factory.mktemp("phantom")
    make_dataset(folder / "data", Settings(4, 3, 0, "train", "explicit"))
    prepare(folder / "data", folder / "store")
    return folder / "store"
