"""Page of a training demo: scores of held-out studies, point errors in mm, pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    TARGETS,
    Condition,
    Grade,
    SeriesKind,
    Target,
    plain_name,
)
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.lsdc_studies import LsdcStudies
from lumbargrade.grading.predictions_file import read_predictions
from lumbargrade.lsdc.tables import TablePoint, read_point_table
from lumbargrade.report.drawing import Mark, draw_series, finding_marks, save_image
from lumbargrade.report.page import (
    PAGE_FILE,
    Block,
    Figure,
    FindingsTable,
    Section,
    Table,
    Text,
    write_page,
)
from lumbargrade.report.submission import findings_path
from lumbargrade.report.text import text_table
from lumbargrade.scoring.official import score_report
from lumbargrade.scoring.points import WITHIN, PointErrors
from lumbargrade.scoring.submissions import Solution, read_solution, read_submission
from lumbargrade.validation.held_out import TruePoint, distance_errors, true_points

SCORES = ("condition", "log loss", "prevalence baseline", "ratio", "best constant", "predicted by")
POINTS = ("condition", "points", *(f"within {d} mm" for d in WITHIN), "median mm", "p90 mm")

_FILLED = "no model predicts it; the submission has the best constant"


@dataclass(frozen=True)
class DemoFolders:
    """Files and folders of a demo.

    Attributes:
        out: the folder that holds them all.
    """

    out: Path

    @property
    def data(self) -> Path:
        return self.out / "data"

    @property
    def held_out(self) -> Path:
        return self.out / "held-out"

    @property
    def store(self) -> Path:
        return self.out / "store"

    @property
    def runs(self) -> Path:
        return self.out / "runs"

    @property
    def validation(self) -> Path:
        return self.out / "validation"

    @property
    def submission(self) -> Path:
        return self.out / "submission.csv"

    @property
    def page(self) -> Path:
        return self.out / PAGE_FILE


@dataclass(frozen=True)
class DemoResult:
    """Scores and point errors of a demo on its held-out studies.

    Attributes:
        scores: rows of a table with the header `SCORES`.
        points: rows of a table with the header `POINTS`.
        page: the page with pictures.
    """

    scores: Sequence[Sequence[object]]
    points: Sequence[Sequence[object]]
    page: Path

    def text(self) -> str:
        return f"{text_table(SCORES, self.scores)}\n\n{text_table(POINTS, self.points)}"


def write_demo_page(
    folders: DemoFolders, commands: Sequence[str] = (), *, drawn: int = 6
) -> DemoResult:
    """Score the submission of a demo and write its page.

    Args:
        folders: files of the demo.
        commands: the commands that were run, for the page.
        drawn: number of held-out studies with pictures.
    """
    truth = read_solution(folders.held_out / "solution.csv")
    predictions = read_predictions(findings_path(folders.submission))
    labels = read_point_table(folders.held_out / "solution_coordinates.csv")
    studies = LsdcStudies.open(folders.held_out)
    points: dict[str, list[TruePoint]] = {}
    shown: list[Block] = []
    for study in studies.series:
        volumes, _ = studies.read(study, set(SeriesKind))
        mine = [p for p in labels if p.study_id == study]
        points[study] = [p for volume in volumes for p in true_points(mine, volume)]
        if study in predictions and len(points) <= drawn:
            findings = predictions[study].findings
            absent = {t: _FILLED for t in FINDINGS if t not in findings}
            shown += [Text(f"Study {study}"), FindingsTable(findings, truth[study], absent)]
            shown += _pictures(folders, predictions[study], volumes, mine, truth[study])
    result = DemoResult(
        _score_rows(folders, truth, predictions),
        _point_rows(distance_errors(points, predictions)),
        folders.page,
    )
    sections = [
        Section(
            "Studies that no model was trained on",
            [
                Text(
                    "Weighted log loss (weights 1, 2, 4); lower is better. The prevalence baseline "
                    "predicts, for every study, the share of each grade in the training studies. "
                    "The best constant predicts these shares multiplied by the weights. Distances "
                    "of points are in patient space; a point that was not found counts as far away."
                ),
                Table(SCORES, result.scores),
                Table(POINTS, result.points),
            ],
        ),
        Section("Pictures", [Text("Rings are predicted points, crosses are true points."), *shown]),
        Section("Learning curves", _curves(folders)),
        Section("Commands", [Text("\n".join(commands), code=True)]),
    ]
    write_page(
        folders.page,
        "lumbargrade demo-train",
        sections,
        "Small networks, trained on synthetic studies on a CPU. The demo shows that the system "
        "works from DICOM to submission; it says nothing about real scans.",
    )
    return result


def _score_rows(
    folders: DemoFolders, truth: Solution, predictions: Mapping[str, StudyPrediction]
) -> list[list[object]]:
    submission = read_submission(folders.submission)
    training = read_solution(folders.data / "train.csv")
    report = score_report(truth, submission, training, folders.submission)
    predicted = {t.condition for p in predictions.values() for t in p.findings}
    rows: list[list[object]] = []
    for name, part in report["parts"].items():
        condition = next((c for c in Condition if c.value == name), Condition.CANAL)
        rows.append(
            [
                plain_name(name),
                part["official"],
                part["prevalence"],
                part["official"] / part["prevalence"],
                part["weighted_prevalence"],
                "models" if condition in predicted else "best constant (filled)",
            ]
        )
    rows.append(["official score", report["official"], None, None, None, ""])
    return rows


def _point_rows(errors: Mapping[Condition, PointErrors]) -> list[list[object]]:
    return [
        [plain_name(c), e.count, *e.within_mm, e.median_mm, e.p90_mm] for c, e in errors.items()
    ]


def _pictures(
    folders: DemoFolders,
    prediction: StudyPrediction,
    volumes: Sequence[Volume],
    labels: Sequence[TablePoint],
    truth: Mapping[Target, Grade],
) -> list[Block]:
    """A picture of each series of a study that has findings, with predicted and true points."""
    blocks: list[Block] = []
    for volume in volumes:
        marks = finding_marks(prediction.findings.values(), volume.series_id)
        crosses = [
            Mark(p.target, *p.voxel, truth.get(p.target), true=True)
            for p, _ in true_points(labels, volume)
        ]
        if marks:
            name = f"pictures/{prediction.study_id}-{volume.series_id}.jpg"
            save_image(folders.out / name, draw_series(volume, marks, crosses, most=5))
            seen = next(c for c in Condition if marks[0].target in TARGETS[c])
            blocks.append(Figure(name, f"{plain_name(seen)}, study {volume.study_id}"))
    return blocks


def _curves(folders: DemoFolders) -> list[Block]:
    blocks: list[Block] = [
        Figure(Path(os.path.relpath(p, folders.out)).as_posix(), p.parent.parent.name)
        for p in sorted(folders.runs.rglob("curves.png"))
    ]
    note = "Out-of-fold scores, points and pictures: validation/index.html"
    return [Text(note), *blocks]
