"""Made cohorts: grades drawn from the probabilities that predict them, and files that hold them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lumbargrade.domain.vocabulary import FINDINGS, Grade, Target
from lumbargrade.scoring.cohort import GradedFindings


def drawn(studies: int = 60, seed: int = 3, sharpness: float = 1.0) -> GradedFindings:
    """All 25 findings of some studies; each grade is drawn from its own probabilities.

    Args:
        studies: how many.
        seed: of the draw.
        sharpness: power the probabilities are raised to after the draw; 1 leaves them calibrated.
    """
    rng = np.random.default_rng(seed)
    shift = np.repeat(rng.normal(0, 0.7, studies), len(FINDINGS))  # findings of a study are alike
    logits = rng.normal([1.5, 0.0, -0.8], 1.2, (studies * len(FINDINGS), 3))
    logits[:, 2] += shift
    p = np.exp(logits)
    p /= p.sum(axis=1, keepdims=True)
    grades = (rng.random((len(p), 1)) > p.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    p = p**sharpness
    p /= p.sum(axis=1, keepdims=True)
    names = [f"1.2.840.{1000 + i}" for i in range(studies)]
    return GradedFindings(
        studies=np.repeat(np.array(names), len(FINDINGS)),
        targets=np.tile(np.arange(len(FINDINGS)), studies),
        probabilities=p,
        grades=grades.astype(np.intp),
        calibrated=np.full_like(p, np.nan),
    )


def targets_of(graded: GradedFindings) -> list[Target]:
    return [FINDINGS[i] for i in graded.targets]


def write_labels(
    path: Path, graded: GradedFindings, properties: Mapping[str, Sequence[object]] | None = None
) -> None:
    """The true grades in the layout of ``train.csv``, properties as columns after them."""
    extra = properties or {}
    grades: dict[str, dict[str, str]] = {}
    for study, target, grade in zip(graded.studies, targets_of(graded), graded.grades, strict=True):
        grades.setdefault(str(study), {})[target.column] = Grade(grade).label
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["study_id", *(t.column for t in FINDINGS), *extra])
        for i, (study, row) in enumerate(grades.items()):
            cells = [row.get(t.column, "") for t in FINDINGS]
            writer.writerow([study, *cells, *(values[i] for values in extra.values())])


def write_findings_table(
    path: Path, graded: GradedFindings, absent: Sequence[Target] = (), *, old: bool = False
) -> None:
    """The predictions in the layout of `grade`'s findings.csv, without places.

    Args:
        absent: targets that are not graded.
        old: as earlier versions wrote them, with a prevalence and a mark in a column ``filled``.
    """
    names = [g.column for g in Grade]
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        calibrated = [f"calibrated_{name}" for name in names]
        writer.writerow(
            ["study_id", "finding", *names, *calibrated, "filled" if old else "not_graded"]
        )
        for study, target, p, q in zip(
            graded.studies,
            targets_of(graded),
            graded.probabilities,
            graded.calibrated,
            strict=True,
        ):
            shown = [f"{v:.6f}" if np.isfinite(v) else "" for v in q]
            values = [f"{v:.6f}" for v in p]
            mark = ("yes" if target in absent else "no") if old else ""
            if target in absent and not old:
                values, shown, mark = [""] * 3, [""] * 3, "no usable series"
            writer.writerow([study, target.column, *values, *shown, mark])


def write_submission_table(path: Path, graded: GradedFindings) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["row_id", *(g.column for g in Grade)])
        for study, target, p in zip(
            graded.studies, targets_of(graded), graded.probabilities, strict=True
        ):
            writer.writerow([f"{study}_{target.column}", *p])
