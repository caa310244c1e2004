"""What all tests of the two-stage system share."""

from __future__ import annotations

import pytest

from lumbargrade.team_two_stage import predictor
from stub_flows import case_of


@pytest.fixture(autouse=True)
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Volumes of a made study are made once, because resizing takes most of the time."""
    monkeypatch.setattr(predictor, "read_case", case_of)
