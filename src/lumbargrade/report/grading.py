"""Result of `grade`: a folder per study; a page, a table and a summary of all studies."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lumbargrade import __version__
from lumbargrade.dicom.scan import FoundStudies, FoundStudy
from lumbargrade.dicom.study import Study
from lumbargrade.domain.errors import BadDicom, BadInput, Problem, UsageError
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.reasons import by_reason, named
from lumbargrade.domain.vocabulary import FINDINGS, TABLE_ORDER, Grade, plain_name
from lumbargrade.grading.findings_file import (
    NOTICE,
    GradedStudy,
    read_findings,
    write_findings_csv,
    write_measurements_csv,
)
from lumbargrade.report.page import PAGE_FILE, Link, Section, Table, Text, problem_table, write_page
from lumbargrade.report.study import (
    FINDINGS_FILE,
    MEASUREMENTS_FILE,
    TABLE_FILE,
    grade_counts,
    write_study,
)
from lumbargrade.report.text import counted, log_problems, write_json

log = logging.getLogger(__name__)

SUMMARY_FILE = "summary.json"
_LONGEST_NAME = 100


@dataclass(frozen=True)
class GradingSummary:
    """Summary of a grading run.

    Attributes:
        out: the folder of the results.
        graded: folder below ``out`` -> its study.
        reused: folders whose results an earlier run had written.
        failed: studies and paths that could not be graded.
        problems: problems of files that belong to no study.
    """

    out: Path
    graded: dict[str, GradedStudy]
    reused: tuple[str, ...]
    failed: tuple[Problem, ...]
    problems: tuple[Problem, ...]

    @property
    def all_problems(self) -> list[Problem]:
        of_studies = [q for g in self.graded.values() for q in g.prediction.problems]
        return [*self.failed, *self.problems, *of_studies]

    def as_dict(self) -> dict[str, Any]:
        models = dict.fromkeys(s for g in self.graded.values() for s in g.prediction.sources)
        return {
            "lumbargrade": __version__,
            "notice": NOTICE,
            "out": str(self.out),
            "models": [{"recipe": s.recipe, "fold": s.fold} for s in models],
            "studies": [self._entry(folder, g) for folder, g in self.graded.items()],
            "failed": [p.as_dict() for p in self.failed],
            "problems": [p.as_dict() for p in self.problems],
        }

    def _entry(self, folder: str, graded: GradedStudy) -> dict[str, Any]:
        prediction = graded.prediction
        numbering = prediction.numbering
        return {
            "study_id": prediction.study_id,
            "folder": folder,
            "reused": folder in self.reused,
            **grade_counts(prediction),
            "problems": len(prediction.problems),
            "images_lost": any(p.fatal for p in prediction.problems),
            "numbering_certain": None if numbering is None else numbering.certain,
        }

    def text(self) -> str:
        """A few lines for the log."""
        page = f"; open {self.out / PAGE_FILE}" if self.graded else ""
        lines = [f"{counted(len(self.graded), 'study', 'studies')} graded{page}"]
        if self.reused:
            lines.append(
                f"{len(self.reused)} of them were graded by an earlier run (--restart grades again)"
            )
        if self.failed:
            lines.append(f"{len(self.failed)} could not be graded:")
            lines += [f"  {p}" for p in self.failed]
        return "\n".join(lines)


def write_summary(summary: GradingSummary) -> None:
    """Write the page, the table and the summary of all studies, each atomically."""
    out = summary.out
    predictions = [(folder, g.prediction) for folder, g in summary.graded.items()]
    write_findings_csv(out / TABLE_FILE, predictions)
    if any(p.measurements for _, p in predictions):
        write_measurements_csv(out / MEASUREMENTS_FILE, predictions)
    note = (
        "Each cell has the worst grade of a condition and side, with its levels. The page of a "
        "study gives the reason for each finding that is not graded."
    )
    sections = [Section("Studies", [Text(note), _overview(predictions)])]
    if summary.failed:
        sections.append(Section("Studies not graded", [_failed_table(summary.failed)]))
    if summary.problems:
        sections.append(Section("Files without a study", [problem_table(summary.problems)]))
    abouts = dict.fromkeys(g.about for g in summary.graded.values() if g.about)
    write_page(out / PAGE_FILE, "Graded studies", sections, NOTICE, " ".join(abouts))
    write_json(out / SUMMARY_FILE, summary.as_dict())


def _overview(predictions: Sequence[tuple[str, StudyPrediction]]) -> Table:
    names = list(dict.fromkeys(t.sided_condition for t in TABLE_ORDER))
    rows: list[list[object]] = []
    for folder, prediction in predictions:
        link = Link(prediction.study_id or folder, f"{folder}/{PAGE_FILE}")
        not_graded = grade_counts(prediction)["not_graded"] or None
        problems = len(prediction.problems) or None
        worst = [_worst(prediction, name) for name in names]
        rows.append([link, *worst, _numbered(prediction), not_graded, problems])
    header = ["study", *map(plain_name, names), "numbering", "not graded", "problems"]
    if not any(row[-3] for row in rows):  # the models do not decide the numbering explicitly
        header, rows = [*header[:-3], *header[-2:]], [[*row[:-3], *row[-2:]] for row in rows]
    return Table(header, rows)


def _numbered(prediction: StudyPrediction) -> str:
    numbering = prediction.numbering
    if numbering is None:
        return ""
    if numbering.shift:
        return f"shifted by {numbering.shift:+d}"
    return f"{numbering.confidence:.0%}" + ("" if numbering.certain else ", uncertain")


def _worst(prediction: StudyPrediction, sided_condition: str) -> str:
    mine = [t for t in FINDINGS if t.sided_condition == sided_condition]
    found = [prediction.findings[t] for t in mine if t in prediction.findings]
    if not found:
        return "not graded"
    worst = max(f.grade for f in found)
    text = worst.label
    if worst is not Grade.NORMAL_MILD:
        levels = [f.target.level.label for f in found if f.grade is worst]
        text += " (all levels)" if len(levels) == len(mine) else f" ({', '.join(levels)})"
    if absent := [t.level.label for t in mine if t not in prediction.findings]:
        text += f"; not graded: {', '.join(absent)}"
    return text


def _failed_table(failed: Sequence[Problem]) -> Table:
    return Table(("study", "problem", "what to do"), [[p.study, p.what, p.advice] for p in failed])


@dataclass(frozen=True)
class Waiting:
    """A study that waits to be graded.

    Attributes:
        folder: name of the folder for its results.
        study: its files.
        fingerprint: identifies its images and the models.
    """

    folder: str
    study: FoundStudy
    fingerprint: str


class ResultFolder:
    """Writes the results of a grading run: a folder for each study, and an overview.

    Results that an earlier run made from the same images with the same models are kept.

    Args:
        out: gets a folder per study and, if at least one study was graded, ``index.html``,
            ``findings.csv`` and ``summary.json``.
        found: the studies.
        models: fingerprint of the models and of their use.
        restart: grade all studies again.

    Raises:
        UsageError: if the results of a study would be written into a folder of images.
    """

    def __init__(self, out: Path, found: FoundStudies, models: str, *, restart: bool) -> None:
        self.out, self.found, self.restart = out, found, restart
        self._models = f"{__version__}|{models}"
        self._folders = _folders(found.studies, out)
        self._graded: dict[str, GradedStudy] = {}
        self._reused: list[str] = []
        self._failed = [p for p in found.problems if not p.file]

    def waiting(self) -> Iterator[Waiting]:
        """Iterate over the studies that need grading, with a progress bar."""
        hidden = True if len(self._folders) < 2 else None
        with logging_redirect_tqdm():
            for folder, study in tqdm(
                self._folders.items(), desc="studies", unit="study", disable=hidden
            ):
                try:
                    content = self._models + study.fingerprint()
                except BadDicom as error:
                    self.fail(Waiting(folder, study, ""), error)
                    continue
                one = Waiting(folder, study, hashlib.sha256(content.encode()).hexdigest())
                known = None if self.restart else self._known(one)
                if known is None:
                    yield one
                else:
                    self._graded[folder] = known
                    self._reused.append(folder)

    def write(
        self,
        one: Waiting,
        study: Study,
        prediction: StudyPrediction,
        *,
        flip: bool,
        about: str = "",
    ) -> None:
        """Write the results of a study and log a summary.

        Args:
            one: from `waiting`.
            study: its volumes, for the pictures.
            prediction: all 25 findings, graded or absent.
            flip: whether any model was also run on mirrored volumes (flip averaging).
            about: what a reader must know of the models; see `Predictor.about`.
        """
        where = self.out / one.folder
        self._graded[one.folder] = write_study(
            where, study, prediction, flip=flip, about=about, fingerprint=one.fingerprint
        )
        counts = grade_counts(prediction)
        words = [f"{counts[g.column]} {g.label.lower()}" for g in Grade]
        words.append(f"{counts['not_graded']} not graded")
        log.info("study %s: %s; %s", study.study_id, ", ".join(words), where / PAGE_FILE)
        for reason, targets in by_reason(prediction.absent).items():
            log.info("study %s: not graded: %s: %s", study.study_id, named(targets), reason)
        log_problems(log, prediction.problems)

    def fail(self, one: Waiting, error: Exception) -> None:
        """Record and log a study that could not be graded."""
        study, where = one.study, self.out / one.folder
        what = str(error).removeprefix(f"study {study.study_id}: ")
        if (where / FINDINGS_FILE).exists():
            what += f"; {where} still has the findings of an earlier run"
        advice = f"`lumbargrade inspect {study.folder}` tells what is there"
        self._failed.append(Problem(what, study=study.study_id, advice=advice))
        log.error("%s", self._failed[-1])

    def finish(self) -> GradingSummary:
        """Write the overview, if any study was graded, and return the summary."""
        files = tuple(p for p in self.found.problems if p.file)
        summary = GradingSummary(
            self.out, self._graded, tuple(self._reused), tuple(self._failed), files
        )
        if self._graded:
            write_summary(summary)
        return summary

    def _known(self, one: Waiting) -> GradedStudy | None:
        """The result of an earlier run with the same images and models."""
        try:
            known = read_findings(self.out / one.folder / FINDINGS_FILE)
        except BadInput:
            return None
        return known if known.fingerprint == one.fingerprint else None


def _folders(studies: Sequence[FoundStudy], out: Path) -> dict[str, FoundStudy]:
    """A unique folder name for every study: its id with unsafe characters replaced."""
    named: dict[str, FoundStudy] = {}
    taken = {PAGE_FILE, TABLE_FILE, MEASUREMENTS_FILE, SUMMARY_FILE}
    for study in studies:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", study.study_id).strip("._")[:_LONGEST_NAME]
        name, number = plain or "study", 1
        while name.lower() in taken:
            number += 1
            name = f"{plain or 'study'}-{number}"
        taken.add(name.lower())
        named[name] = study
        target = (out / name).resolve()
        if any(target in file.parents for file in study.files):
            raise UsageError(
                f"refusing to write results into the image folder {target}; choose another --out"
            )
    return named
