"""Many studies through the models, one in memory at a time, each into its own folder."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lumbargrade import __version__
from lumbargrade.dicom.collection import Collection, FoundStudy
from lumbargrade.domain.errors import BadDicom, BadInput, NothingDone, Problem, UsageError
from lumbargrade.domain.reasons import by_reason, named
from lumbargrade.domain.vocabulary import Grade
from lumbargrade.outputs.findings import GradedStudy, read_findings
from lumbargrade.outputs.grading_summary import SUMMARY_FILE, GradingSummary, write_summary
from lumbargrade.outputs.problems import log_problems
from lumbargrade.outputs.study_report import (
    FINDINGS_FILE,
    PAGE_FILE,
    TABLE_FILE,
    grade_counts,
    write_study,
)
from lumbargrade.prediction.grading import grade_study
from lumbargrade.prediction.predictor import Predictor

log = logging.getLogger(__name__)

_LONGEST_NAME = 100


def grade_collection(
    found: Collection,
    predictor: Predictor,
    out: Path,
    *,
    restart: bool = False,
    check_points: bool = True,
) -> GradingSummary:
    """Grade every study, one in memory at a time; what cannot be graded is named at the end.

    A study whose findings were made from the same images by the same models is kept as it is.

    Args:
        found: the studies.
        predictor: loaded models, averaged or blended.
        out: gets a folder per study, and ``index.html``, ``findings.csv`` and ``summary.json``
            where at least one study was graded.
        restart: grade again what is there already.
        check_points: leave out findings whose points cannot be right (see `grade_study`).

    Raises:
        UsageError: if results would go among the images.
    """
    folders = _folders(found.studies, out)
    models = f"{__version__}|{check_points}|{predictor.fingerprint()}"
    graded: dict[str, GradedStudy] = {}
    reused: list[str] = []
    failed = [p for p in found.problems if not p.file]
    hidden = True if len(folders) < 2 else None
    with logging_redirect_tqdm():
        for folder, study in tqdm(folders.items(), desc="studies", unit="study", disable=hidden):
            try:
                fingerprint = hashlib.sha256((models + study.fingerprint()).encode()).hexdigest()
                known = None if restart else _known(out / folder / FINDINGS_FILE, fingerprint)
                graded[folder] = known or _grade(
                    study, predictor, out / folder, fingerprint, check_points
                )
                if known is not None:
                    reused.append(folder)
            except (BadDicom, NothingDone) as error:
                failed.append(_failure(study, error, out / folder))
                log.error("%s", failed[-1])
    files = tuple(p for p in found.problems if p.file)
    summary = GradingSummary(out, graded, tuple(reused), tuple(failed), files)
    if graded:
        write_summary(summary)
    return summary


def _grade(
    found: FoundStudy, predictor: Predictor, folder: Path, fingerprint: str, check_points: bool
) -> GradedStudy:
    study = found.read()
    prediction = grade_study(study, predictor, check_points=check_points)
    flip = predictor.flip and any(m.flips for m in predictor.members)
    graded = write_study(folder, study, prediction, flip=flip, fingerprint=fingerprint)
    counts = grade_counts(prediction)
    words = [f"{counts[g.column]} {g.label.lower()}" for g in Grade]
    words.append(f"{counts['not_graded']} not graded")
    log.info("study %s: %s; %s", study.study_id, ", ".join(words), folder / PAGE_FILE)
    for reason, targets in by_reason(prediction.absent).items():
        log.info("study %s: not graded: %s: %s", study.study_id, named(targets), reason)
    log_problems(log, prediction.problems)
    return graded


def _failure(study: FoundStudy, error: Exception, folder: Path) -> Problem:
    what = str(error).removeprefix(f"study {study.study_id}: ")
    if (folder / FINDINGS_FILE).exists():
        what += f"; {folder} still holds the findings of an earlier run"
    advice = f"`lumbargrade inspect {study.folder}` tells what is there"
    return Problem(what, study=study.study_id, advice=advice)


def _known(path: Path, fingerprint: str) -> GradedStudy | None:
    """An earlier result that is the same as a new one would be."""
    try:
        known = read_findings(path)
    except BadInput:
        return None
    return known if known.fingerprint == fingerprint else None


def _folders(studies: Sequence[FoundStudy], out: Path) -> dict[str, FoundStudy]:
    """A folder name for every study: its id, as far as that can be a file name."""
    named: dict[str, FoundStudy] = {}
    taken = {PAGE_FILE, TABLE_FILE, SUMMARY_FILE}
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
            raise UsageError(f"--out {out}: results would go among the images of {target}")
    return named
