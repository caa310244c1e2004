"""The strict build of the documentation names every broken link, in README.md and in docs/."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What the site is made of, to be spoiled."""
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    for folder in ("benchmarks", "docs", "examples", "src", "tests", "tools"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignore)
    return tmp_path


def build(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    variables = os.environ | {"NO_MKDOCS_2_WARNING": "1"} | environment
    return subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


def test_links_of_the_repository_lead_to_pages_of_the_site(copy: Path) -> None:
    with (copy / "README.md").open("a") as readme:
        readme.write("\n[one](docs/series.md#points) [two](src/lumbargrade/py.typed)\n")
    with (copy / "docs" / "demo.md").open("a") as page:
        page.write("\n[three](../README.md#more) [four](../src/lumbargrade)\n")
    done = build(copy, REPOSITORY_URL="https://example.org/owner/name/")
    assert done.returncode == 0, done.stderr
    index = (copy / "build" / "site" / "index.html").read_text()
    demo = (copy / "build" / "site" / "demo.html").read_text()
    blob = "https://example.org/owner/name/blob/HEAD/src/lumbargrade"
    assert '<a href="series.html#points">one</a>' in index
    assert f'<a href="{blob}/py.typed">two</a>' in index
    assert '<a href="index.html#more">three</a>' in demo
    assert f'<a href="{blob}">four</a>' in demo


def test_links_that_lead_nowhere_fail_the_build(copy: Path) -> None:
    readme = [
        "docs/none.md",
        "#nothing-here",
        "docs/series.md#nothing-there",
        "docs/images/none.jpg",
        "/docs/demo.md",
        "src/none.py",
    ]
    page = ["none-beside.md", "../none.py", "../README.md#none", "python.md#lumbargrade.none"]
    for path, links in ((copy / "README.md", readme), (copy / "docs" / "demo.md", page)):
        with path.open("a") as stream:
            stream.write("".join(f"\n[a]({link})\n" for link in links))
            stream.write("\n`[not](a-link.md)`\n\n```sh\n[nor](this.md)\n```\n")
    (copy / "docs" / "orphan.md").write_text("# In no menu\n")
    done = build(copy)
    assert done.returncode == 1
    assert f"Aborted with {len(readme) + len(page) + 1} warnings" in done.stdout
    said = done.stderr.replace("series.md", "docs/series.md").replace("index.md#", "../README.md#")
    for link in (*readme, *page):
        assert f"'{link}'" in said, link
    assert "orphan.md" in said
