"""Result of `validate`: out-of-fold files, tables of scores and point errors, a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import KIND_OF, Condition, plain_name
from lumbargrade.files.tables import write_table
from lumbargrade.grading.model_record import write_oof_record
from lumbargrade.grading.predictions_file import write_predictions
from lumbargrade.lsdc.point_file import write_points
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.lsdc.tables import FOLDS
from lumbargrade.models.task import Row
from lumbargrade.report.agreement import (
    agreement_sections,
    overview_table,
    part_as_dict,
    write_metrics_csv,
)
from lumbargrade.report.drawing import (
    draw_series,
    predicted_marks,
    save_image,
    series_shown,
    true_marks,
)
from lumbargrade.report.page import NBSP, PAGE_FILE, Figure, Section, Table, Text, write_page
from lumbargrade.report.text import counted, text_table
from lumbargrade.scoring.agreement import ALL, Part
from lumbargrade.scoring.points import WITHIN, PointErrors
from lumbargrade.validation.assessment import Assessment
from lumbargrade.validation.judged import ENSEMBLE
from lumbargrade.validation.scores import MEAN, POOLED, PointLine, ScoreLine

#: Columns of scores.csv.
SCORE_COLUMNS = (
    *("condition", "model", "fold", "series", "score", "with flip", "any severe"),
    *("published", "published flip", "published any severe"),
)
#: Columns of points.csv: one number per cell.
POINT_COLUMNS = (
    *("condition", "model", "fold", "points", "median mm", "p90 mm"),
    *(f"<= {d} mm" for d in WITHIN),
    *(f"{axis} <= {d}" for axis in "xyz" for d in WITHIN),
)
#: Columns of the shown tables, one per condition and model; a cell has the shares of all limits.
POINT_HEADER = (
    *("fold", "points", "median mm", "p90 mm"),
    *("within mm", "within in x", "within in y", "within in z"),
)
_UNITS = (
    f"within: shares of the points that are at most {', '.join(map(str, WITHIN))} away: in mm in "
    "space, in mask pixels along x and y, in slices along z (points from axial crops: in patient "
    "mm along all three). A dash: too many points were not found, so this distance is unknown."
)
_MEAN_AND_POOLED = (
    f"{MEAN}: mean over the folds, like the published values; {POOLED}: one value over the studies "
    "of all folds"
)


@dataclass(frozen=True)
class ValidationResult:
    """Scores and point errors of a validation.

    Attributes:
        scores: scores per condition, model (or ensemble) and fold.
        points: errors of the predicted points, likewise.
        rows: number of rows of the out-of-fold file.
        agreement: measures of the ensemble's findings by condition, level and side.
    """

    scores: Sequence[ScoreLine]
    points: Sequence[PointLine]
    rows: int
    agreement: Sequence[Part] = ()

    def score_rows(self) -> list[list[object]]:
        return [list(asdict(line).values()) for line in self.scores]

    def shown_scores(self) -> list[Table]:
        """Tables for page and terminal: each score with the published one beside it."""
        tables = []
        for condition in Condition:
            lines = [line for line in self.scores if line.condition is condition]
            columns: list[tuple[str, list[object]]] = [
                ("model", [line.model for line in lines]),
                ("fold", [line.fold for line in lines]),
                ("series", [line.series for line in lines]),
                ("score", [line.score for line in lines]),
                ("published", [line.published for line in lines]),
                ("with flip", [line.score_flip for line in lines]),
                ("published", [line.published_flip for line in lines]),
                ("any severe", [line.any_severe for line in lines]),
                ("published", [line.published_any_severe for line in lines]),
            ]
            known = [(head, cells) for head, cells in columns if any(c is not None for c in cells)]
            rows = [list(row) for row in zip(*(cells for _, cells in known), strict=True)]
            if rows:
                tables.append(Table([head for head, _ in known], rows, plain_name(condition)))
        return tables

    def point_rows(self) -> list[list[object]]:
        """Rows of ``points.csv``."""
        return [
            [line.condition.value, line.model, line.fold, *_distances(line.errors)]
            + [*line.errors.within_mm]
            + [share for axis in "xyz" for share in line.errors.within[axis]]
            for line in self.points
        ]

    def shown_points(self) -> list[Table]:
        """Tables for page and terminal, one per condition and model."""
        tables: dict[tuple[Condition, str], list[list[object]]] = {}
        for line in self.points:
            shares = [line.errors.within_mm, *(line.errors.within[axis] for axis in "xyz")]
            row = [line.fold, *_distances(line.errors), *map(_shares, shares)]
            tables.setdefault((line.condition, line.model), []).append(row)
        return [
            Table(POINT_HEADER, rows, f"{plain_name(condition)}, {model}")
            for (condition, model), rows in tables.items()
        ]

    @property
    def notes(self) -> list[str]:
        """Sentences below the tables of scores."""
        notes = [f"{_MEAN_AND_POOLED}."]
        folds = sorted({line.fold for line in self.scores if line.fold.isdecimal()})
        published = any(line.published is not None for line in self.scores)
        if published and len(folds) < FOLDS:
            ours = counted(len(folds), "fold", "folds")
            notes.append(
                f"The published means are over {FOLDS} folds; these are over {ours} "
                f"({', '.join(folds)})."
            )
        return notes

    def overall(self) -> dict[Condition, PointErrors]:
        """Pooled point errors per condition: of the ensemble, or of the model if there is one."""
        found: dict[Condition, PointErrors] = {}
        for line in self.points:
            if line.fold == POOLED and (line.condition not in found or line.model == ENSEMBLE):
                found[line.condition] = line.errors
        return found

    def text(self) -> str:
        scores = "no scores: these models predict points only"
        if self.scores:
            scores = "\n".join([_as_text(self.shown_scores(), "scores"), *self.notes])
        text = f"{scores}\n\n{_as_text(self.shown_points(), 'points')}\n{_UNITS}"
        whole = [part for part in self.agreement if part.by == ALL]
        if whole:
            text += f"\n\n{text_table(*overview_table(whole))}"
        return text.replace(NBSP, " ")

    def as_dict(self) -> dict[str, Any]:
        return {
            "scores": [asdict(line) for line in self.scores],
            "points": {c.value: asdict(e) for c, e in self.overall().items()},
            "point_lines": [asdict(line) for line in self.points],
            "rows": self.rows,
            "agreement": [part_as_dict(part) for part in self.agreement],
        }


def _distances(errors: PointErrors) -> list[object]:
    return [errors.count, errors.median_mm, errors.p90_mm]


def _shares(shares: Sequence[float]) -> str:
    return NBSP.join(f"{share:.3f}".removeprefix("0") for share in shares)


def _as_text(tables: Sequence[Table], what: str) -> str:
    """Tables for the terminal, each below its title."""
    parts = [f"{what}: {t.caption}\n{text_table(t.header, t.values)}" for t in tables]
    return "\n\n".join(parts)


def write_validation(
    out: Path, assessed: Assessment, store: VolumeStore, *, pictures: int = 12
) -> ValidationResult:
    """Write the assessment of out-of-fold predictions to a folder.

    The out-of-fold files, the table of points and the pictures hold the same predictions. They are
    flip-averaged if the model is used with flip averaging.

    Args:
        out: gets ``oof.csv`` with ``oof.json`` (its models), ``oof-points.csv``, ``scores.csv``,
            ``points.csv``, ``metrics.csv``, ``index.html`` and ``pictures/``.
        assessed: what is written.
        store: labels and volumes.
        pictures: number of rows that are drawn per condition.
    """
    rows = write_predictions(out / "oof.csv", assessed.studies, store.folds, store.grades)
    write_oof_record(out / "oof.csv", assessed.record)
    write_points(out / "oof-points.csv", assessed.placed)
    if assessed.studies:
        write_metrics_csv(out / "metrics.csv", assessed.agreement)
    result = ValidationResult(assessed.scores, assessed.points, rows, assessed.agreement)
    write_table(out / "scores.csv", SCORE_COLUMNS, result.score_rows())
    write_table(out / "points.csv", POINT_COLUMNS, result.point_rows())
    drawn = [
        figure
        for condition, examples in assessed.examples.items()
        for row, prediction in examples[:pictures]
        for figure in _draw(out, condition, row, prediction, store)
    ]
    agreement = agreement_sections(assessed.graded, result.agreement) if result.agreement else []
    sections = [
        Section("Scores", [*result.shown_scores(), *map(Text, result.notes)]),
        Section("Points", [*result.shown_points(), Text(_UNITS)]),
        *agreement,
        Section("Pictures", [Text("Rings are predicted points, crosses are true points."), *drawn]),
    ]
    write_page(out / PAGE_FILE, "Out-of-fold validation", sections)
    return result


def _draw(
    out: Path, condition: Condition, row: Row, prediction: StudyPrediction, store: VolumeStore
) -> Iterator[Figure]:
    """Draw the series of a row that show a condition."""
    for series in series_shown(row, prediction):
        volume = store.volume(row.study_id, series)
        if volume.kind is KIND_OF[condition]:
            marks, crosses = predicted_marks(prediction, series), true_marks(row, series)
            image = draw_series(volume, marks, crosses, most=5 if condition.sided else 3)
            name = f"pictures/{condition.name.lower()}-{row.study_id}-{series}.jpg"
            save_image(out / name, image)
            yield Figure(name, f"study {row.study_id}, series {series}, {condition}")
