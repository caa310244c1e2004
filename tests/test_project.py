"""Facts about the project that are written in several places agree."""

from __future__ import annotations

import re
from pathlib import Path

from lumbargrade import __version__

ROOT = Path(__file__).resolve().parents[1]


def test_the_citation_is_of_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [__version__]


def test_the_changelog_begins_with_this_version_or_what_is_not_released_yet() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (\S+)", changelog, re.MULTILINE)
    assert next(v for v in versions if v != "Unreleased") == __version__
