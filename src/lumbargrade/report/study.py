"""Result folder of one graded study: findings as JSON and CSV, pictures and a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lumbargrade.dicom.study import Study
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, TABLE_ORDER, Grade, SeriesKind, plain_name
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.findings_file import (
    NOTICE,
    GradedStudy,
    SeriesLine,
    write_findings,
    write_findings_csv,
)
from lumbargrade.report.drawing import Mark, draw_series, finding_marks, save_image
from lumbargrade.report.page import (
    NBSP,
    PAGE_FILE,
    Block,
    Figure,
    FindingsTable,
    Link,
    Section,
    Table,
    Text,
    problem_table,
    write_page,
)

FINDINGS_FILE = "findings.json"
TABLE_FILE = "findings.csv"

#: A picture shows at most this many slices.
_SLICES = 3

_SERIES_COLUMNS = ("series", "kind", "slices", "rows", "columns")


def write_study(
    folder: Path,
    study: Study,
    prediction: StudyPrediction,
    *,
    flip: bool,
    about: str = "",
    fingerprint: str,
) -> GradedStudy:
    """Write all results of a study; ``findings.json`` comes last and shows that they are complete.

    Args:
        folder: gets ``findings.json``, ``findings.csv``, ``index.html`` and ``pictures/``.
        study: its volumes, for the pictures.
        prediction: all 25 findings, graded or absent.
        flip: whether any model was also run on mirrored volumes (flip averaging).
        about: what a reader must know of the models; see `Predictor.about`.
        fingerprint: identifies the images and models that the findings were made from.
    """
    lines = _draw(folder, study, prediction)
    graded = GradedStudy(prediction, tuple(lines), flip, fingerprint, about)
    write_findings_csv(folder / TABLE_FILE, [("", prediction)])
    _write_study_page(folder / PAGE_FILE, graded)
    write_findings(folder / FINDINGS_FILE, graded)
    return graded


def _draw(folder: Path, study: Study, prediction: StudyPrediction) -> list[SeriesLine]:
    """Draw a picture per series, condition and side that has findings there."""
    lines = []
    for kind in SeriesKind:
        for number, volume in enumerate(study.of(kind), start=1):
            pictures: dict[str, str] = {}
            for condition, marks in _marks(prediction, volume.series_id).items():
                # a series id may contain characters that file names and links cannot
                series = f"{kind.name.lower().replace('_', '-')}-{number}"
                name = f"pictures/{series}-{condition}.jpg"
                save_image(folder / name, draw_series(volume, marks, most=_SLICES))
                pictures[condition] = name
            lines.append(_line(volume, pictures))
    return [*lines, *(_line(volume, {}) for volume in study.other)]


def _marks(prediction: StudyPrediction, series_id: str) -> dict[str, list[Mark]]:
    """Marks of the findings in a series, by condition and side."""
    found: dict[str, list[Mark]] = {}
    for mark in finding_marks(_graded(prediction), series_id):
        found.setdefault(mark.target.sided_condition, []).append(mark)
    return found


def _graded(prediction: StudyPrediction) -> list[Finding]:
    """The graded findings in the order of the page."""
    return [prediction.findings[t] for t in TABLE_ORDER if t in prediction.findings]


def _line(volume: Volume, pictures: Mapping[str, str]) -> SeriesLine:
    depth, rows, columns = volume.pixels.shape
    return SeriesLine(volume.series_id, volume.kind, depth, rows, columns, pictures)


def _write_study_page(path: Path, graded: GradedStudy) -> None:
    prediction = graded.prediction
    findings = _graded(prediction)
    table = FindingsTable(prediction.findings, absent=prediction.absent)
    sections = [
        Section("Findings", [table, Text(meaning(prediction))]),
        Section("Pictures", _figures(graded)),
        Section("Points", [_points(findings)]),
        Section("Images and models", _origin(graded)),
        Section("Files", [Table(("file", "content"), _files())]),
    ]
    if prediction.problems:
        sections.insert(1, Section("Problems of the images", [_problems(prediction)]))
    write_page(path, f"Study {prediction.study_id}", sections, NOTICE)


def _problems(prediction: StudyPrediction) -> Table:
    return problem_table(replace(p, study="") for p in prediction.problems)


def meaning(prediction: StudyPrediction) -> str:
    """Explain the probabilities of a study."""
    if any(f.calibrated is not None for f in prediction.findings.values()):
        return (
            "The probabilities are calibrated on studies that the models were not trained on. "
            '"Model\'s probability" is the one before calibration; the models over-predict '
            "moderate and severe grades."
        )
    return (
        "The probabilities are not calibrated: the models over-predict moderate and severe grades. "
        "To get calibrated probabilities, use a blend file (`lumbargrade blend`)."
    )


def _figures(graded: GradedStudy) -> list[Block]:
    drawn = [
        Figure(line.pictures[name], f"{plain_name(name)}: {line.kind}, series {line.series_id}")
        for name in dict.fromkeys(t.sided_condition for t in TABLE_ORDER)
        for line in graded.series
        if name in line.pictures
    ]
    return [Text("Rings are predicted points, labelled with the most probable grade."), *drawn]


def _points(findings: Sequence[Finding]) -> Table:
    """A row per finding with a point; the model's probability only if it is not the shown one."""
    calibrated = any(f.calibrated is not None for f in findings)
    rows: list[list[object]] = []
    for f in findings:
        if (point := f.point) is None:
            continue
        shares = [f.shown, f.probabilities] if calibrated else [f.shown]
        rows.append(
            [
                *(plain_name(f.target.sided_condition), f.target.level.label, f.grade.label),
                *(f"{share[f.grade]:.0%}" for share in shares),
                *(point.series_id, point.instance_number, f"{point.x:.0f},{NBSP}{point.y:.0f}"),
                f",{NBSP}".join(f"{v:.1f}" for v in point.patient or ()),
            ]
        )
    header = (
        *("finding", "level", "grade", "probability"),
        *(["model's probability"] if calibrated else []),
        *("series", "instance", "x, y (pixels)", "patient LPS (mm)"),
    )
    return Table(header, rows)


def _origin(graded: GradedStudy) -> list[Block]:
    series = [
        [s.series_id, s.kind.value if s.kind else "unknown", s.slices, s.rows, s.columns]
        for s in graded.series
    ]
    models = [
        [s.recipe, str(s.fold) if s.fold >= 0 else "unknown"] for s in graded.prediction.sources
    ]
    flips = "with" if graded.flip else "without"
    return [
        Table(_SERIES_COLUMNS, series, caption="Series"),
        Table(("model", "fold"), models, caption=f"Models (averaged, {flips} flip averaging)"),
    ]


def _files() -> list[list[object]]:
    return [
        [Link(FINDINGS_FILE, FINDINGS_FILE), "all findings with points, models and problems"],
        [Link(TABLE_FILE, TABLE_FILE), "the findings as a table"],
        [Link("all studies", f"../{PAGE_FILE}"), "page of all studies of this run"],
    ]


def grade_counts(prediction: StudyPrediction) -> dict[str, int]:
    """Number of findings of each grade, and of those that are not graded."""
    counts = Counter(f.grade for f in prediction.findings.values())
    not_graded = len(FINDINGS) - counts.total()
    return {**{g.column: counts[g] for g in Grade}, "not_graded": not_graded}
