"""What a command prints: plain-text tables, and its last line as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any


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
    """A value as a table shows it: None is empty, a number that is not finite a dash."""
    if value is None:
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def json_line(value: Any) -> str:
    """One line of strict JSON; a number that is not one becomes null: JSON has no word for it."""
    return json.dumps(with_null(value), allow_nan=False)


def with_null(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: with_null(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [with_null(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
