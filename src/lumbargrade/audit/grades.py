"""Grades that models contradict which have not seen the study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lumbargrade.audit.records import Check, Suspect, ranked
from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.vocabulary import Condition, Grade
from lumbargrade.lsdc.tables import Grades

#: A label is contradicted where every file gives it less than this probability.
UNLIKELY = 0.05
#: Most contradicted grades of a condition that are listed: what a person looks at in an hour.
MOST = 60


def check_grades(
    files: Sequence[Mapping[str, StudyPrediction]],
    grades: Grades,
    *,
    unlikely: float = UNLIKELY,
    most: int = MOST,
) -> list[Suspect]:
    """Labels that every file of out-of-fold predictions finds unlikely, per condition.

    Confident learning in its simplest form (Northcutt et al. 2021, "prune by class"): what counts
    is the probability of the label, by models that were not trained on the study. The least
    contradicting file decides.

    Args:
        files: out-of-fold predictions by study id, one mapping per file.
        grades: the labels.
        unlikely: probability below which a label is contradicted.
        most: how many are returned per condition.
    """
    found = ranked(_contradicted(files, grades, unlikely))
    return [s for c in Condition for s in [s for s in found if s.condition is c][:most]]


def _contradicted(
    files: Sequence[Mapping[str, StudyPrediction]], grades: Grades, unlikely: float
) -> Iterator[Suspect]:
    for study, known in grades.items():
        for target, label in known.items():
            said = [
                f
                for file in files
                if study in file and (f := file[study].findings.get(target)) is not None
            ]
            if len(said) < len(files) or not said:
                continue
            mildest = max(said, key=lambda f: f.probabilities[label])
            probability = mildest.probabilities[label]
            if probability >= unlikely:
                continue
            place = next((f.point for f in said if f.point is not None), None)
            yield Suspect(
                Check.GRADE,
                study,
                place.series_id if place else None,
                (target,),
                unlikely / max(probability, 1e-6),
                _reason(label, mildest, len(files)),
            )


def _reason(label: Grade, finding: Finding, files: int) -> str:
    other = finding.grade
    who = "models" if files == 1 else f"models of all {files} files"
    return (
        f"labelled {label.label}; {who} that have not seen the study give that "
        f"{finding.probabilities[label]:.1%} at most and {other.label} "
        f"{finding.probabilities[other]:.0%}"
    )


def prediction_problems(
    files: Mapping[Path, Mapping[str, StudyPrediction]], grades: Grades
) -> list[Problem]:
    """Files with predictions of other studies than those of the labels, or with none."""
    problems = []
    for path, file in files.items():
        strange = sum(study not in grades for study in file)
        if not file:
            problems.append(Problem("holds no prediction", file=str(path)))
        elif strange:
            what = f"{strange} of {len(file)} predicted studies are not in train.csv"
            problems.append(Problem(what, file=str(path)))
    return problems
