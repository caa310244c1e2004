"""Result of one study of a grading run: its folder, its fingerprint, and why there is none."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from lumbargrade import __version__
from lumbargrade.dicom.find import FoundStudy
from lumbargrade.domain.errors import BadInput, Problem, UsageError
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.reasons import by_reason, named
from lumbargrade.domain.vocabulary import Grade
from lumbargrade.files.urls import Place
from lumbargrade.grading.findings_file import read_findings
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.report.overview import SUMMARY_FILE
from lumbargrade.report.overview_page import FURTHER_PAGE
from lumbargrade.report.page import PAGE_FILE
from lumbargrade.report.study import (
    FINDINGS_FILE,
    MEASUREMENTS_FILE,
    TABLE_FILE,
    grade_counts,
)
from lumbargrade.report.study_page import REPORT_FILE
from lumbargrade.report.text import log_problems

log = logging.getLogger(__name__)

_LONGEST_NAME = 100


def known_result(where: Path, fingerprint: str) -> GradedStudy | None:
    """Return the result in a study's folder, if it was made from these images and models."""
    try:
        known = read_findings(where / FINDINGS_FILE)
    except BadInput:
        return None
    return known if known.fingerprint == fingerprint else None


def log_graded(prediction: StudyPrediction, where: Place) -> None:
    """Log the grades of a study, why findings are absent, and the problems of its images."""
    counts = grade_counts(prediction)
    words = [f"{counts[g.column]} {g.label.lower()}" for g in Grade]
    words.append(f"{counts['not_graded']} not graded")
    study_id = prediction.study_id
    log.info("study %s: %s; %s", study_id, ", ".join(words), where / REPORT_FILE)
    for reason, targets in by_reason(prediction.absent).items():
        log.info("study %s: not graded: %s: %s", study_id, named(targets), reason)
    log_problems(log, prediction.problems)


def failure(study_id: str, images: Place, what: str, earlier: Place | None = None) -> Problem:
    """Return why a study could not be graded.

    Args:
        study_id: the study.
        images: its folder or URL.
        what: what went wrong.
        earlier: the folder of results of an earlier run, if there are any.
    """
    what = what.removeprefix(f"study {study_id}: ")
    if earlier is not None:
        what += f"; {earlier} still has the findings of an earlier run"
    advice = f"`lumbargrade inspect {images}` tells what is there"
    if not isinstance(images, Path):
        advice = f"fetch {images}; `lumbargrade inspect` tells what is there"
    return Problem(what, study=study_id, advice=advice)


def result_fingerprint(models: str, images: str) -> str:
    """Return the fingerprint of a result: that of its images, of its models and this version.

    Args:
        models: fingerprint of the models and of their use.
        images: fingerprint of the study's files.
    """
    return hashlib.sha256(f"{__version__}|{models}{images}".encode()).hexdigest()


def require_no_images(target: Path, study: FoundStudy) -> None:
    """Check that a study has no images in the folder for its results.

    Raises:
        UsageError: if it has.
    """
    target = target.resolve()
    folders = (Path(folder) for folder, _ in study.folders)
    if any(folder == target or target in folder.parents for folder in folders):
        raise UsageError(
            f"refusing to write results into the image folder {target}; choose another --out"
        )


def folder_names(study_ids: Sequence[str]) -> list[str]:
    """Return a unique folder name for every study: its id with unsafe characters replaced."""
    names = []
    taken = {PAGE_FILE, TABLE_FILE, MEASUREMENTS_FILE, SUMMARY_FILE}
    for study_id in study_ids:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", study_id).strip("._")[:_LONGEST_NAME]
        name, number = plain or "study", 1
        while name.lower() in taken or FURTHER_PAGE.fullmatch(name.lower()):
            number += 1
            name = f"{plain or 'study'}-{number}"
        taken.add(name.lower())
        names.append(name)
    return names
