"""HTML pages of sections with text, tables and pictures; they open offline, without a server."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from lumbargrade import __version__
from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import Finding
from lumbargrade.domain.reasons import by_reason, named
from lumbargrade.domain.vocabulary import TARGETS, Condition, Grade, Level, Side, Target, plain_name
from lumbargrade.files.writing import write_text
from lumbargrade.report.text import cell_text, grouped

#: Name of the page in a folder of results.
PAGE_FILE = "index.html"
#: Keeps numbers that belong together on one line.
NBSP = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Text:
    """A paragraph; with ``code``, a preformatted block; with ``warning``, one that stands out."""

    text: str
    code: bool = False
    warning: bool = False

    @property
    def kind(self) -> str:
        return "code" if self.code else "text"


@dataclass(frozen=True)
class Link:
    """A table cell that links to a file; ``target`` is its path relative to the page."""

    text: str
    target: str

    @property
    def href(self) -> str:
        return quote(self.target)


@dataclass(frozen=True)
class Table:
    """A table; floats have four decimals, columns of numbers are aligned to the right."""

    header: Sequence[str]
    values: Sequence[Sequence[object]]
    caption: str = ""
    kind: ClassVar[str] = "table"

    @property
    def rows(self) -> list[list[str | Link]]:
        return [[v if isinstance(v, Link) else cell_text(v) for v in row] for row in self.values]

    @property
    def numeric(self) -> list[bool]:
        columns = range(len(self.header))
        return [
            all(row[i] is None or isinstance(row[i], int | float) for row in self.values)
            for i in columns
        ]


@dataclass(frozen=True)
class Figure:
    """A picture; ``source`` is relative to the page."""

    source: str
    caption: str
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class FindingsTable:
    """Findings of a study: a row per condition and side, a column per level.

    Attributes:
        findings: by target.
        truth: reference grades, shown below the predicted ones.
        absent: why other targets are not graded; a numbered list of reasons follows the table.
        by_reader: the reader's grades of absent targets.
    """

    findings: Mapping[Target, Finding]
    truth: Mapping[Target, Grade] = field(default_factory=dict)
    absent: Mapping[Target, str] = field(default_factory=dict)
    by_reader: Mapping[Target, Grade] = field(default_factory=dict)
    kind: ClassVar[str] = "findings"
    levels: ClassVar[list[str]] = [level.label for level in Level]

    @property
    def reasons(self) -> list[str]:
        """The numbered reasons why findings are absent."""
        return [f"{named(ts)}: {reason}" for reason, ts in self._by_reason.items()]

    @property
    def _by_reason(self) -> dict[str, list[Target]]:
        order = [t for condition in Condition for t in TARGETS[condition]]
        return by_reason({t: self.absent[t] for t in order if t in self.absent})

    @property
    def rows(self) -> list[tuple[str, list[dict[str, object] | None]]]:
        lines = []
        for condition in Condition:
            sides: tuple[Side | None, ...] = tuple(Side) if condition.sided else (None,)
            for side in sides:
                targets = [t for t in TARGETS[condition] if t.side is side]
                name = plain_name(targets[0].sided_condition)
                lines.append((name, [self._cell(t) for t in targets]))
        return lines

    def _cell(self, target: Target) -> dict[str, object] | None:
        finding, truth = self.findings.get(target), self.truth.get(target)
        true = {
            "truth": truth.label if truth is not None else "",
            "truth_class": truth.column if truth is not None else "",
        }
        if finding is None:
            if target not in self.absent:
                return None
            reason = self.absent[target]
            read = self.by_reader.get(target)
            number = list(self._by_reason).index(reason) + 1
            label = "" if read is None else read.label
            return {"absent": number, "all": reason, "by_reader": label, **true}
        known = [_shares(finding.probabilities)]
        if finding.calibrated is not None:
            known = [f"calibrated: {_shares(finding.calibrated)}", f"by the models: {known[0]}"]
        opinion = finding.opinion
        if opinion is not None:
            known.append(f"{opinion.grade.label} by measurement: {opinion.reason}")
        return {
            "second": opinion.grade.label if opinion is not None and finding.disputed else "",
            "second_class": opinion.grade.column if opinion is not None else "",
            "grade": finding.grade.column,
            "label": finding.grade.label,
            "percent": f"{100 * finding.shown[finding.model_grade]:.0f}",
            "model": "" if finding.by_reader is None else finding.model_grade.label,
            "all": "; ".join(known),
            "bars": [max(1, round(70 * p)) for p in finding.shown],
            "absent": 0,
            **true,
        }


def _shares(probabilities: Sequence[float]) -> str:
    return ", ".join(f"{g.label} {p:.1%}" for g, p in zip(Grade, probabilities, strict=True))


@dataclass(frozen=True)
class Card:
    """A picture with its title and text beside it.

    Attributes:
        anchor: name for links to the card.
        title, text: heading and paragraph.
        source: path of the picture relative to the page; empty if there is none.
        lines: preformatted lines below the text.
    """

    anchor: str
    title: str
    text: str
    source: str = ""
    lines: Sequence[str] = ()
    kind: ClassVar[str] = "card"


Block = Text | Table | Figure | FindingsTable | Card


@dataclass(frozen=True)
class Section:
    """A titled part of a page."""

    title: str
    blocks: Sequence[Block]


def write_page(
    path: Path, title: str, sections: Sequence[Section], lead: str = "", about: str = ""
) -> Path:
    """Write a page atomically.

    Args:
        path: the page.
        title: its title.
        sections: its content.
        lead: the paragraph below the title.
        about: what a reader must know of the models; it stands out.
    """
    template = environment().get_template("page.html")
    html = template.render(
        title=title, lead=lead, about=about, sections=sections, version=__version__
    )
    write_text(path, html)
    return path


@cache
def environment() -> Environment:
    """The templates of this package; they escape all text."""
    found = Environment(
        loader=PackageLoader("lumbargrade.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["code"] = _with_code
    return found


def script_hash(text: str) -> str:
    """The hash of an inline script or style for the content security policy."""
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _with_code(text: str) -> Markup:
    """The escaped text, with `commands` between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


_PROBLEM_COLUMNS = ("study", "series", "problem", "files", "first file", "what to do")


def problem_table(problems: Iterable[Problem]) -> Table:
    """A table of problems, one row per group; empty columns are left out."""
    rows = [
        [p.study, p.series, p.what, count if p.file else None, p.file, p.advice]
        for p, count in grouped(problems)
    ]
    kept = [i for i in range(len(_PROBLEM_COLUMNS)) if any(row[i] for row in rows)]
    return Table([_PROBLEM_COLUMNS[i] for i in kept], [[row[i] for i in kept] for row in rows])
