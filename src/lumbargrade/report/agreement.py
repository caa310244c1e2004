"""Agreement with reference grades and calibration, as tables and page sections of two commands.

`evaluate` and `validate` show the same tables, figures and explanations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lumbargrade.domain.vocabulary import Condition, Grade, plain_name
from lumbargrade.files.tables import known, write_table
from lumbargrade.report.page import NBSP, Block, Figure, Section, Table, Text
from lumbargrade.report.plots import draw_confusion, draw_kappa, draw_reliability
from lumbargrade.scoring.agreement import (
    ALL,
    BY_LEVEL,
    BY_SIDE,
    CALIBRATED,
    MEASURES,
    OF_CALIBRATION,
    TOO_FEW_STUDIES,
    Agreement,
    Measure,
    Part,
    human_agreement,
)
from lumbargrade.scoring.cohort import GradedFindings
from lumbargrade.scoring.measures import CURVE_BINS, ECE_BINS, ReliabilityBin, reliability_curve
from lumbargrade.scoring.resampling import FEWEST_STUDIES, RESAMPLES

CSV_HEADER = (
    *("condition", "by", "value", "studies", "findings", *(g.column for g in Grade)),
    *("measure", "estimate", "low", "high", "note"),
)
#: Measures of the overview with their headings; `MEASURES` explains each.
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
#: Measures of the parts of a condition: few columns, so that the table fits the page.
OF_PARTS = ("weighted_log_loss", "kappa", "auroc_moderate", "auroc_severe", "ece")


def measure_text(measure: Measure) -> str:
    """Such as ``0.812 (0.774, 0.851)``; a dash if undefined, then the note that says why.

    `TOO_FEW_STUDIES` is omitted: tables say it once.
    """
    text = "-"
    if math.isfinite(measure.value):
        text = f"{measure.value:.3f}"
    if math.isfinite(measure.low):
        text += f"{NBSP}({measure.low:.3f},{NBSP}{measure.high:.3f})"
    note = "" if measure.note == TOO_FEW_STUDIES else measure.note
    return f"{text} {note}".strip()


def overview_table(parts: Sequence[Part]) -> tuple[list[str], list[list[object]]]:
    """Header and rows: a row per measure, a column per part, two if it is calibrated."""
    columns = [
        (part, suffix)
        for part in parts
        for suffix in (("", CALIBRATED) if part.agreement.is_calibrated else ("",))
    ]
    header = [""]
    for part, suffix in columns:
        header.append(plain_name(part.condition) + (", calibrated" if suffix else ""))
    rows: list[list[object]] = [
        ["studies", *(_studies(part.agreement) for part, _ in columns)],
        ["findings", *(str(part.agreement.findings) for part, _ in columns)],
    ]
    for name, head in OVERVIEW.items():
        cells = [part.agreement.measures.get(name + suffix) for part, suffix in columns]
        rows.append([head, *("" if m is None else measure_text(m) for m in cells)])
    return header, rows


def _studies(a: Agreement) -> str:
    too_few = any(m.note == TOO_FEW_STUDIES for m in a.measures.values())
    return f"{a.studies} ({TOO_FEW_STUDIES})" if too_few else str(a.studies)


def parts_table(parts: Sequence[Part]) -> tuple[list[str], list[list[object]]]:
    """Header and rows: a row per part, measured on the probabilities that are shown."""
    header = [parts[0].by, "studies", "findings", *(OVERVIEW[name] for name in OF_PARTS)]
    rows: list[list[object]] = []
    for part in parts:
        a = part.agreement
        cells = [measure_text(a.shown(name)) for name in OF_PARTS]
        rows.append([part.value.replace(" ", NBSP), a.studies, a.findings, *cells])
    return header, rows


def write_metrics_csv(path: Path, parts: Sequence[Part]) -> None:
    """Write a row per part and measure, atomically; an undefined number is empty and has a note."""
    rows = []
    for part in parts:
        a = part.agreement
        start = [part.condition.value, part.by, part.value, a.studies, a.findings, *a.counts]
        for name, m in a.measures.items():
            rows.append([*start, name, *map(known, (m.value, m.low, m.high)), m.note])
    write_table(path, CSV_HEADER, rows)


def part_as_dict(part: Part) -> dict[str, Any]:
    """A part as plain data; undefined numbers are NaN."""
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


_BRACKETS = (
    f"Brackets hold the 95% interval from {RESAMPLES} bootstrap resamples of studies. Studies are "
    "resampled, not findings, because findings of one study resemble each other. With fewer than "
    f"{FEWEST_STUDIES} studies there is no interval. The predicted grade is the most probable one. "
    "A dash marks an undefined number; the reason follows it. An interval of zero width at 0 or 1 "
    "means that there were too few errors to resample; it does not mean certainty."
)
_HUMAN = (
    "Shaded bands and dotted lines show published values of kappa between human readers. The "
    "comparison is rough: those studies had other patients, other grading scales and mostly other "
    "weights of kappa; the quadratic weights used here give higher values. If kappa is far above "
    "that of the readers, check whether labels leaked into training."
)
RELIABILITY_NOTE = (
    f"Each point is one of up to {CURVE_BINS} bins with equal numbers of findings; bars are 95% "
    "bootstrap intervals by study. Below the diagonal, a grade occurs less often than its "
    f"probability says. ECE uses {ECE_BINS} bins of equal width. With few findings, chance alone "
    "makes ECE and its interval larger than zero."
)
_WEIGHTED = (
    "Models trained with the weights 1, 2, 4 of the competition's score deliberately over-predict "
    "moderate and severe."
)


def agreement_sections(graded: GradedFindings, parts: Sequence[Part]) -> list[Section]:
    """Overview, kappa of human readers, calibration, confusion matrices, parts, explanations.

    Args:
        graded: the findings that ``parts`` were measured on.
        parts: from `break_down`; at least one.
    """
    whole = [p for p in parts if p.by == ALL]
    sections = [
        Section("Agreement", [Text(_BRACKETS), Table(*overview_table(whole))]),
        Section("Human readers", _human_blocks(parts)),
        Section("Calibration", _calibration_blocks(graded, whole)),
        Section(
            "Confusion",
            [Figure(draw_confusion(parts), "findings by reference grade and predicted grade")],
        ),
    ]
    for by in dict.fromkeys([BY_LEVEL, BY_SIDE, *(p.by for p in parts if p.by != ALL)]):
        if mine := [p for p in parts if p.by == by]:
            sections.append(Section(f"By {by}", _part_tables(mine)))
    glossary = [[OVERVIEW[name], text] for name, text in MEASURES.items()]
    return [*sections, Section("Measures", [Table(("measure", "what it is"), glossary)])]


def _part_tables(parts: Sequence[Part]) -> list[Block]:
    blocks: list[Block] = []
    for condition in dict.fromkeys(p.condition for p in parts):
        mine = [p for p in parts if p.condition is condition]
        blocks.append(Table(*parts_table(mine), caption=plain_name(condition)))
    return blocks


def _human_blocks(parts: Sequence[Part]) -> list[Block]:
    shown = {p.condition for p in parts}
    bands = [b for b in human_agreement() if b.condition in shown]
    rows: list[list[object]] = []
    for b in bands:
        span = f"{b.low:.2f}" if b.low == b.high else f"{b.low:.2f} to {b.high:.2f}"
        sources = "; ".join(dict.fromkeys((b.low_source, b.high_source)))
        rows.append([plain_name(b.condition), span, sources, b.note])
    return [
        Text(_HUMAN),
        Figure(
            draw_kappa(parts, bands),
            "quadratic kappa and the published range between readers",
        ),
        Table(("condition", "kappa between readers", "published in", "note"), rows),
    ]


def _calibration_blocks(graded: GradedFindings, whole: Sequence[Part]) -> list[Block]:
    text = f"{which_probabilities(whole)} {_WEIGHTED} {RELIABILITY_NOTE}"
    measures = {p.condition: p.agreement for p in whole}
    return [Text(text), *reliability_blocks(graded, measures, ("as predicted", "calibrated"))]


def reliability_blocks(
    graded: GradedFindings, measures: Mapping[Condition, Agreement], names: tuple[str, str]
) -> list[Block]:
    """Reliability diagrams per condition and grade, and a table of the measures of calibration.

    Args:
        graded: the findings.
        measures: condition -> what was measured on its findings.
        names: names for the probabilities and for the calibrated probabilities.
    """
    curves = {condition: _curves(graded.of(condition), names) for condition in measures}
    rows: list[list[object]] = []
    for condition, a in measures.items():
        for suffix, name in zip(("", CALIBRATED), names, strict=True):
            if a.is_calibrated or not suffix:
                cells = [measure_text(a.measures[m + suffix]) for m in OF_CALIBRATION]
                rows.append([plain_name(condition), name, *cells])
    header = ("condition", "probabilities", *(OVERVIEW[name] for name in OF_CALIBRATION))
    figure = Figure(
        draw_reliability(curves), "reliability: observed share of each grade by its probability"
    )
    return [figure, Table(header, rows)]


def which_probabilities(whole: Sequence[Part]) -> str:
    """A sentence that says for which conditions the results have calibrated probabilities."""
    with_them = [plain_name(p.condition) for p in whole if p.agreement.is_calibrated]
    if not with_them:
        return "The results have no calibrated probabilities; those of the models are measured."
    if len(with_them) == len(whole):
        return "The results have calibrated probabilities; these decide the predicted grade."
    return f"The results have calibrated probabilities for {', '.join(with_them)} only."


def _curves(
    graded: GradedFindings, names: tuple[str, str]
) -> dict[str, dict[Grade, list[ReliabilityBin]]]:
    codes, studies = graded.study_codes
    sets = {names[0]: graded.probabilities}
    if graded.is_calibrated:
        sets[names[1]] = graded.calibrated
    return {
        name: {g: reliability_curve(p[:, g], graded.grades == g, codes, studies) for g in Grade}
        for name, p in sets.items()
    }
