"""MkDocs hook: adds generated pages and the root's Markdown files to the documentation site.

Links are written as they work in the repository (``docs/demo.md`` in README.md, ``../README.md`` in
docs/) and translated for the site. A link to a file of the repository that is not a page leads to
the repository if its address is known, and is plain text otherwise. A link to a file that does not
exist is left as it is, and the strict build fails.
"""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element

import griffe
from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]

#: Markdown files of the repository's root by their place in the site.
ROOT_PAGES = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "architecture.md": "ARCHITECTURE.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "code-of-conduct.md": "CODE_OF_CONDUCT.md",
}

#: Characters in a line of help text.
_WIDTH = 84


class _RepositoryLinks(Treeprocessor):
    """Translates the links of the current page; runs before MkDocs checks them."""

    page: Page
    config: MkDocsConfig
    sites: dict[str, str]

    def run(self, root: Element) -> None:
        here = self.page.file.src_uri
        source = ROOT_PAGES.get(here, f"docs/{here}")
        for element in root.iter():
            for attribute in ("href", "src"):
                if link := element.get(attribute):
                    self._translate(element, attribute, link, here, source)

    def _translate(
        self, element: Element, attribute: str, link: str, here: str, source: str
    ) -> None:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc or not parts.path or parts.path.startswith("/"):
            return
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), unquote(parts.path)))
        if path in self.sites:
            target = posixpath.relpath(self.sites[path], posixpath.dirname(here) or ".")
            element.set(attribute, f"{target}#{parts.fragment}" if parts.fragment else target)
        elif (ROOT / path).exists():
            if self.config.repo_url:
                address = f"{self.config.repo_url.rstrip('/')}/blob/HEAD/{path}"
                element.set(attribute, f"{address}#{parts.fragment}" if parts.fragment else address)
            else:
                element.tag = "span"
                del element.attrib[attribute]


class _Extension(Extension):
    def __init__(self) -> None:
        super().__init__()
        self.links = _RepositoryLinks()

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - the name is Markdown's
        # after inline patterns (20), before MkDocs resolves links (0)
        md.treeprocessors.register(self.links, "repository-links", 5)


_EXTENSION = _Extension()


def on_config(config: MkDocsConfig) -> None:
    config.markdown_extensions.append(_EXTENSION)  # type: ignore[arg-type]
    _EXTENSION.links.config = config


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages that are not in docs/."""
    for uri, name in ROOT_PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / name)))
    files.append(File.generated(config, "commands.md", content=commands_page()))
    files.append(File.generated(config, "recipes.md", content=recipes_page()))
    files.append(File.generated(config, "phantom-ranges.md", content=ranges_page()))
    _EXTENSION.links.sites = {
        ROOT_PAGES.get(file.src_uri, f"docs/{file.src_uri}"): file.src_uri for file in files
    }


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> None:
    _EXTENSION.links.page = page


def commands_page() -> str:
    """The help text of every command."""
    from lumbargrade.cli.main import COMMANDS, help_text

    parts = ["# Commands", _code(help_text())]
    for name in COMMANDS:
        parts += [f"## {name}", _code(_help(name))]
    return "\n\n".join(parts)


def _help(name: str) -> str:
    from lumbargrade.cli.main import main

    os.environ["COLUMNS"] = str(_WIDTH)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main([name, "--help"])
    if code != 0:
        raise RuntimeError(f"`lumbargrade {name} --help` ended with exit code {code}")
    return out.getvalue()


def _code(text: str) -> str:
    """Help text as a block; paragraphs, which the terminal would wrap, are wrapped here."""
    lines = []
    for line in text.rstrip().splitlines():
        lines += [line] if line.startswith(" ") else textwrap.wrap(line, _WIDTH) or [""]
    return "\n".join(["```text", *lines, "```"])


def recipes_page() -> str:
    """The recipes that come with the package, and every setting of a recipe."""
    from lumbargrade.config import load_any_recipe, recipe_names, starter_recipe_names

    parts = [
        "# Recipes",
        "A recipe describes one experiment. `lumbargrade recipes NAME` shows one with all its"
        " settings. `train` takes the name of a recipe or a TOML file of your own; the command line"
        " overrides single settings (`--train.batch-size 2`).",
        _table(
            ["recipe", "task", "what it is"],
            (
                [f"`{n}`", (r := load_any_recipe(n)).task, r.summary]
                for n in (*recipe_names(), *starter_recipe_names())
            ),
        ),
        "## Settings",
    ]
    classes = griffe.load("lumbargrade.config", search_paths=[str(ROOT / "src")]).classes
    parts += _sections(classes, "Recipe")
    parts += ["### train.phases", classes["Phase"].docstring.value, _settings(classes["Phase"])]
    parts += ["## Settings of `starter/sagittal` and `starter/axial`"]
    parts += _sections(classes, "StarterRecipe", "starter: ")
    return "\n\n".join(parts)


def _sections(classes: Mapping[str, Any], recipe: str, prefix: str = "") -> Iterator[str]:
    """A heading, a description and a table for every section of a kind of recipe."""
    for section in classes[recipe].attributes.values():
        kind = str(section.annotation)
        if kind not in classes:
            continue
        described = classes[kind].docstring
        yield f"### {prefix}{section.name}"
        yield described.value if described else ""
        yield _settings(classes[kind])


def ranges_page() -> str:
    """Every range from which phantoms are drawn, with its reason."""
    from lumbargrade.phantom.ranges import Range, ranges

    def drawn(row: Range) -> str:
        if row.chance is not None:
            return f"in {100 * row.chance:g} %"
        if row.mean is None:
            return f"{row.low:g} to {row.high:g}"
        return f"{row.mean:g} ± {row.spread:g}, within {row.low:g} to {row.high:g}"

    parts = [
        "# Ranges of phantoms",
        "Every phantom is drawn from these ranges (`phantom/randomisation.toml`); [phantom studies]"
        "(phantom.md) explains how. Lengths are in mm, angles in degrees. A mean ± standard"
        " deviation is a normal distribution, limited to the given bounds; a percentage is the"
        " chance of an event; other ranges are uniform.",
    ]
    for title, part in (("Anatomy", "anatomy"), ("Images of the training stream", "image")):
        rows = ([f"`{name}`", drawn(row), row.reason] for name, row in ranges(part).items())
        parts += [f"## {title}", _table(["name", "drawn from", "why"], rows)]
    return "\n\n".join(parts)


def _settings(section: Any) -> str:
    return _table(
        ["setting", "type", "default", "meaning"],
        (
            [f"`{a.name}`", f"`{a.annotation}`", f"`{a.value}`", a.docstring.value]
            for a in section.attributes.values()
        ),
    )


def _table(head: list[str], rows: Iterator[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = ([" ".join(cell.split()).replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
