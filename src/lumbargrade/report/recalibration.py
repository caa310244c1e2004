"""Result of `recalibrate`: the calibration file, and a page that compares before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lumbargrade import __version__
from lumbargrade.domain.errors import NothingDone
from lumbargrade.domain.vocabulary import Condition, Grade, plain_name
from lumbargrade.files.structures import plain
from lumbargrade.grading.calibration_file import (
    FittedCalibration,
    LocalCalibration,
    write_calibration,
)
from lumbargrade.report.agreement import RELIABILITY_NOTE, measure_text, reliability_blocks
from lumbargrade.report.page import NBSP, Block, Section, Table, Text, write_page
from lumbargrade.report.text import text_table
from lumbargrade.scoring.agreement import CALIBRATED, OF_CALIBRATION
from lumbargrade.scoring.cohort import joined
from lumbargrade.scoring.recalibration import Recalibration

LINES = (
    *("studies", "findings", *(g.label.lower() for g in Grade), "method"),
    *("log loss before", "log loss after", "gain", "ECE before", "ECE after", "used"),
)
_NOTE = (
    "Before: the probabilities of the results. After: cross-validation in five parts; the "
    "calibration of each study is chosen and fitted without that study. The calibration in the "
    "file is fitted to all studies. It is used only for conditions whose log loss is lower after "
    "than before. Gain: log loss before minus log loss after, on the same studies."
)


@dataclass(frozen=True)
class RecalibrationResult:
    """Fitted and refused conditions, with the file of their calibration.

    Attributes:
        out: the calibration file.
        conditions: what was fitted or refused, by condition.
        recipes: recipes of the models, if known.
    """

    out: Path
    conditions: Mapping[Condition, Recalibration]
    recipes: tuple[str, ...]

    @property
    def refused(self) -> list[Recalibration]:
        return [one for one in self.conditions.values() if one.refused]

    @property
    def page(self) -> Path:
        return self.out.with_name(self.out.name + ".html")

    @property
    def local(self) -> LocalCalibration:
        """Content of the file: the conditions whose log loss is lower after calibration."""
        found = {
            condition: FittedCalibration(
                one.calibration, one.studies, sum(one.counts), one.before, one.after
            )
            for condition, one in self.conditions.items()
            if one.calibration is not None
        }
        return LocalCalibration(found, self.recipes)

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Header and rows: a column per condition."""
        columns = [_column(one) for one in self.conditions.values()]
        rows: list[list[object]] = [
            [line, *cells] for line, *cells in zip(LINES, *columns, strict=True)
        ]
        return ["", *map(plain_name, self.conditions)], rows

    def text(self) -> str:
        return text_table(*self.table()).replace(NBSP, " ")

    def as_dict(self) -> dict[str, Any]:
        return {
            "lumbargrade": __version__,
            "out": str(self.out),
            "page": str(self.page),
            "recipes": list(self.recipes),
            "conditions": {c.value: _plain(one) for c, one in self.conditions.items()},
        }


def _column(one: Recalibration) -> list[str]:
    start = [str(n) for n in (one.studies, sum(one.counts), *one.counts)]
    if one.choice is None or one.measures is None or one.gain is None:
        return [*start, *"------", f"refused: {one.refused}"]
    loss, loss_after, ece, ece_after = (
        measure_text(one.measures.measures[name + suffix])
        for name in ("log_loss", "ece")
        for suffix in ("", CALIBRATED)
    )
    method, used = one.choice.calibration.method.value, "yes" if one.helps else "no"
    return [*start, method, loss, loss_after, measure_text(one.gain), ece, ece_after, used]


def _plain(one: Recalibration) -> dict[str, Any]:
    found: dict[str, Any] = {
        "studies": one.studies,
        "counts": dict(zip((g.column for g in Grade), one.counts, strict=True)),
        "refused": one.refused,
        "used": one.helps,
    }
    if one.choice is not None and one.measures is not None and one.gain is not None:
        found["gain"] = asdict(one.gain)
        found["calibration"] = plain(one.choice.calibration)
        for name, suffix in (("before", ""), ("after", CALIBRATED)):
            measures = one.measures.measures
            found[name] = {m: asdict(measures[m + suffix]) for m in OF_CALIBRATION}
    return found


def require_fitted(conditions: Mapping[Condition, Recalibration]) -> None:
    """Make sure that at least one condition was fitted.

    Raises:
        NothingDone: if all were refused; it names the reason for each.
    """
    if all(one.refused for one in conditions.values()):
        reasons = [f"{plain_name(c)}: {one.refused}" for c, one in conditions.items()]
        raise NothingDone("too few findings to fit a calibration; " + "; ".join(reasons))


def write_recalibration(result: RecalibrationResult) -> None:
    """Write the page and the calibration file, each atomically."""
    fitted = {c: one for c, one in result.conditions.items() if one.measures is not None}
    measures = {c: one.measures for c, one in fitted.items() if one.measures is not None}
    graded = joined(one.graded for one in fitted.values() if one.graded is not None)
    blocks: Sequence[Block] = reliability_blocks(graded, measures, ("before", "after"))
    sections = [
        Section("Before and after", [Text(_NOTE), Table(*result.table())]),
        Section("Reliability", [Text(RELIABILITY_NOTE), *blocks]),
    ]
    write_page(result.page, "Recalibration", sections, f"Calibration file: {result.out.name}")
    write_calibration(result.out, result.local)
