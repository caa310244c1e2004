"""Measures as cells, table rows and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lumbargrade.domain.files import write_text
from lumbargrade.domain.vocabulary import Grade
from lumbargrade.scoring.agreement import CALIBRATED, MEASURES, Measure
from lumbargrade.scoring.breakdown import Part

CSV_HEADER = (
    *("condition", "by", "value", "studies", "findings", *(g.column for g in Grade)),
    *("measure", "estimate", "low", "high", "note"),
)
#: Keeps a figure and its interval on one line.
NBSP = "\N{NO-BREAK SPACE}"
#: Measures of the overview and its heads; `MEASURES` tells what each is.
OVERVIEW = {
    "weighted_log_loss": "log loss 1/2/4",
    "log_loss": "log loss",
    "kappa": "kappa",
    "auroc_moderate": "AUROC moderate+",
    "auroc_severe": "AUROC severe",
    "balanced_accuracy": "balanced accuracy",
    "ece": "ECE",
    "ece_every_grade": "ECE every grade",
}
#: For parts of a condition: fewer columns, so that a table fits a page.
OF_PARTS = ("weighted_log_loss", "kappa", "auroc_moderate", "auroc_severe", "ece")


def measure_text(measure: Measure) -> str:
    """``0.812 (0.774, 0.851)``; a dash where undefined; after it why anything is missing."""
    text = "-"
    if math.isfinite(measure.value):
        text = f"{measure.value:.3f}"
    if math.isfinite(measure.low):
        text += f"{NBSP}({measure.low:.3f},{NBSP}{measure.high:.3f})"
    return f"{text} {measure.note}".strip()


def overview_table(parts: Sequence[Part]) -> tuple[list[str], list[list[object]]]:
    """Header and rows: a row per measure; a column per part, two where it is calibrated."""
    columns = [
        (part, suffix)
        for part in parts
        for suffix in (("", CALIBRATED) if part.agreement.is_calibrated else ("",))
    ]
    header = [""]
    for part, suffix in columns:
        header.append(part.condition.value.replace("_", " ") + (", calibrated" if suffix else ""))
    rows: list[list[object]] = [
        ["studies", *(str(part.agreement.studies) for part, _ in columns)],
        ["findings", *(str(part.agreement.findings) for part, _ in columns)],
    ]
    for name, head in OVERVIEW.items():
        cells = [part.agreement.measures.get(name + suffix) for part, suffix in columns]
        rows.append([head, *("" if m is None else measure_text(m) for m in cells)])
    return header, rows


def parts_table(parts: Sequence[Part]) -> tuple[list[str], list[list[object]]]:
    """Header and rows: a row per part, named by its value; of the probabilities that are shown."""
    header = [parts[0].by, "studies", "findings", *(OVERVIEW[name] for name in OF_PARTS)]
    rows: list[list[object]] = []
    for part in parts:
        a = part.agreement
        cells = [measure_text(a.shown(name)) for name in OF_PARTS]
        rows.append([part.value.replace(" ", NBSP), a.studies, a.findings, *cells])
    return header, rows


def write_metrics_csv(path: Path, parts: Sequence[Part]) -> None:
    """Write a row per part and measure, atomically; what is undefined is empty, with its note."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for part in parts:
        a = part.agreement
        start = [part.condition.value, part.by, part.value, a.studies, a.findings, *a.counts]
        for name, m in a.measures.items():
            numbers = [repr(float(v)) if math.isfinite(v) else "" for v in (m.value, m.low, m.high)]
            writer.writerow([*start, name, *numbers, m.note])
    write_text(path, buffer.getvalue())


def part_as_dict(part: Part) -> dict[str, Any]:
    """A part as plain data; numbers that are undefined stay nan."""
    a = part.agreement
    return {
        "condition": part.condition.value,
        "by": part.by,
        "value": part.value,
        "studies": a.studies,
        "findings": a.findings,
        "counts": dict(zip((g.column for g in Grade), a.counts, strict=True)),
        "confusion": [list(row) for row in a.confusion],
        "measures": {name: asdict(m) for name, m in a.measures.items()},
    }


def measure_explanations() -> list[list[object]]:
    """What each measure is, as table rows."""
    return [[OVERVIEW[name], text] for name, text in MEASURES.items()]
