"""What a command prints (tables, problems, a last line of JSON) and the JSON that it writes."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lumbargrade.domain.errors import Problem
from lumbargrade.files.writing import write_text


def text_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns aligned with spaces: numbers to the right with four decimals, words to the left."""
    cells = [[cell_text(v) for v in row] for row in rows]
    numeric = [
        all(isinstance(row[i], int | float) or row[i] is None for row in rows)
        for i in range(len(header))
    ]
    widths = [max(len(str(line[i])) for line in [header, *cells]) for i in range(len(header))]

    def line(values: Sequence[str]) -> str:
        parts = [
            v.rjust(w) if right else v.ljust(w)
            for v, w, right in zip(values, widths, numeric, strict=True)
        ]
        return "  ".join(parts).rstrip()

    rule = "  ".join("-" * w for w in widths)
    return "\n".join([line(list(header)), rule, *(line(row) for row in cells)])


def cell_text(value: object) -> str:
    """Text of a table cell: None is empty, NaN and infinity are a dash."""
    if value is None:
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def counted(count: int, one: str, many: str) -> str:
    """A number with its noun, such as "1 study" or "3 studies"."""
    return f"{count} {one if count == 1 else many}"


def grouped(problems: Iterable[Problem]) -> list[tuple[Problem, int]]:
    """Group problems that differ only in their file: the first of each group and the group's size.

    So a problem of many files of a series is reported once.
    """
    groups: dict[tuple[str, str, str, str, bool], list[Problem]] = {}
    for p in problems:
        groups.setdefault((p.study, p.series, p.what, p.advice, p.fatal), []).append(p)
    return [(same[0], len(same)) for same in groups.values()]


def log_problems(log: logging.Logger, problems: Iterable[Problem]) -> None:
    """Log a line per group of problems: an error if something was left out, else a warning."""
    for problem, count in grouped(problems):
        more = f" (and {count - 1} more)" if count > 1 else ""
        log.log(logging.ERROR if problem.fatal else logging.WARNING, "%s%s", problem, more)


def json_line(value: Any) -> str:
    """One line of strict JSON, in which NaN and infinity are null."""
    return json.dumps(with_null(value), allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON atomically; NaN and infinity are null."""
    write_text(path, json.dumps(with_null(value), indent=1, allow_nan=False) + "\n")


def with_null(value: Any) -> Any:
    """The same plain data with None for NaN and infinity, which JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: with_null(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [with_null(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
