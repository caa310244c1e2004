"""Pages of all studies of a grading run: worst grades, what was not graded, search and order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from lumbargrade import __version__
from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import ModelSource
from lumbargrade.domain.vocabulary import TABLE_ORDER, Grade, plain_name
from lumbargrade.files.writing import write_text
from lumbargrade.grading.findings_file import NOTICE
from lumbargrade.report.page import (
    PAGE_FILE,
    Section,
    Table,
    environment,
    problem_table,
    script_hash,
)
from lumbargrade.report.study import TABLE_FILE
from lumbargrade.report.study_page import REPORT_FILE
from lumbargrade.report.text import counted

#: Studies on one page of the overview; a browser is slow with much longer tables.
PAGE_ROWS = 1000
#: Names of the pages after the first.
FURTHER_PAGE = re.compile(r"index-\d+\.html")

#: Conditions with their side, in the order of the columns.
CONDITIONS = tuple(dict.fromkeys(t.sided_condition for t in TABLE_ORDER))


class Worst(NamedTuple):
    """The worst grade of a condition and side, None if it is not graded, and in words."""

    grade: Grade | None
    text: str


@dataclass(frozen=True)
class StudyLine:
    """What the overview says of one graded study.

    Attributes:
        folder: name of the folder with its results.
        study_id: its id.
        counts: number of findings by grade, and of those that are not graded.
        worst: the worst grade of each condition and side of `CONDITIONS`.
        numbering: how certain the names of the levels are; empty if the models do not decide this.
        numbering_certain: whether they are certain; None if the models do not decide this.
        problems: number of problems of its images.
        images_lost: whether images were left out because of a problem.
        sources: the models.
        about: what a reader must know of the models; see `Predictor.about`.
        picture: path of a picture in the folder; empty if there is none.
        reused: whether an earlier run had written the results.
    """

    folder: str
    study_id: str
    counts: Mapping[str, int]
    worst: tuple[Worst, ...]
    numbering: str
    numbering_certain: bool | None
    problems: int
    images_lost: bool
    sources: tuple[ModelSource, ...]
    about: str
    picture: str = ""
    reused: bool = False

    @property
    def to_check(self) -> bool:
        """Whether numbering, images or absent findings need a look."""
        absent = self.counts["not_graded"] > 0
        return self.numbering_certain is False or self.images_lost or absent or self.problems > 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "study_id": self.study_id,
            "folder": self.folder,
            "reused": self.reused,
            **self.counts,
            "problems": self.problems,
            "images_lost": self.images_lost,
            "numbering_certain": self.numbering_certain,
        }


def write_pages(
    out: Path,
    lines: Sequence[StudyLine],
    failed: Sequence[Problem],
    problems: Sequence[Problem],
) -> None:
    """Write the pages of the overview atomically; further pages of an earlier run are removed.

    Args:
        out: gets ``index.html``, and ``index-2.html`` and so on if there are many studies.
        lines: the graded studies.
        failed: studies and paths that could not be graded.
        problems: problems of files that belong to no study.
    """
    starts = range(0, len(lines), PAGE_ROWS)
    names = [PAGE_FILE if i == 0 else f"index-{i + 1}.html" for i in range(len(starts))]
    ranges = [f"{s + 1} to {min(s + PAGE_ROWS, len(lines))}" for s in starts]
    pages = list(zip(ranges, names, strict=True))
    template, script = environment().get_template("overview.html"), _script()
    for start, (text, name) in zip(starts, pages, strict=True):
        html = template.render(
            title="Graded studies",
            heading="Studies" if len(pages) == 1 else f"Studies {text}",
            notice=NOTICE,
            about=" ".join(dict.fromkeys(line.about for line in lines if line.about)),
            counted=_counted(lines, failed),
            pages=pages,
            here=name,
            beside=_beside(failed, problems) if name == PAGE_FILE else [],
            conditions=[plain_name(c) for c in CONDITIONS],
            numbered=any(line.numbering for line in lines),
            lines=lines[start : start + PAGE_ROWS],
            report=REPORT_FILE,
            table=TABLE_FILE,
            version=__version__,
            script=Markup(script),
            script_hash=script_hash(script),
        )
        write_text(out / name, html)
    for path in out.iterdir():
        if FURTHER_PAGE.fullmatch(path.name) and path.name not in names:
            path.unlink()  # of an earlier run with more studies


@cache
def _script() -> str:
    return files("lumbargrade.report").joinpath("viewer/overview.js").read_text(encoding="utf-8")


def _counted(lines: Sequence[StudyLine], failed: Sequence[Problem]) -> str:
    """How many studies there are, and how many of them need a look."""
    severe = sum(line.counts["severe"] > 0 for line in lines)
    uncertain = sum(line.numbering_certain is False for line in lines)
    parts = [f"{severe} with a severe finding"]
    parts += [f"{uncertain} with an uncertain numbering"] if uncertain else []
    said = f"{counted(len(lines), 'study', 'studies')} graded: {', '.join(parts)}."
    return f"{said} {len(failed)} could not be graded." if failed else said


def _beside(failed: Sequence[Problem], problems: Sequence[Problem]) -> list[Section]:
    """What could not be graded, above the studies."""
    found = []
    if failed:
        rows = [[p.study, p.what, p.advice] for p in failed]
        title = f"Not graded: {counted(len(failed), 'study or path', 'studies and paths')}"
        found.append(Section(title, [Table(("study", "problem", "what to do"), rows)]))
    if problems:
        title = f"Files without a study: {counted(len(problems), 'problem', 'problems')}"
        found.append(Section(title, [problem_table(problems)]))
    return found
