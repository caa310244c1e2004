"""Check of grades against out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lumbargrade.audit.records import Check, Suspect, ranked
from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.vocabulary import Condition, Grade
from lumbargrade.lsdc.tables import Grades

#: A label is contradicted if every file gives it a probability below this.
UNLIKELY = 0.05
#: Largest number of listed grades per condition: as many as a person can review in an hour.
MOST = 60


def check_grades(
    files: Sequence[Mapping[str, StudyPrediction]],
    grades: Grades,
    *,
    unlikely: float = UNLIKELY,
    most: int = MOST,
) -> list[Suspect]:
    """Find labels that every file of out-of-fold predictions gives a low probability.

    This is the simplest form of confident learning (Northcutt et al. 2021, "prune by class"): it
    uses only the probability of the label. The file with the highest probability decides.

    Args:
        files: out-of-fold predictions by study id, one mapping per file.
        grades: the labels.
        unlikely: a label with a lower probability is contradicted.
        most: largest number of suspects per condition.
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
    who = "out-of-fold models" + ("" if files == 1 else f" of all {files} files")
    return (
        f"labelled {label.label}; {who} give it at most {finding.probabilities[label]:.1%}, and "
        f"{other.label} {finding.probabilities[other]:.0%}"
    )


def prediction_problems(
    files: Mapping[Path, Mapping[str, StudyPrediction]], grades: Grades
) -> list[Problem]:
    """Files without predictions, or with predictions of studies that have no labels."""
    problems = []
    for path, file in files.items():
        strange = sum(study not in grades for study in file)
        if not file:
            problems.append(Problem("no prediction in the file", file=str(path)))
        elif strange:
            what = f"{strange} of {len(file)} predicted studies are not in train.csv"
            problems.append(Problem(what, file=str(path)))
    return problems
