"""Finds dead relative links and anchors in the documentation; exits with 1 and names them.

    python tools/check_links.py [ROOT]

Looks at README.md, ARCHITECTURE.md, CHANGELOG.md and docs/*.md. Links with a scheme (https:,
mailto:) are not followed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

PAGES = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs/*.md")

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
_LINK = re.compile(r"\]\(\s*<?(?P<target>[^)<>\s]*)>?(\s+[\"'(][^)]*)?\s*\)")
_REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s+<?(?P<target>[^<>\s]+)>?")
_HTML = re.compile(r"<(?:a|img|source)\b[^>]*?\b(?:href|src|srcset)=[\"'](?P<target>[^\"']+)[\"']")
_HTML_ANCHOR = re.compile(r"<[^>]+\b(?:id|name)=[\"']([^\"']+)[\"']")
_HEADING = re.compile(r" {0,3}#{1,6}\s+(?P<title>.*?)\s*#*\s*$")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Line numbers and lines outside fenced code."""
    fence = ""
    for number, line in enumerate(text.splitlines(), start=1):
        found = _FENCE.match(line)
        if found and not fence:
            fence = found[1]
        elif found and found[1].startswith(fence) and line.strip() == found[1]:
            fence = ""
        elif not fence:
            yield number, line


def links(text: str) -> Iterator[tuple[int, str]]:
    """Line number and target of every link, picture and reference."""
    for number, line in prose(text):
        plain = _CODE.sub("", line)
        for pattern in (_LINK, _REFERENCE, _HTML):
            yield from ((number, found["target"]) for found in pattern.finditer(plain))


def anchors(text: str) -> set[str]:
    """Names that a ``#fragment`` of a page may have: its headings, as GitHub spells them."""
    found: set[str] = set()
    for _, line in prose(text):
        found.update(_HTML_ANCHOR.findall(_CODE.sub("", line)))
        heading = _HEADING.match(line)
        if heading:
            name = _slug(heading["title"])
            taken = (f"{name}-{i}" for i in range(1, len(found) + 2))
            found.add(name if name not in found else next(n for n in taken if n not in found))
    return found


def _slug(title: str) -> str:
    shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title)
    kept = re.sub(r"[^\w\- ]", "", shown.lower())
    return kept.replace(" ", "-")


def dead_links(page: Path) -> Iterator[str]:
    """One line per link of a page that leads nowhere."""
    text = page.read_text(encoding="utf-8")
    for number, target in links(text):
        if _SCHEME.match(target):
            continue
        path, _, fragment = target.partition("#")
        goal = page.parent / unquote(path) if path else page
        if not goal.exists():
            yield f"{page}:{number}: {target}: no such file"
        elif fragment and goal.suffix == ".md":
            known = anchors(goal.read_text(encoding="utf-8"))
            if unquote(fragment).lower() not in known:
                yield f"{page}:{number}: {target}: no such heading"


def main(arguments: list[str]) -> int:
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[1]
    pages = sorted(page for pattern in PAGES for page in root.glob(pattern))
    if not pages:
        print(f"check_links: no documentation in {root}", file=sys.stderr)
        return 1
    dead = [line for page in pages for line in dead_links(page)]
    for line in dead:
        print(line, file=sys.stderr)
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
