"""What the benchmarks share: numbers, tables and figures in Markdown, progress, the processor."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

Row = dict[str, Any]


def markdown_table(header: Sequence[str], cells: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table whose first columns are words, on the left; the others are numbers, on the right.

    Raises:
        ValueError: if a row has another number of cells than the header.
    """
    for row in cells:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} cells under {len(header)} headings: {row}")
    rule = [*["---"] * words, *["--:"] * (len(header) - words)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *cells))


def number(value: float) -> str:
    """Three significant digits, never in powers of ten."""
    if value >= 100:
        return f"{value:,.0f}"
    digits = 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}"


def ratio(value: float) -> str:
    """A ratio to a baseline; two digits are all that timings are worth."""
    return f"{value:.0f}" if value >= 9.95 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


#: The part of a document between these lines is replaced by each run.
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def with_figures(document: Path, figures: str) -> str:
    """A document with these figures instead of those that it has.

    Raises:
        ValueError: if the document has lost the lines around them.
    """
    before, begin, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document}: the lines {BEGIN} and {END} are needed")
    return f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}"


def progress(text: str) -> None:
    """Print a line for whoever waits."""
    print(text, file=sys.stderr, flush=True)


def processor() -> str:
    """The processor's name where the system tells, else its architecture."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
