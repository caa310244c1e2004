"""What the tests of reading share."""

from __future__ import annotations

import pytest

import hospital_exports as made


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> made.Study:
    """One phantom study; exports are made of copies."""
    return made.phantom_study(tmp_path_factory.mktemp("phantom"))
