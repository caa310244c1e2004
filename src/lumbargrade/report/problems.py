"""Problems for people: what was said of many files of a series is said once."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from lumbargrade.domain.errors import Problem
from lumbargrade.report.page import Table

_COLUMNS = ("study", "series", "what", "files", "first file", "what to do")


def grouped(problems: Iterable[Problem]) -> list[tuple[Problem, int]]:
    """The first of each group of problems that differ in the file only, and how many there are."""
    groups: dict[tuple[str, str, str, str, bool], list[Problem]] = {}
    for p in problems:
        groups.setdefault((p.study, p.series, p.what, p.advice, p.fatal), []).append(p)
    return [(same[0], len(same)) for same in groups.values()]


def problem_table(problems: Iterable[Problem]) -> Table:
    """Problems as a table, a row per group; columns in which nothing stands are left out."""
    rows = [
        [p.study, p.series, p.what, count if p.file else None, p.file, p.advice]
        for p, count in grouped(problems)
    ]
    kept = [i for i in range(len(_COLUMNS)) if any(row[i] for row in rows)]
    return Table([_COLUMNS[i] for i in kept], [[row[i] for i in kept] for row in rows])


def log_problems(log: logging.Logger, problems: Iterable[Problem]) -> None:
    """A line per group: an error where something was left out, else a warning."""
    for problem, count in grouped(problems):
        more = f" (and {count - 1} more)" if count > 1 else ""
        log.log(logging.ERROR if problem.fatal else logging.WARNING, "%s%s", problem, more)
