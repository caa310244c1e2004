"""The steps from a study's files to its results: read, grade, write; what fails ends only these."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from lumbargrade.batch.results import Results
from lumbargrade.bids.derivatives import findings_path, write_derivatives
from lumbargrade.bids.names import stem_of
from lumbargrade.bids.read import BidsStudy
from lumbargrade.dicom.copies import CopiedStudy
from lumbargrade.dicom.find import FoundStudy
from lumbargrade.dicom.study import Study, read_found
from lumbargrade.domain.errors import Problem, described
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.grading.predictor import Predictor
from lumbargrade.grading.study import grade_study
from lumbargrade.launch.worker import spoils
from lumbargrade.report.grading import failure, log_graded, result_fingerprint
from lumbargrade.report.overview import StudyEntry
from lumbargrade.report.study import write_study
from lumbargrade.report.text import log_problems
from lumbargrade.report.wording import Wording
from lumbargrade.team_two_stage.predictor import Unread

log = logging.getLogger(__name__)

After = TypeVar("After")


@dataclass(frozen=True)
class Opened:
    """Opened models, and how they are used.

    Attributes:
        predictor: the models.
        how: fingerprint of the models and of their use.
        check_points: see `grade_study`.
        pictures: draw pictures.
        dicom: write DICOM objects.
        dicom_summary: also write a picture of all findings as a DICOM image.
        wording: words of the draft report; None for those of the package.
        bids: folder for BIDS derivatives; None: none are written.
    """

    predictor: Predictor
    how: str
    check_points: bool = True
    pictures: bool = True
    dicom: bool = True
    dicom_summary: bool = False
    wording: Wording | None = None
    bids: Path | None = None

    @property
    def hello(self) -> Hello:
        """What is said of the models."""
        return Hello(self.how, self.predictor.about, self.predictor.calibrated)


@dataclass(frozen=True)
class Hello:
    """What a worker says of its models: fingerprint, and texts for the log."""

    how: str
    about: str
    calibrated: bool


#: A study whose files are here, or are copied before they are read.
AnyStudy = FoundStudy | CopiedStudy | BidsStudy


@dataclass(frozen=True)
class StudyJob:
    """A study that waits to be graded.

    Attributes:
        folder: name of the folder for its results.
        study: its files.
    """

    folder: str
    study: AnyStudy


@dataclass(frozen=True)
class StudyOutcome:
    """What became of a study.

    Attributes:
        entry: for the overview; None if it was not graded.
        failed: why it was not graded.
        spoilt: whether the process can grade no other study because of it.
    """

    entry: StudyEntry | None
    failed: Problem | None = None
    spoilt: bool = False


@dataclass(frozen=True)
class ReadStudy:
    """A study that has been read, and the fingerprint of its result."""

    job: StudyJob
    study: Study
    fingerprint: str


@dataclass(frozen=True)
class Predicted:
    """A study that has been graded."""

    read: ReadStudy
    prediction: StudyPrediction


class Steps:
    """Grades studies in three steps, which different threads may do for different studies.

    Each step takes what the one before returns. If that is the outcome already, because the study
    was graded earlier or a step failed, it is passed on. No step raises: any error of a study is an
    outcome, so that the other studies are graded.

    Args:
        opened: the models.
        results: gets a folder per study.
        restart: also grade studies again that an earlier run graded.
    """

    def __init__(self, opened: Opened, results: Results, *, restart: bool) -> None:
        self.opened, self.results, self.restart = opened, results, restart

    def waiting(self, jobs: Iterable[StudyJob]) -> Iterator[Unread]:
        """Yield the studies on this machine that have no result, with what reads their series."""
        for job in jobs:
            source = job.study
            if not isinstance(source, FoundStudy):
                continue
            fingerprint = result_fingerprint(self.opened.how, source.fingerprint())
            if self.restart or self.results.known(job.folder, fingerprint) is None:
                yield source.study_id, partial(_volumes, source)

    def all(self, job: StudyJob) -> StudyOutcome:
        """Do all steps."""
        return self.write(self.grade(self.read(job)))

    def read(self, job: StudyJob) -> ReadStudy | StudyOutcome:
        """Read a study, unless its result is there."""
        return self._tried(job, partial(self._read, job))

    def grade(self, read: ReadStudy | StudyOutcome) -> Predicted | StudyOutcome:
        """Grade a study."""
        if isinstance(read, StudyOutcome):
            return read
        return self._tried(read.job, partial(self._grade, read))

    def write(self, predicted: Predicted | StudyOutcome) -> StudyOutcome:
        """Write the results of a study and log a summary."""
        if isinstance(predicted, StudyOutcome):
            return predicted
        return self._tried(predicted.read.job, partial(self._write, predicted))

    def _tried(self, job: StudyJob, step: Callable[[], After]) -> After | StudyOutcome:
        try:
            return step()
        except Exception as error:  # the other studies can be graded
            log.debug("study %s", job.study.study_id, exc_info=True)
            return failed(job, described(error), self.results, spoilt=spoils(error))

    def _read(self, job: StudyJob) -> ReadStudy | StudyOutcome:
        source = job.study
        read: Callable[[], Study]
        if isinstance(source, CopiedStudy):
            files = source.files()
            images = source.fingerprint(files)
            read = partial(source.read, files, self.results.scratch)
        else:
            images = source.fingerprint()
            read = source.read if isinstance(source, BidsStudy) else partial(read_found, source)
        fingerprint = result_fingerprint(self.opened.how, images)
        again = self.restart or self._lacks_derivatives(source.study_id)
        known = None if again else self.results.known(job.folder, fingerprint)
        if known is not None:
            return StudyOutcome(StudyEntry.of(job.folder, known, reused=True))
        return ReadStudy(job, read(), fingerprint)

    def _lacks_derivatives(self, study_id: str) -> bool:
        folder = self.opened.bids
        return folder is not None and not findings_path(folder, study_id).exists()

    def _write_derivatives(self, read: ReadStudy, graded: GradedStudy) -> None:
        if self.opened.bids is None:
            return
        source = read.job.study
        images = source.images if isinstance(source, BidsStudy) else ()
        sources = {stem_of(image.name): image for image in images}
        log_problems(log, write_derivatives(self.opened.bids, read.study, graded, sources))

    def _grade(self, read: ReadStudy) -> Predicted:
        check = self.opened.check_points
        return Predicted(read, grade_study(read.study, self.opened.predictor, check_points=check))

    def _write(self, predicted: Predicted) -> StudyOutcome:
        read, prediction = predicted.read, predicted.prediction
        folder = read.job.folder
        try:
            with self.results.writing(folder) as where:
                graded = write_study(
                    where,
                    read.study,
                    prediction,
                    flip=self.opened.predictor.flips,
                    about=self.opened.predictor.about,
                    fingerprint=read.fingerprint,
                    pictures=self.opened.pictures,
                    dicom=self.opened.dicom,
                    dicom_summary=self.opened.dicom_summary,
                    wording=self.opened.wording,
                )
            self._write_derivatives(read, graded)
        except OSError as error:
            place = error.filename or self.results.out / folder
            why = f"the results cannot be written: {error.strerror or described(error)}: {place}"
            return failed(
                read.job, why, self.results, advice="check free space and rights of --out"
            )
        log_graded(graded.prediction, self.results.out / folder)
        return StudyOutcome(StudyEntry.of(folder, graded))


def _volumes(source: FoundStudy) -> tuple[Volume, ...]:
    return read_found(source).used


def failed(
    job: StudyJob, what: str, results: Results, *, spoilt: bool = False, advice: str = ""
) -> StudyOutcome:
    """The outcome of a study that has no result, why, and what to do if its images are not why."""
    earlier = results.out / job.folder if results.has_earlier(job.folder) else None
    problem = failure(job.study.study_id, job.study.folder, what, earlier)
    if advice:
        problem = replace(problem, advice=advice)
    return StudyOutcome(None, problem, spoilt)
