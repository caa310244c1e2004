"""Sections of a page on agreement and calibration, for `evaluate` and `validate` alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lumbargrade.domain.vocabulary import Condition, Grade
from lumbargrade.files.tables import known, write_table
from lumbargrade.report.page import Block, Figure, Section, Table, Text
from lumbargrade.report.plots import (
    draw_confusion,
    draw_kappa,
    draw_reliability,
    plain_name,
)
from lumbargrade.scoring.agreement import (
    ALL,
    BY_LEVEL,
    BY_SIDE,
    CALIBRATED,
    MEASURES,
    OF_CALIBRATION,
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
    rows = []
    for part in parts:
        a = part.agreement
        start = [part.condition.value, part.by, part.value, a.studies, a.findings, *a.counts]
        for name, m in a.measures.items():
            rows.append([*start, name, *map(known, (m.value, m.low, m.high)), m.note])
    write_table(path, CSV_HEADER, rows)


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


_BRACKETS = (
    f"Brackets: 95% interval of {RESAMPLES} bootstrap resamples of studies (not of findings: those "
    f"of one study are alike); none for fewer than {FEWEST_STUDIES} studies. The grade is the most "
    "probable one. A dash: undefined, with the reason beside it. An interval of no width at 0 or 1 "
    "comes of too few errors to resample, not of certainty."
)
_HUMAN = (
    "Shaded and dotted: kappa between human readers as published. A comparison with them is rough: "
    "other patients, other scales, mostly other weights of kappa than the quadratic ones used here,"
    " which come out higher. A kappa far above the readers' is a reason to look for leaked labels, "
    "not to celebrate."
)
RELIABILITY_NOTE = (
    f"Points: up to {CURVE_BINS} bins of equal numbers of findings; bars: 95% bootstrap interval by"
    " study. Below the diagonal a grade is true less often than its probability says. ECE is over "
    f"{ECE_BINS} bins of equal width; with few findings chance alone makes it, and its interval, "
    "larger than zero."
)
_WEIGHTED = (
    "Models trained with the weights 1, 2, 4 of the competition's score give moderate and severe "
    "more probability than they are true, on purpose."
)


def agreement_sections(graded: GradedFindings, parts: Sequence[Part]) -> list[Section]:
    """Overview, kappa beside human readers, calibration, confusion matrices, parts, glossary.

    Args:
        graded: the findings that ``parts`` were measured on.
        parts: from `break_down`; at least one.
    """
    whole = [p for p in parts if p.by == ALL]
    sections = [
        Section("Agreement", [Text(_BRACKETS), Table(*overview_table(whole))]),
        Section("Beside human readers", _human_blocks(parts)),
        Section("Calibration", _calibration_blocks(graded, whole)),
        Section(
            "Confusion",
            [Figure(draw_confusion(parts), "findings by true grade and the grade that is shown")],
        ),
    ]
    for by in dict.fromkeys([BY_LEVEL, BY_SIDE, *(p.by for p in parts if p.by != ALL)]):
        if mine := [p for p in parts if p.by == by]:
            sections.append(Section(f"By {by}", _part_tables(mine)))
    glossary = Table(("measure", "what it is"), measure_explanations())
    return [*sections, Section("Measures", [glossary])]


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
        Figure(draw_kappa(parts, bands), "quadratic kappa, and the readers' published range"),
        Table(("condition", "kappa between readers", "published in", "note"), rows),
    ]


def _calibration_blocks(graded: GradedFindings, whole: Sequence[Part]) -> list[Block]:
    text = f"{which_probabilities(whole)} {_WEIGHTED} {RELIABILITY_NOTE}"
    measures = {p.condition: p.agreement for p in whole}
    return [Text(text), *reliability_blocks(graded, measures, ("as predicted", "calibrated"))]


def reliability_blocks(
    graded: GradedFindings, measures: Mapping[Condition, Agreement], names: tuple[str, str]
) -> list[Block]:
    """Reliability diagrams of each condition and grade, and the measures of calibration.

    Args:
        graded: the findings.
        measures: condition -> what was measured on its findings.
        names: what to call their probabilities and their calibrated probabilities.
    """
    curves = {condition: _curves(graded.of(condition), names) for condition in measures}
    rows: list[list[object]] = []
    for condition, a in measures.items():
        for suffix, name in zip(("", CALIBRATED), names, strict=True):
            if a.is_calibrated or not suffix:
                cells = [measure_text(a.measures[m + suffix]) for m in OF_CALIBRATION]
                rows.append([plain_name(condition), name, *cells])
    header = ("condition", "probabilities", *(OVERVIEW[name] for name in OF_CALIBRATION))
    figure = Figure(draw_reliability(curves), "reliability of each grade's probability")
    return [figure, Table(header, rows)]


def which_probabilities(whole: Sequence[Part]) -> str:
    """A sentence on whether the results have calibrated probabilities."""
    with_them = [plain_name(p.condition) for p in whole if p.agreement.is_calibrated]
    if not with_them:
        return "The results have no calibrated probabilities; these are the models' own."
    if len(with_them) == len(whole):
        return (
            "The results have calibrated probabilities, which also give the grades that are shown."
        )
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
