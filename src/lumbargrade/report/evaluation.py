"""What `evaluate` leaves behind: a page, a table and a summary of results beside true grades."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumbargrade import __version__
from lumbargrade.domain.errors import NothingDone
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.files.writing import write_text
from lumbargrade.grading.results import Results
from lumbargrade.lsdc.cohort_labels import CohortLabels
from lumbargrade.report.agreement import (
    NBSP,
    agreement_sections,
    overview_table,
    part_as_dict,
    which_probabilities,
    write_metrics_csv,
)
from lumbargrade.report.page import Block, Section, Table, Text, write_page
from lumbargrade.report.text import text_table, with_null
from lumbargrade.scoring.agreement import ALL, Groups, Part, break_down
from lumbargrade.scoring.cohort import Cohort, pair
from lumbargrade.scoring.resampling import RESAMPLES, SEED

PAGE_FILE, TABLE_FILE, SUMMARY_FILE = "index.html", "metrics.csv", "metrics.json"


@dataclass(frozen=True)
class Evaluation:
    """Results measured against labels.

    Attributes:
        results: what was predicted.
        labels: path of the reference grades.
        cohort: what was paired, and what could not be.
        parts: the measures.
    """

    results: Results
    labels: Path
    cohort: Cohort
    parts: Sequence[Part]

    def counts(self) -> list[tuple[Condition, int, int, int]]:
        """Per condition: findings with a true grade that are predicted, absent, missing."""
        c = self.cohort
        return [
            (k, len(c.predicted.of(k)), c.not_graded.get(k, 0), c.missing.get(k, 0))
            for k in Condition
        ]

    def text(self) -> str:
        """The overview for a terminal."""
        whole = [p for p in self.parts if p.by == ALL]
        table = text_table(*overview_table(whole)).replace(NBSP, " ")
        return f"{table}\n{which_probabilities(whole)}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "lumbargrade": __version__,
            "results": str(self.results.path),
            "labels": str(self.labels),
            "studies": len(self.cohort.paired),
            "only_in_results": list(self.cohort.only_in_results),
            "only_in_labels": list(self.cohort.only_in_labels),
            "findings": {
                c.value: {"predicted": p, "not_graded": n, "not_in_results": m}
                for c, p, n, m in self.counts()
            },
            "fills_known": self.results.fills_known,
            "fills_scored": self.results.fills_scored,
            "bootstrap": {"resamples": RESAMPLES, "seed": SEED, "unit": "study", "level": 0.95},
            "parts": [part_as_dict(p) for p in self.parts],
        }


def evaluate(
    results: Results, labels: CohortLabels, labels_path: Path, groups: Groups
) -> Evaluation:
    """Measure results against labels.

    Args:
        results: what was predicted.
        labels: what is true.
        labels_path: for messages.
        groups: column -> value -> studies, from `groups_of`.

    Raises:
        NothingDone: if the two share no study, or no graded finding was predicted.
    """
    cohort = paired(results, labels, labels_path)
    if not len(cohort.predicted):
        raise NothingDone(
            f"nothing to measure: of the graded findings of {len(cohort.paired)} studies, "
            f"{sum(cohort.not_graded.values())} are not graded and "
            f"{sum(cohort.missing.values())} are not in {results.path}"
        )
    return Evaluation(results, labels_path, cohort, break_down(cohort.predicted, groups))


def paired(results: Results, labels: CohortLabels, labels_path: Path) -> Cohort:
    """Results and labels, study by study.

    Raises:
        NothingDone: if they share no study.
    """
    cohort = pair(results.predictions, labels.grades)
    if not cohort.paired:
        raise NothingDone(
            f"no study stands in both: {results.path} has {some(cohort.only_in_results, 3)}, "
            f"{labels_path} has {some(cohort.only_in_labels, 3)}; ids must be equal, "
            "and `grade` names studies by their StudyInstanceUID"
        )
    return cohort


def write_evaluation(out: Path, evaluation: Evaluation) -> None:
    """Write the page, the table and the summary, each atomically."""
    content = with_null(evaluation.as_dict())
    write_metrics_csv(out / TABLE_FILE, evaluation.parts)
    write_text(out / SUMMARY_FILE, json.dumps(content, indent=1, allow_nan=False) + "\n")
    sections = agreement_sections(evaluation.cohort.predicted, evaluation.parts)
    sections.insert(1, Section("What was measured", _coverage(evaluation)))
    lead = (
        f"{evaluation.results.path.name} against {evaluation.labels.name}: {_studies(evaluation)}."
    )
    write_page(out / PAGE_FILE, "Evaluation", sections, lead)


def _studies(evaluation: Evaluation) -> str:
    count = len(evaluation.cohort.paired)
    more = (
        f", {evaluation.cohort.unpaired} in one of the two only"
        if evaluation.cohort.unpaired
        else ""
    )
    return f"{count} {'study' if count == 1 else 'studies'} in both{more}"


def _coverage(evaluation: Evaluation) -> list[Block]:
    rows: list[list[object]] = [
        [condition.value.replace("_", " "), *counts] for condition, *counts in evaluation.counts()
    ]
    note = (
        "Not graded: no model predicted it, and the results say why, or `submit` filled it with a "
        "constant. It is not measured."
    )
    if evaluation.results.fills_scored:
        note = "What `submit` filled with a constant is measured as a prediction."
    if not evaluation.results.fills_known:
        note = (
            "These results do not say which findings no model predicted, so all of them are "
            "measured as predictions."
        )
    header = ("reference grades", "predicted", "not graded", "not in the results")
    blocks: list[Block] = [Text(note), Table(header, rows)]
    for studies, where in (
        (evaluation.cohort.only_in_results, "the results"),
        (evaluation.cohort.only_in_labels, "the labels"),
    ):
        if studies:
            blocks.append(Text(f"Only in {where}: {some(studies)}"))
    return blocks


def log_unpaired(log: logging.Logger, cohort: Cohort, results: Results, labels: Path) -> None:
    """Name the studies that only one of the two has, as errors, and what follows from the file."""
    for studies, where in (
        (cohort.only_in_results, results.path),
        (cohort.only_in_labels, labels),
    ):
        if studies:
            log.error("only in %s: %s", where, some(studies))
    if not results.fills_known:
        log.warning(
            "%s does not say which findings no model predicted: all are measured", results.path
        )


def some(studies: Sequence[str], most: int = 20) -> str:
    """How many, and the first of them by name; all stand in the summary."""
    more = f" and {len(studies) - most} more" if len(studies) > most else ""
    count = "1 study" if len(studies) == 1 else f"{len(studies)} studies"
    return f"{count} ({', '.join(studies[:most])}{more})"
