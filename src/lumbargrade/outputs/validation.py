"""Output of `validate`: out-of-fold file, score and point tables, a page with pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lumbargrade.dataset.folds import FOLDS
from lumbargrade.dataset.point_file import write_points
from lumbargrade.dataset.rows import KIND_OF
from lumbargrade.dataset.store import VolumeStore
from lumbargrade.domain.files import write_text
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.outputs.marks import predicted_marks, series_shown, true_marks
from lumbargrade.outputs.measure_tables import NBSP, overview_table, part_as_dict
from lumbargrade.outputs.oof_agreement import write_agreement
from lumbargrade.outputs.overlay import draw_series, save_image
from lumbargrade.outputs.page import Block, Figure, Section, Table, Text, write_page
from lumbargrade.outputs.tables import text_table
from lumbargrade.prediction.evaluation import (
    MEAN,
    POOLED,
    PointLine,
    ScoreLine,
    point_table,
    score_table,
)
from lumbargrade.prediction.origin import write_origin
from lumbargrade.prediction.out_of_fold import (
    origin_of,
    out_of_fold_points,
    out_of_fold_studies,
)
from lumbargrade.prediction.pairs import ENSEMBLE, Pairs, ensemble_of, grouped_by_rows, narrowed
from lumbargrade.prediction.table import write_predictions
from lumbargrade.prediction.validation import FoldPredictions
from lumbargrade.scoring.breakdown import ALL, Part
from lumbargrade.scoring.keypoints import WITHIN, PointErrors
from lumbargrade.tasks import get_task

SCORE_HEADER = (
    *("condition", "model", "fold", "series", "score", "with flip", "any severe"),
    *("published", "published flip", "published any severe"),
)
_LIMITS = "/".join(map(str, WITHIN))
#: Columns of points.csv, one number per cell.
POINT_COLUMNS = (
    *("condition", "model", "fold", "points", "median mm", "p90 mm"),
    *(f"<= {d} mm" for d in WITHIN),
    *(f"{axis} <= {d}" for axis in "xyz" for d in WITHIN),
)
#: Columns on the page and the terminal: the shares within all limits in one cell.
POINT_HEADER = (
    *("condition", "model", "fold", "points", "median mm", "p90 mm"),
    *(f"{what} within {_LIMITS}" for what in ("mm", "x", "y", "z")),
)
_UNITS = "x, y in mask pixels, z in slices; of axial crops all three in patient mm"
_MEAN_AND_POOLED = (
    f"{MEAN}: mean of the folds' figures, as the published figures are; {POOLED}: over the studies "
    "of all folds together"
)


@dataclass(frozen=True)
class ValidationResult:
    """Tables of a validation.

    Attributes:
        scores: per condition, model and fold, and of ensembles.
        points: likewise, errors of the points that findings are taken from.
        rows: rows of the out-of-fold file.
        agreement: of the ensemble's findings with the truth, by condition, level and side.
    """

    scores: Sequence[ScoreLine]
    points: Sequence[PointLine]
    rows: int
    agreement: Sequence[Part] = ()

    def score_rows(self) -> list[list[object]]:
        return [list(asdict(line).values()) for line in self.scores]

    def shown_scores(self) -> tuple[list[str], list[list[object]]]:
        """Header and rows as shown on the page and the terminal: without empty columns."""
        rows = self.score_rows()
        kept = [i for i in range(len(SCORE_HEADER)) if any(row[i] is not None for row in rows)]
        return [SCORE_HEADER[i] for i in kept], [[row[i] for i in kept] for row in rows]

    def point_rows(self) -> list[list[object]]:
        """Rows of ``points.csv``."""
        return [
            [*_point_start(line), *line.errors.within_mm]
            + [share for axis in "xyz" for share in line.errors.within[axis]]
            for line in self.points
        ]

    def shown_points(self) -> list[list[object]]:
        """Rows as shown on the page and the terminal."""
        return [
            [*_point_start(line), _shares(line.errors.within_mm)]
            + [_shares(line.errors.within[axis]) for axis in "xyz"]
            for line in self.points
        ]

    @property
    def notes(self) -> list[str]:
        """Notes below the score table."""
        notes = [f"{_MEAN_AND_POOLED}."]
        folds = sorted({line.fold for line in self.scores if line.fold.isdecimal()})
        published = any(line.published is not None for line in self.scores)
        if published and len(folds) < FOLDS:
            notes.append(
                f"The published means are over {FOLDS} folds, ours only over {', '.join(folds)}."
            )
        return notes

    def overall(self) -> dict[Condition, PointErrors]:
        """Pooled errors of the points per condition: of the ensemble, or of the only model."""
        found: dict[Condition, PointErrors] = {}
        for line in self.points:
            if line.fold == POOLED and (line.condition not in found or line.model == ENSEMBLE):
                found[line.condition] = line.errors
        return found

    def text(self) -> str:
        scores = "no grades: these models only place points"
        if self.scores:
            scores = "\n".join([text_table(*self.shown_scores()), *self.notes])
        points = text_table(POINT_HEADER, self.shown_points())
        text = f"{scores}\n\npoints ({_UNITS})\n{points}"
        whole = [part for part in self.agreement if part.by == ALL]
        if not whole:
            return text
        return f"{text}\n\n{text_table(*overview_table(whole)).replace(NBSP, ' ')}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "scores": [asdict(line) for line in self.scores],
            "points": {c.value: asdict(e) for c, e in self.overall().items()},
            "point_lines": [asdict(line) for line in self.points],
            "rows": self.rows,
            "agreement": [part_as_dict(part) for part in self.agreement],
        }


def _point_start(line: PointLine) -> list[object]:
    e = line.errors
    return [line.condition.value, line.model, line.fold, e.count, e.median_mm, e.p90_mm]


def _shares(shares: Sequence[float]) -> str:
    return " ".join(f"{share:.3f}" for share in shares)


def write_validation(
    out: Path, folds: Sequence[FoldPredictions], store: VolumeStore, *, pictures: int = 12
) -> ValidationResult:
    """Score out-of-fold predictions and write everything to a folder.

    The out-of-fold files, the table of points and the pictures show the same predictions: those
    with flip averaging, for models that are averaged with flips.

    Args:
        out: gets ``oof.csv`` with ``oof.json`` (its models), ``oof-points.csv``, ``scores.csv``,
            ``points.csv``, ``metrics.csv``, ``index.html`` and ``pictures/``.
        folds: predictions of every model on its fold.
        store: labels and volumes.
        pictures: how many series are drawn, per condition.
    """
    scores: list[ScoreLine] = []
    points: list[PointLine] = []
    drawn: list[Block] = []
    for condition in Condition:
        mine = [f for f in folds if not f.guide and condition in _conditions(f)]
        if mine:
            scores += score_table(condition, mine)
            drawn += _draw(out, condition, _first_pairs(condition, mine)[:pictures], store)
        points += point_table(condition, [f for f in folds if condition in _placed(f)], store)
    studies = out_of_fold_studies(folds, store)
    rows = write_predictions(out / "oof.csv", studies, store.folds, store.grades)
    write_origin(out / "oof.csv", origin_of(folds, store))
    write_points(out / "oof-points.csv", out_of_fold_points(folds, store))
    parts, agreement = write_agreement(out / "metrics.csv", studies, store) if studies else ((), [])
    result = ValidationResult(scores, points, rows, parts)
    _write_csv(out / "scores.csv", SCORE_HEADER, result.score_rows())
    _write_csv(out / "points.csv", POINT_COLUMNS, result.point_rows())
    sections = [
        Section("Scores", [Table(*result.shown_scores()), *map(Text, result.notes)]),
        Section("Points", [Table(POINT_HEADER, result.shown_points()), Text(f"{_UNITS}.")]),
        *agreement,
        Section("Pictures", [Text("Rings are predicted, crosses true points."), *drawn]),
    ]
    write_page(out / "index.html", "Out-of-fold validation", sections)
    return result


def _conditions(fold: FoldPredictions) -> tuple[Condition, ...]:
    return get_task(fold.meta.recipe).conditions


def _placed(fold: FoldPredictions) -> set[Condition]:
    """Conditions whose points a model finds, graded or not."""
    return {t.condition for t in get_task(fold.meta.recipe).targets}


def _first_pairs(condition: Condition, folds: Sequence[FoldPredictions]) -> Pairs:
    """Rows to draw with the mean prediction: of models of whole series if there are any."""
    first = next(iter(grouped_by_rows(folds).values()), [])
    pairs = [pair for one in ensemble_of(first).values() for pair in one.used]
    return narrowed(pairs, condition)


def _draw(out: Path, condition: Condition, pairs: Pairs, store: VolumeStore) -> list[Block]:
    figures: list[Block] = []
    for row, prediction in pairs:
        for series in series_shown(row, prediction):
            volume = store.volume(row.study_id, series)
            if volume.kind is not KIND_OF[condition]:
                continue
            marks, crosses = predicted_marks(prediction, series), true_marks(row, series)
            image = draw_series(volume, marks, crosses, most=5 if condition.sided else 3)
            name = f"pictures/{condition.name.lower()}-{row.study_id}-{series}.jpg"
            save_image(out / name, image)
            figures.append(Figure(name, f"study {row.study_id}, series {series}, {condition}"))
    return figures


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())
