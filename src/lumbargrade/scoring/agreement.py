"""Agreement of predictions with the reference grades, with intervals, overall and by part."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.vocabulary import FINDINGS, Condition, Grade, Level, Side
from lumbargrade.files.tables import finite, parse_table
from lumbargrade.scoring.cohort import GradedFindings
from lumbargrade.scoring.measures import (
    GRADES,
    Floats,
    Measurer,
    auroc,
    balanced_accuracy,
    confusion,
    every_grade_error,
    log_loss,
    quadratic_kappa,
    top_grade_error,
)
from lumbargrade.scoring.resampling import (
    FEWEST_STUDIES,
    RESAMPLES,
    SEED,
    percentile_interval,
    study_weights,
)


@dataclass(frozen=True)
class HumanBand:
    """Published range of kappa between readers.

    Attributes:
        condition: the condition that they graded.
        low, high: the range; equal if only one figure is published.
        low_source, high_source: the publication of each end.
        note: how it was measured, and its limits.
    """

    condition: Condition
    low: float
    high: float
    low_source: str
    high_source: str
    note: str


def human_agreement() -> list[HumanBand]:
    """Read the published ranges from ``scoring/data/human_agreement.csv``."""
    file = resources.files("lumbargrade.scoring") / "data" / "human_agreement.csv"
    return [
        HumanBand(
            row.read(Condition, "condition"),
            row.read(finite, "low"),
            row.read(finite, "high"),
            row["low_source"],
            row["high_source"],
            row["note"],
        )
        for row in parse_table(file.read_text(encoding="utf-8"), origin=file.name)
    ]


#: Measure -> its description, in the order in which they are shown.
MEASURES: dict[str, str] = {
    "weighted_log_loss": "log loss with weights 1, 2, 4 by reference grade",
    "log_loss": "log loss, all findings with equal weight",
    "kappa": "Cohen's kappa with quadratic weights",
    "auroc_moderate": "AUROC, moderate or severe against normal/mild",
    "auroc_severe": "AUROC, severe against the others",
    "balanced_accuracy": "mean over grades of the share that is predicted correctly",
    "ece": "expected calibration error of the most probable grade",
    "ece_every_grade": "expected calibration error, mean over the three grades",
}
#: Measures that a calibration should improve.
OF_CALIBRATION = ("log_loss", "ece", "ece_every_grade")
#: Suffix of the names of measures of calibrated probabilities.
CALIBRATED = "_calibrated"
#: Note of a measure that has no interval because there are too few studies.
TOO_FEW_STUDIES = f"no interval: fewer than {FEWEST_STUDIES} studies"
#: The weighted score needs probabilities that follow its weights; calibrated ones do not.
_NOT_CALIBRATED = "weighted_log_loss"


@dataclass(frozen=True)
class Measure:
    """A figure with its 95% interval.

    Attributes:
        value: the figure; nan if it is undefined.
        low, high: percentile bootstrap interval, resampled by study; nan if there is none.
        note: why the value or the interval is missing; empty if both are present.
    """

    value: float
    low: float
    high: float
    note: str = ""


@dataclass(frozen=True)
class Agreement:
    """All measures of a group of findings.

    Attributes:
        studies, findings: their numbers.
        counts: number of findings of each reference grade.
        confusion: findings by reference grade (row) and shown grade (column). The shown grade is
            the most probable one, by calibrated probabilities if all findings have them.
        measures: name (see ``MEASURES``) -> figure; the suffix ``_calibrated`` marks measures of
            calibrated probabilities.
    """

    studies: int
    findings: int
    counts: tuple[int, int, int]
    confusion: tuple[tuple[int, ...], ...]
    measures: Mapping[str, Measure]

    @property
    def is_calibrated(self) -> bool:
        """Whether there are measures of calibrated probabilities."""
        return OF_CALIBRATION[0] + CALIBRATED in self.measures

    def shown(self, name: str) -> Measure:
        """Return a measure of the probabilities that are shown: calibrated ones if available."""
        return self.measures.get(name + CALIBRATED, self.measures[name])


def agreement(graded: GradedFindings, *, resamples: int = RESAMPLES, seed: int = SEED) -> Agreement:
    """Measure agreement and calibration of the uncalibrated probabilities.

    If every finding has calibrated probabilities, these are measured too; see ``CALIBRATED``.

    With few findings, the interval of a calibration error is biased upwards: chance alone causes
    gaps in the bins, and resampling adds to them.

    Args:
        graded: the findings with their reference grades.
        resamples, seed: of the bootstrap.
    """
    codes, studies = graded.study_codes
    sets = {"": graded.probabilities}
    if graded.is_calibrated:
        sets[CALIBRATED] = graded.calibrated
    samplers = {suffix: _sampler(p, graded.grades, codes, studies) for suffix, p in sets.items()}

    def sample(w: Floats) -> dict[str, Floats]:
        return {
            name + suffix: values
            for suffix, sampler in samplers.items()
            for name, values in sampler(w).items()
            if not (suffix and name == _NOT_CALIBRATED)
        }

    once = np.ones((1, studies))
    values = {name: float(v[0]) for name, v in sample(once).items()}
    wanted = resamples if studies >= FEWEST_STUDIES else 0
    drawn = [sample(w) for w in study_weights(studies, len(graded), resamples=wanted, seed=seed)]
    counts = np.bincount(graded.grades, minlength=GRADES).tolist()
    shown = confusion(list(sets.values())[-1], graded.grades, codes, studies)(once)[0]
    return Agreement(
        studies=studies,
        findings=len(graded),
        counts=(counts[0], counts[1], counts[2]),
        confusion=tuple(tuple(int(n) for n in row) for row in shown),
        measures={
            name: _measure(name, values[name], [part[name] for part in drawn], studies, counts)
            for name in sorted(values, key=_place)
        },
    )


def _sampler(
    p: Floats, grades: NDArray[np.intp], codes: NDArray[np.intp], studies: int
) -> Callable[[Floats], dict[str, Floats]]:
    matrix = confusion(p, grades, codes, studies)
    measurers: dict[str, Measurer] = {
        "weighted_log_loss": log_loss(p, grades, codes, studies, weighted=True),
        "log_loss": log_loss(p, grades, codes, studies, weighted=False),
        "auroc_moderate": auroc(p[:, 1] + p[:, 2], grades >= Grade.MODERATE, codes),
        "auroc_severe": auroc(p[:, 2], grades == Grade.SEVERE, codes),
        "ece": top_grade_error(p, grades, codes, studies),
        "ece_every_grade": every_grade_error(p, grades, codes, studies),
    }

    def sample(w: Floats) -> dict[str, Floats]:
        matrices = matrix(w)
        return {
            **{name: measurer(w) for name, measurer in measurers.items()},
            "kappa": quadratic_kappa(matrices),
            "balanced_accuracy": balanced_accuracy(matrices),
        }

    return sample


def _place(name: str) -> tuple[int, bool]:
    plain = name.removesuffix(CALIBRATED)
    return list(MEASURES).index(plain), plain != name


def _measure(
    name: str, value: float, drawn: list[Floats], studies: int, counts: list[int]
) -> Measure:
    nan = float("nan")
    if not np.isfinite(value):
        return Measure(nan, nan, nan, _why_undefined(name.removesuffix(CALIBRATED), counts))
    if not drawn:
        return Measure(value, nan, nan, TOO_FEW_STUDIES)
    low, high = percentile_interval(np.concatenate(drawn), studies)
    if not np.isfinite(low):
        return Measure(value, nan, nan, "no interval: too few studies have one of the grades")
    return Measure(value, low, high)


def _why_undefined(name: str, counts: list[int]) -> str:
    if not sum(counts):
        return "nothing graded"
    if name == "auroc_severe":
        return "no severe grade" if not counts[Grade.SEVERE] else "every grade is severe"
    if name == "auroc_moderate":
        mild = counts[Grade.NORMAL_MILD]
        return "no normal/mild grade" if not mild else "every grade is normal/mild"
    only = [g.label for g in Grade if counts[g]]
    return f"every grade is {only[0].lower()}" if len(only) == 1 else "undefined"


#: Field -> value -> its studies, for properties such as vendor or field strength.
Groups = Mapping[str, Mapping[str, Collection[str]]]

OWN_PARTS = ALL, BY_LEVEL, BY_SIDE = "all", "level", "side"


@dataclass(frozen=True)
class Part:
    """Agreement on a part of the findings of a condition.

    Attributes:
        condition: the condition.
        by: ``all``, ``level``, ``side`` or the name of a field.
        value: the level, the side or the value of the field; empty for ``all``.
        agreement: agreement on the findings of the part.
    """

    condition: Condition
    by: str
    value: str
    agreement: Agreement


def break_down(
    graded: GradedFindings,
    groups: Groups | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Part]:
    """Measure agreement of each condition and of its parts; parts without findings are skipped.

    Args:
        graded: the findings with their reference grades.
        groups: further parts, by properties of the studies.
        resamples, seed: of the bootstrap.
    """
    found = []
    for condition in Condition:
        mine = graded.of(condition)
        if not len(mine):
            continue
        for by, value, chosen in _parts(mine, condition, groups or {}):
            if chosen.any():
                part = agreement(mine.where(chosen), resamples=resamples, seed=seed)
                found.append(Part(condition, by, value, part))
    return found


def _parts(
    graded: GradedFindings, condition: Condition, groups: Groups
) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    yield ALL, "", np.ones(len(graded), bool)
    levels = np.array([t.level.value for t in FINDINGS])[graded.targets]
    for level in Level:
        yield BY_LEVEL, level.label, levels == level.value
    if condition.sided:
        sides = np.array([t.side.value if t.side else "" for t in FINDINGS])[graded.targets]
        for side in Side:
            yield BY_SIDE, side.value, sides == side.value
    for field, studies_of in groups.items():
        for value, studies in studies_of.items():
            yield field, value, np.isin(graded.studies, list(studies))
