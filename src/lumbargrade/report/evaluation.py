"""Result of `evaluate`: predicted against reference grades, as a page, a table and a summary."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumbargrade import __version__
from lumbargrade.domain.errors import NothingDone
from lumbargrade.domain.vocabulary import Condition, plain_name
from lumbargrade.grading.results import Results
from lumbargrade.lsdc.cohort_labels import CohortLabels
from lumbargrade.report.agreement import (
    agreement_sections,
    overview_table,
    part_as_dict,
    which_probabilities,
    write_metrics_csv,
)
from lumbargrade.report.page import NBSP, PAGE_FILE, Block, Section, Table, Text, write_page
from lumbargrade.report.text import counted, text_table, write_json
from lumbargrade.scoring.agreement import ALL, Groups, Part, break_down
from lumbargrade.scoring.cohort import Cohort, pair
from lumbargrade.scoring.resampling import RESAMPLES, SEED

TABLE_FILE, SUMMARY_FILE = "metrics.csv", "metrics.json"


@dataclass(frozen=True)
class Evaluation:
    """Results measured against reference grades.

    Attributes:
        results: the predictions.
        labels: path of the reference grades.
        cohort: paired studies, and those that only one of the two has.
        parts: the measures.
    """

    results: Results
    labels: Path
    cohort: Cohort
    parts: Sequence[Part]

    def counts(self) -> list[tuple[Condition, int, int, int]]:
        """Per condition, how many graded findings are predicted, not graded, not in the results."""
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
    """Measure results against reference grades.

    Args:
        results: the predictions.
        labels: the reference grades.
        labels_path: their file, for messages.
        groups: column -> value -> studies, from `groups_of`.

    Raises:
        NothingDone: if the two share no study, or if no finding with a reference grade was
            predicted.
    """
    cohort = paired(results, labels, labels_path)
    if not len(cohort.predicted):
        raise NothingDone(
            "nothing to measure: of the findings with a reference grade in "
            f"{counted(len(cohort.paired), 'study', 'studies')}, "
            f"{sum(cohort.not_graded.values())} are not graded and "
            f"{sum(cohort.missing.values())} are missing in {results.path}"
        )
    return Evaluation(results, labels_path, cohort, break_down(cohort.predicted, groups))


def paired(results: Results, labels: CohortLabels, labels_path: Path) -> Cohort:
    """Pair results with reference grades by study.

    Raises:
        NothingDone: if they share no study.
    """
    cohort = pair(results.predictions, labels.grades)
    if not cohort.paired:
        raise NothingDone(
            f"no study is in both files: {results.path} has {some(cohort.only_in_results, 3)}, "
            f"{labels_path} has {some(cohort.only_in_labels, 3)}; use the same ids in both "
            "(`grade` names studies by their StudyInstanceUID)"
        )
    return cohort


def write_evaluation(out: Path, evaluation: Evaluation) -> None:
    """Write the page, the table and the summary, each atomically."""
    write_metrics_csv(out / TABLE_FILE, evaluation.parts)
    write_json(out / SUMMARY_FILE, evaluation.as_dict())
    sections = agreement_sections(evaluation.cohort.predicted, evaluation.parts)
    sections.insert(1, Section("What was measured", _coverage(evaluation)))
    lead = (
        f"{evaluation.results.path.name} against {evaluation.labels.name}: {_studies(evaluation)}."
    )
    write_page(out / PAGE_FILE, "Evaluation", sections, lead)


def _studies(evaluation: Evaluation) -> str:
    cohort = evaluation.cohort
    more = f", {cohort.unpaired} in only one of the two" if cohort.unpaired else ""
    return f"{counted(len(cohort.paired), 'study', 'studies')} in both{more}"


def _coverage(evaluation: Evaluation) -> list[Block]:
    rows: list[list[object]] = [
        [plain_name(condition), *counts] for condition, *counts in evaluation.counts()
    ]
    note = (
        "Findings that are not graded are not measured: no model predicted them (the results say "
        "why), or `submit` filled them with a constant."
    )
    if evaluation.results.fills_scored:
        note = "Constants with which `submit` filled rows are measured as predictions."
    if not evaluation.results.fills_known:
        note = (
            "These results do not say which findings no model predicted, so all findings are "
            "measured as predictions."
        )
    header = ("condition", "predicted", "not graded", "not in the results")
    blocks: list[Block] = [
        Text(f"Numbers of findings with a reference grade. {note}"),
        Table(header, rows),
    ]
    for studies, where in (
        (evaluation.cohort.only_in_results, "the results"),
        (evaluation.cohort.only_in_labels, "the reference grades"),
    ):
        if studies:
            blocks.append(Text(f"Only in {where}: {some(studies)}"))
    return blocks


def log_unpaired(log: logging.Logger, cohort: Cohort, results: Results, labels: Path) -> None:
    """Log the studies that only one of the two has, and warn if filled rows are unknown."""
    for studies, where in (
        (cohort.only_in_results, results.path),
        (cohort.only_in_labels, labels),
    ):
        if studies:
            log.error("only in %s: %s", where, some(studies))
    if not results.fills_known:
        log.warning(
            "%s does not say which findings no model predicted; all are measured", results.path
        )


def some(studies: Sequence[str], most: int = 20) -> str:
    """The number of studies and the ids of the first; the summary lists all."""
    more = f" and {len(studies) - most} more" if len(studies) > most else ""
    return f"{counted(len(studies), 'study', 'studies')} ({', '.join(studies[:most])}{more})"
