"""What `validate` leaves behind: out-of-fold file, score and point tables, a page with pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
    Pairs,
    ScoreLine,
    ensemble_of,
    errors_of_pairs,
    narrowed,
    score_table,
)
from lumbargrade.prediction.origin import write_origin
from lumbargrade.prediction.out_of_fold import (
    origin_of,
    out_of_fold_points,
    out_of_fold_studies,
)
from lumbargrade.prediction.table import write_predictions
from lumbargrade.prediction.validation import FoldPredictions
from lumbargrade.scoring.breakdown import ALL, Part
from lumbargrade.scoring.keypoints import WITHIN, PointErrors
from lumbargrade.tasks import get_task

SCORE_HEADER = (
    *("condition", "model", "fold", "series", "score", "with flip", "any severe"),
    *("published", "published flip"),
)
POINT_HEADER = (
    *("condition", "points", "median mm", "p90 mm"),
    *(f"<= {d} mm" for d in WITHIN),
    *(f"{axis} <= {d}" for axis in "xyz" for d in WITHIN[:3]),
)


@dataclass(frozen=True)
class ValidationResult:
    """Tables of a validation.

    Attributes:
        scores: per model and fold.
        points: per condition, errors of the ensemble's points.
        rows: rows of the out-of-fold file.
        agreement: of the ensemble's findings with the truth, by condition, level and side.
    """

    scores: Sequence[ScoreLine]
    points: Mapping[Condition, PointErrors]
    rows: int
    agreement: Sequence[Part] = ()

    def score_rows(self) -> list[list[object]]:
        return [list(asdict(line).values()) for line in self.scores]

    def point_rows(self) -> list[list[object]]:
        lines: list[list[object]] = []
        for condition, e in self.points.items():
            along = [share for axis in "xyz" for share in e.within[axis][:3]]
            lines.append([condition.value, e.count, e.median_mm, e.p90_mm, *e.within_mm, *along])
        return lines

    def text(self) -> str:
        scores = "no grades: these models only place points"
        if self.scores:
            scores = text_table(SCORE_HEADER, self.score_rows())
        points = text_table(POINT_HEADER, self.point_rows())
        units = "x, y in mask pixels, z in slices; of axial crops all three in patient mm"
        text = f"{scores}\n\npoints ({units})\n{points}"
        whole = [part for part in self.agreement if part.by == ALL]
        if not whole:
            return text
        return f"{text}\n\n{text_table(*overview_table(whole)).replace(NBSP, ' ')}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "scores": [asdict(line) for line in self.scores],
            "points": {c.value: asdict(e) for c, e in self.points.items()},
            "rows": self.rows,
            "agreement": [part_as_dict(part) for part in self.agreement],
        }


def write_validation(
    out: Path, folds: Sequence[FoldPredictions], store: VolumeStore, *, pictures: int = 12
) -> ValidationResult:
    """Score out-of-fold predictions and write everything to a folder.

    Args:
        out: gets ``oof.csv`` with ``oof.json`` (its models), ``oof-points.csv``, ``scores.csv``,
            ``points.csv``, ``metrics.csv``, ``index.html`` and ``pictures/``.
        folds: predictions of every model on its fold.
        store: labels and volumes.
        pictures: how many series are drawn, per condition.
    """
    scores: list[ScoreLine] = []
    points: dict[Condition, PointErrors] = {}
    drawn: list[Block] = []
    for condition in Condition:
        mine = [f for f in folds if not f.guide and condition in _conditions(f)]
        if not mine:
            continue
        scores += score_table(condition, mine)
        whole = [pair for one, _ in ensemble_of(_alike(mine)).values() for pair in one]
        drawn += _draw(out, condition, whole[:pictures], store)
    for condition in Condition:
        pointing = _alike([f for f in folds if condition in _placed(f)])
        if pointing:
            pairs = [
                p for one, _ in ensemble_of(pointing).values() for p in narrowed(one, condition)
            ]
            points[condition] = errors_of_pairs(pairs, store, pointing[0].meta.recipe.data.size)
    studies = out_of_fold_studies(folds, store)
    rows = write_predictions(out / "oof.csv", studies, store.folds, store.grades)
    write_origin(out / "oof.csv", origin_of(folds, store))
    write_points(out / "oof-points.csv", out_of_fold_points(folds, store))
    parts, agreement = write_agreement(out / "metrics.csv", studies, store) if studies else ((), [])
    result = ValidationResult(scores, points, rows, parts)
    _write_csv(out / "scores.csv", SCORE_HEADER, result.score_rows())
    _write_csv(out / "points.csv", POINT_HEADER, result.point_rows())
    sections = [
        Section("Scores", [Table(SCORE_HEADER, result.score_rows())]),
        Section("Points", [Table(POINT_HEADER, result.point_rows())]),
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


def _alike(folds: Sequence[FoldPredictions]) -> list[FoldPredictions]:
    """Those that can be averaged row by row: models of whole series where there are any."""
    series = [f for f in folds if f.plain[0].series_id]
    if series or not folds:
        return series
    targets = folds[0].plain[0].targets
    return [f for f in folds if f.plain[0].targets == targets]


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
