"""The folder of one graded study: findings as JSON and CSV, pictures, and a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from lumbargrade.dicom.study import Study
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, TABLE_ORDER, Grade, SeriesKind
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
    Block,
    Figure,
    FindingsTable,
    Link,
    Section,
    Table,
    Text,
    write_page,
)
from lumbargrade.report.problems import problem_table

FINDINGS_FILE = "findings.json"
TABLE_FILE = "findings.csv"
PAGE_FILE = "index.html"

#: Slices in a picture, at most.
_SLICES = 3


_PLACES = (
    *("finding", "level", "grade", "probability", "by the models"),
    *("series", "instance", "x, y px", "LPS mm"),
)
_SERIES = ("series", "kind", "slices", "rows", "columns")


def write_study(
    folder: Path,
    study: Study,
    prediction: StudyPrediction,
    *,
    flip: bool,
    fingerprint: str,
) -> GradedStudy:
    """Write all results of a study; the findings file comes last and says that all is there.

    Args:
        folder: gets ``findings.json``, ``findings.csv``, ``index.html`` and ``pictures/``.
        study: its volumes, for the pictures.
        prediction: all 25 findings, graded or absent.
        flip: whether predictions of any model were averaged with those of mirrored volumes.
        fingerprint: of what the findings were made from.
    """
    lines = _draw(folder, study, prediction)
    graded = GradedStudy(prediction, tuple(lines), flip, fingerprint)
    write_findings_csv(folder / TABLE_FILE, [("", prediction)])
    _write_study_page(folder / PAGE_FILE, graded)
    write_findings(folder / FINDINGS_FILE, graded)
    return graded


def _draw(folder: Path, study: Study, prediction: StudyPrediction) -> list[SeriesLine]:
    """Pictures of every series with findings: one per condition and side that is seen in it."""
    lines = []
    for kind in SeriesKind:
        for number, volume in enumerate(study.of(kind), start=1):
            pictures: dict[str, str] = {}
            for condition, marks in _marks(prediction, volume.series_id).items():
                # series ids may hold what neither a file name nor a link can
                series = f"{kind.name.lower().replace('_', '-')}-{number}"
                name = f"pictures/{series}-{condition}.jpg"
                save_image(folder / name, draw_series(volume, marks, most=_SLICES))
                pictures[condition] = name
            lines.append(_line(volume, pictures))
    return [*lines, *(_line(volume, {}) for volume in study.other)]


def _marks(prediction: StudyPrediction, series_id: str) -> dict[str, list[Mark]]:
    """What lies in a series, by condition with its side."""
    found: dict[str, list[Mark]] = {}
    for mark in finding_marks(_graded(prediction), series_id):
        found.setdefault(mark.target.sided_condition, []).append(mark)
    return found


def _graded(prediction: StudyPrediction) -> list[Finding]:
    """The findings that there are, as pages list them."""
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
        Section("Places", [Table(_PLACES, _place_rows(findings))]),
        Section("Images and models", _origin(graded)),
        Section("Files", [Table(("file", "what"), _files())]),
    ]
    if prediction.problems:
        sections.insert(1, Section("Remarks on the images", [_problems(prediction)]))
    write_page(path, f"Study {prediction.study_id}", sections, NOTICE)


def _problems(prediction: StudyPrediction) -> Table:
    return problem_table(replace(p, study="") for p in prediction.problems)


def meaning(prediction: StudyPrediction) -> str:
    """What the probabilities of a study are, in a sentence or two."""
    if any(f.calibrated is not None for f in prediction.findings.values()):
        return (
            "Probabilities are calibrated on studies that the models had not seen; those by the "
            "models themselves, which count severe grades higher, stand beside them."
        )
    return (
        "Probabilities are not calibrated: they are the models' own, which count severe grades "
        "higher than they occur. A blend file brings calibration."
    )


def _figures(graded: GradedStudy) -> list[Block]:
    drawn = [
        Figure(line.pictures[name], f"{plain_name(name)}: {line.kind}, series {line.series_id}")
        for name in dict.fromkeys(t.sided_condition for t in TABLE_ORDER)
        for line in graded.series
        if name in line.pictures
    ]
    return [Text("Rings are predicted places, with the most probable grade."), *drawn]


def _place_rows(findings: Iterable[Finding]) -> list[list[object]]:
    rows: list[list[object]] = []
    for f in findings:
        if (place := f.point) is None:
            continue
        patient = ", ".join(f"{v:.1f}" for v in place.patient or ())
        name = plain_name(f.target.sided_condition)
        grade, share = f.grade.label, f"{f.shown[f.grade]:.0%}"
        weighted = f"{f.probabilities[f.grade]:.0%}"
        at = f"{place.x:.0f}, {place.y:.0f}"
        start = [name, f.target.level.label, grade, share, weighted]
        rows.append([*start, place.series_id, place.instance_number, at, patient])
    return rows


def _origin(graded: GradedStudy) -> list[Block]:
    series = [
        [s.series_id, s.kind.value if s.kind else "unknown", s.slices, s.rows, s.columns]
        for s in graded.series
    ]
    models = [
        [s.recipe, str(s.fold) if s.fold >= 0 else "not known"] for s in graded.prediction.sources
    ]
    flips = "those trained for it with" if graded.flip else "without"
    return [
        Table(_SERIES, series, caption="Series"),
        Table(("model", "fold"), models, caption=f"Models, averaged, {flips} mirrored volumes"),
    ]


def _files() -> list[list[object]]:
    return [
        [Link(FINDINGS_FILE, FINDINGS_FILE), "all findings with places, models and problems"],
        [Link(TABLE_FILE, TABLE_FILE), "the findings as a table"],
        [Link("all studies", f"../{PAGE_FILE}"), "the page of all studies graded together"],
    ]


def grade_counts(prediction: StudyPrediction) -> dict[str, int]:
    """How many findings have each grade, and how many are not graded."""
    counts = Counter(f.grade for f in prediction.findings.values())
    not_graded = len(FINDINGS) - counts.total()
    return {**{g.column: counts[g] for g in Grade}, "not_graded": not_graded}


def plain_name(sided_condition: str) -> str:
    """A condition with its side, in plain words."""
    return sided_condition.replace("_", " ")
