"""Result folder of a grading run: a folder per study, and the overview of all studies."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lumbargrade import __version__
from lumbargrade.dicom.find import FoundStudies, FoundStudy
from lumbargrade.dicom.study import Study
from lumbargrade.domain.errors import BadDicom, BadInput, Problem, UsageError
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.reasons import by_reason, named
from lumbargrade.domain.vocabulary import Grade
from lumbargrade.files.urls import Place
from lumbargrade.grading.findings_file import GradedStudy, read_findings
from lumbargrade.report.overview import (
    FURTHER_PAGE,
    SUMMARY_FILE,
    GradingSummary,
    Overview,
    StudyEntry,
)
from lumbargrade.report.page import PAGE_FILE
from lumbargrade.report.study import (
    FINDINGS_FILE,
    MEASUREMENTS_FILE,
    TABLE_FILE,
    grade_counts,
    write_study,
)
from lumbargrade.report.text import log_problems

log = logging.getLogger(__name__)

_LONGEST_NAME = 100


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
        out: an existing folder; gets a folder per study and, if at least one study was graded,
            ``index.html``, ``findings.csv`` and ``summary.json``.
        found: the studies.
        models: fingerprint of the models and of their use.
        restart: grade all studies again.
        pictures: draw pictures of the findings.

    Raises:
        UsageError: if the results of a study would be written into a folder of images.
    """

    def __init__(
        self,
        out: Path,
        found: FoundStudies,
        models: str,
        *,
        restart: bool,
        pictures: bool = True,
    ) -> None:
        self.out, self.found, self.restart, self.pictures = out, found, restart, pictures
        self._models = models
        self._folders = result_folders(found.studies, out)
        self._overview = Overview(out)
        self._failed = [p for p in found.problems if not p.file]

    def waiting(self) -> Iterator[Waiting]:
        """Iterate over the studies that need grading, with a progress bar."""
        hidden = True if len(self._folders) < 2 else None
        with logging_redirect_tqdm():
            for folder, study in tqdm(
                self._folders.items(), desc="studies", unit="study", disable=hidden
            ):
                try:
                    fingerprint = result_fingerprint(self._models, study.fingerprint())
                except BadDicom as error:
                    self.fail(Waiting(folder, study, ""), error)
                    continue
                one = Waiting(folder, study, fingerprint)
                known = None if self.restart else known_result(self.out / folder, fingerprint)
                if known is None:
                    yield one
                else:
                    self._overview.add(StudyEntry.of(folder, known, reused=True))

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
        graded = write_study(
            where,
            study,
            prediction,
            flip=flip,
            about=about,
            fingerprint=one.fingerprint,
            pictures=self.pictures,
        )
        self._overview.add(StudyEntry.of(one.folder, graded))
        log_graded(prediction, where)

    def fail(self, one: Waiting, error: Exception) -> None:
        """Record and log a study that could not be graded."""
        where = self.out / one.folder
        earlier = where if (where / FINDINGS_FILE).exists() else None
        self._failed.append(failure(one.study.study_id, one.study.folder, error, earlier))
        log.error("%s", self._failed[-1])

    def finish(self) -> GradingSummary:
        """Write the overview, if any study was graded, and return the summary."""
        files = [p for p in self.found.problems if p.file]
        return self._overview.finish(list(self._folders), self._failed, files)


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
    log.info("study %s: %s; %s", study_id, ", ".join(words), where / PAGE_FILE)
    for reason, targets in by_reason(prediction.absent).items():
        log.info("study %s: not graded: %s: %s", study_id, named(targets), reason)
    log_problems(log, prediction.problems)


def failure(
    study_id: str, images: Place, error: Exception, earlier: Place | None = None
) -> Problem:
    """Return why a study could not be graded.

    Args:
        study_id: the study.
        images: its folder or URL.
        error: what went wrong.
        earlier: the folder of results of an earlier run, if there are any.
    """
    what = str(error).removeprefix(f"study {study_id}: ")
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


def result_folders(studies: Sequence[FoundStudy], out: Path) -> dict[str, FoundStudy]:
    """Return a unique folder name for every study; see `folder_names`.

    Raises:
        UsageError: if the results of a study would be written into a folder of images.
    """
    names = folder_names([study.study_id for study in studies])
    for name, study in zip(names, studies, strict=True):
        require_no_images(out / name, study)
    return dict(zip(names, studies, strict=True))


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
