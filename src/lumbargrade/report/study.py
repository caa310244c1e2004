"""Result folder of one graded study: findings as JSON and CSV, pictures and a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from lumbargrade.dicom.study import Study
from lumbargrade.dicom_results.capture import SUMMARY_FILE, write_capture
from lumbargrade.dicom_results.write import origin_or_note, write_objects
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, TABLE_ORDER, Grade, SeriesKind, plain_name
from lumbargrade.files.timing import stage
from lumbargrade.grading.findings_file import write_findings
from lumbargrade.grading.findings_tables import write_findings_csv, write_measurements_csv
from lumbargrade.grading.graded import GradedStudy, SeriesLine
from lumbargrade.grading.review_file import Status
from lumbargrade.report.drawing import Mark, draw_series, finding_marks, save_image
from lumbargrade.report.measured import (
    MEASURED,
    draw_measurements,
    measured_blocks,
    opinion_table,
)
from lumbargrade.report.page import (
    NBSP,
    PAGE_FILE,
    Block,
    FindingsTable,
    Link,
    Section,
    Table,
    Text,
    problem_table,
)
from lumbargrade.report.study_page import REPORT_FILE, write_report
from lumbargrade.report.summary_picture import draw_summary
from lumbargrade.report.wording import Wording, default_wording

FINDINGS_FILE = "findings.json"
TABLE_FILE = "findings.csv"
MEASUREMENTS_FILE = "measurements.csv"

#: A picture shows at most this many slices.
_SLICES = 3

_SERIES_COLUMNS = ("series", "description", "kind", "slices", "rows", "columns", "graded", "why")


def write_study(
    folder: Path,
    study: Study,
    prediction: StudyPrediction,
    *,
    flip: bool,
    about: str = "",
    fingerprint: str,
    pictures: bool = True,
    dicom: bool = True,
    dicom_summary: bool = False,
    wording: Wording | None = None,
) -> GradedStudy:
    """Write all results of a study; ``findings.json`` comes last and shows that they are complete.

    Args:
        folder: gets ``findings.json``, ``findings.csv``, ``report.html`` and ``pictures/``,
            ``measurements.csv`` if anything was measured, and the DICOM objects.
        study: its volumes, for the pictures.
        prediction: all 25 findings, graded or absent.
        flip: whether any model was also run on mirrored volumes (flip averaging).
        about: what a reader must know of the models; see `Predictor.about`.
        fingerprint: identifies the images and models that the findings were made from.
        pictures: draw pictures of the findings and measurements.
        dicom: write DICOM objects; if the images cannot be referred to, a problem says why.
        dicom_summary: also write a picture of all findings as a DICOM image.
        wording: words of the draft report; None for those of the package.
    """
    origin, notes = origin_or_note(study) if dicom else (None, ())
    prediction = replace(prediction, problems=(*prediction.problems, *notes))
    with stage("draw the pictures"):
        lines = _draw(folder, study, prediction) if pictures else _lines(study)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    graded = GradedStudy(prediction, tuple(lines), flip, fingerprint, about, time=now)
    with stage("write the results"):
        write_findings_csv(folder / TABLE_FILE, graded)
        if prediction.measurements:
            write_measurements_csv(folder / MEASUREMENTS_FILE, prediction)
    with stage("write the report"):
        words = default_wording() if wording is None else wording
        write_report(
            folder / REPORT_FILE, study, graded, sections_of(graded), words, images=pictures
        )
    if origin is not None:
        notes = write_objects(folder, study, graded, origin)
        prediction = replace(prediction, problems=(*prediction.problems, *notes))
        graded = replace(graded, prediction=prediction)
        if dicom_summary:
            pixels = draw_summary(graded)
            write_capture(folder / SUMMARY_FILE, pixels, origin, graded.version)
    with stage("write the results"):
        write_findings(folder / FINDINGS_FILE, graded)
    return graded


def _lines(study: Study) -> list[SeriesLine]:
    """Describe every series of a study without pictures."""
    choices = {c.series_id: c for c in study.choices}
    volumes = (*study.volumes, *study.other)
    return [SeriesLine.of(v, choice=choices.get(v.series_id)) for v in volumes]


def _draw(folder: Path, study: Study, prediction: StudyPrediction) -> list[SeriesLine]:
    """Draw a picture per series, condition and side that has findings there, and one per series
    that was measured."""
    drawn: dict[str, dict[str, str]] = {}
    for kind in SeriesKind:
        for number, volume in enumerate(study.of(kind), start=1):
            pictures: dict[str, str] = {}
            for condition, marks in _marks(prediction, volume.series_id).items():
                # a series id may contain characters that file names and links cannot
                series = f"{kind.name.lower().replace('_', '-')}-{number}"
                name = f"pictures/{series}-{condition}.jpg"
                save_image(folder / name, draw_series(volume, marks, most=_SLICES))
                pictures[condition] = name
            mine = [m for m in prediction.measurements if m.series_id == volume.series_id]
            if any(m.line for m in mine):
                name = f"pictures/{kind.name.lower().replace('_', '-')}-{number}-measured.jpg"
                save_image(folder / name, draw_measurements(volume, mine))
                pictures[MEASURED] = name
            drawn[volume.series_id] = pictures
    return [replace(s, pictures=drawn.get(s.series_id, {})) for s in _lines(study)]


def _marks(prediction: StudyPrediction, series_id: str) -> dict[str, list[Mark]]:
    """Marks of the findings in a series, by condition and side."""
    found: dict[str, list[Mark]] = {}
    for mark in finding_marks(_graded(prediction), series_id):
        found.setdefault(mark.target.sided_condition, []).append(mark)
    return found


def _graded(prediction: StudyPrediction) -> list[Finding]:
    """The graded findings in the order of the page."""
    return [prediction.findings[t] for t in TABLE_ORDER if t in prediction.findings]


def sections_of(graded: GradedStudy) -> list[Section]:
    """The tables of a study below its report."""
    prediction = graded.prediction
    findings = _graded(prediction)
    read = {t: grade for t in prediction.absent if (grade := graded.grade(t)) is not None}
    table = FindingsTable(prediction.findings, absent=prediction.absent, by_reader=read)
    sections = [
        Section(
            "About the model", [*([Text(graded.about)] if graded.about else []), *_origin(graded)]
        ),
        Section("All findings as a table", [table, Text(meaning(graded))]),
        *_review(graded),
        *_numbering(prediction),
        *_measured(graded),
        Section("Points", [_points(findings)]),
        Section("Files", [Table(("file", "content"), _files(graded))]),
    ]
    if prediction.problems:
        sections.insert(1, Section("Problems of the images", [_problems(prediction)]))
    return sections


def _review(graded: GradedStudy) -> list[Section]:
    """What the reader decided, a line per finding."""
    if (review := graded.review) is None:
        return []
    rows: list[list[object]] = [
        [
            *(plain_name(t.sided_condition), t.level.label, line.status),
            *("not graded" if g is None else g.label for g in (line.before, line.after)),
            *(line.reader, line.time[:16].replace("T", " "), line.comment),
        ]
        for t in TABLE_ORDER
        if (line := review.by_target[t]).status is not Status.UNREVIEWED
    ]
    said = f"Reviewed by {review.reader}, {review.time[:16].replace('T', ' ')}: "
    said += f"{len(rows)} of {len(review.findings)} findings."
    if review.shift:
        said += f" The names of the levels were moved by {review.shift:+d}."
    header = ("finding", "level", "status", "before", "after", "reader", "time", "comment")
    return [Section("Review", [Text(said), *([Table(header, rows)] if rows else [])])]


def _numbering(prediction: StudyPrediction) -> list[Section]:
    """How the levels were named, and what to do if that is wrong."""
    numbering = prediction.numbering
    if numbering is None:
        return []
    said = (
        f"The discs were numbered with a confidence of {numbering.confidence:.0%} (certain from "
        f"{numbering.limit:.0%}): {numbering.reason}."
    )
    if numbering.runner_up:
        said += (
            f" The next probable numbering is {numbering.runner_up} "
            f"({numbering.runner_up_confidence:.1%})."
        )
    blocks: list[Block] = [Text(said)]
    if not numbering.shift:
        blocks.append(
            Text(
                "If you see that the names are wrong, move them on this page, or grade again with "
                "`--shift-levels 1` (every disc one level lower: L4/L5 becomes L5/S1) or "
                "`--shift-levels -1`."
            )
        )
    return [Section("Numbering", blocks)]


def _measured(graded: GradedStudy) -> list[Section]:
    prediction = graded.prediction
    if not prediction.measurements:
        return []
    blocks = measured_blocks(prediction.measurements)
    opinions = {t: f for t, f in prediction.findings.items() if f.opinion is not None}
    if opinions:
        blocks.append(opinion_table([opinions[t] for t in TABLE_ORDER if t in opinions]))
    return [Section("Measurements", blocks)]


def _problems(prediction: StudyPrediction) -> Table:
    return problem_table(replace(p, study="") for p in prediction.problems)


def meaning(graded: GradedStudy) -> str:
    """Explain the probabilities of a study."""
    prediction = graded.prediction
    if graded.about:
        said = "What the probabilities are is said at the top of the page."
        if not any(f.calibrated is not None for f in prediction.findings.values()):
            return f"{said} `lumbargrade recalibrate` fits a calibration to studies of your own."
        return f"{said} They were calibrated on studies of your own."
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
        [
            *(s.series_id, s.description, s.kind.value if s.kind else "unknown"),
            *(s.slices, s.rows, s.columns, "yes" if s.used else "no", s.reason),
        ]
        for s in graded.series
    ]
    listed = Table(_SERIES_COLUMNS, series, caption="Series")
    if graded.about:
        networks = [[s.recipe] for s in graded.prediction.sources]
        return [listed, Table(("network",), networks, caption="Networks of the starter")]
    models = [
        [s.recipe, str(s.fold) if s.fold >= 0 else "unknown"] for s in graded.prediction.sources
    ]
    flips = "with" if graded.flip else "without"
    caption = f"Models (averaged, {flips} flip averaging)"
    return [listed, Table(("model", "fold"), models, caption=caption)]


def _files(graded: GradedStudy) -> list[list[object]]:
    measured: list[list[object]] = []
    if graded.prediction.measurements:
        measured = [[Link(MEASUREMENTS_FILE, MEASUREMENTS_FILE), "the measurements as a table"]]
    pictures = [
        [Link(path, path), f"{plain_name(what)}: {line.kind}, series {line.series_id}"]
        for line in graded.series
        for what, path in line.pictures.items()
    ]
    found: list[list[object]] = [
        [Link(FINDINGS_FILE, FINDINGS_FILE), "all findings with points, models and problems"],
        [Link(TABLE_FILE, TABLE_FILE), "the findings as a table"],
        *measured,
        *pictures,
    ]
    if graded.review is None:
        found.append([Link("all studies", f"../{PAGE_FILE}"), "page of all studies of this run"])
    return found


def grade_counts(prediction: StudyPrediction) -> dict[str, int]:
    """Number of findings of each grade, and of those that are not graded."""
    counts = Counter(f.grade for f in prediction.findings.values())
    not_graded = len(FINDINGS) - counts.total()
    return {**{g.column: counts[g] for g in Grade}, "not_graded": not_graded}
