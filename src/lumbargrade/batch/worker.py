"""What a worker does with one study: it reads, grades and writes it, and reports a few lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lumbargrade.batch.remote import RemoteStudy
from lumbargrade.batch.results import Results
from lumbargrade.dicom.find import FoundStudy
from lumbargrade.dicom.study import Study, read_found
from lumbargrade.domain.errors import BadDicom, NothingDone, Problem
from lumbargrade.grading.predictor import Predictor
from lumbargrade.grading.study import grade_study
from lumbargrade.report.grading import failure, log_graded, result_fingerprint
from lumbargrade.report.overview import StudyEntry
from lumbargrade.report.study import write_study


@dataclass(frozen=True)
class Opened:
    """Opened models, and how they are used.

    Attributes:
        predictor: the models.
        how: fingerprint of the models and of their use.
        check_points: see `grade_study`.
        pictures: draw pictures.
    """

    predictor: Predictor
    how: str
    check_points: bool = True
    pictures: bool = True


@dataclass(frozen=True)
class Hello:
    """What a worker says of its models: fingerprint, and texts for the log."""

    how: str
    about: str
    calibrated: bool


@dataclass(frozen=True)
class StudyJob:
    """A study that waits to be graded.

    Attributes:
        folder: name of the folder for its results.
        study: its files.
    """

    folder: str
    study: FoundStudy | RemoteStudy


@dataclass(frozen=True)
class StudyOutcome:
    """What became of a study.

    Attributes:
        entry: for the overview; None if it was not graded.
        failed: why it was not graded.
    """

    entry: StudyEntry | None
    failed: Problem | None = None


def open_worker(
    open_models: Callable[[], Opened], results: Results, restart: bool, place: int
) -> tuple[Hello, Callable[[StudyJob], StudyOutcome]]:
    """Open the models of a worker; return what it says of itself, and its work.

    Args:
        open_models: a function of a module, or a partial of one.
        results: gets a folder per study.
        restart: also grade studies again that an earlier run graded.
        place: of the worker.
    """
    opened = open_models()
    predictor = opened.predictor
    hello = Hello(opened.how, predictor.about, predictor.calibrated)
    return hello, StudyWorker(opened, results, restart=restart).work


class StudyWorker:
    """Grades studies one after another; see `open_worker`."""

    def __init__(self, opened: Opened, results: Results, *, restart: bool) -> None:
        self.opened, self.results, self.restart = opened, results, restart

    def work(self, job: StudyJob) -> StudyOutcome:
        """Grade a study and write its results, unless they are there."""
        try:
            return StudyOutcome(self._entry(job))
        except (BadDicom, NothingDone) as error:
            return StudyOutcome(None, failed_job(job, error, self.results))

    def _entry(self, job: StudyJob) -> StudyEntry:
        study = job.study
        if isinstance(study, FoundStudy):
            fingerprint = result_fingerprint(self.opened.how, study.fingerprint())
            return self._known(job, fingerprint) or self._graded(
                job, read_found(study), fingerprint
            )
        files = study.files()
        fingerprint = result_fingerprint(self.opened.how, study.fingerprint(files))
        if (known := self._known(job, fingerprint)) is not None:
            return known
        with study.read(files, self.results.scratch) as images:
            return self._graded(job, images, fingerprint)

    def _known(self, job: StudyJob, fingerprint: str) -> StudyEntry | None:
        if self.restart or (known := self.results.known(job.folder, fingerprint)) is None:
            return None
        return StudyEntry.of(job.folder, known, reused=True)

    def _graded(self, job: StudyJob, study: Study, fingerprint: str) -> StudyEntry:
        predictor = self.opened.predictor
        prediction = grade_study(study, predictor, check_points=self.opened.check_points)
        with self.results.writing(job.folder) as where:
            graded = write_study(
                where,
                study,
                prediction,
                flip=predictor.flips,
                about=predictor.about,
                fingerprint=fingerprint,
                pictures=self.opened.pictures,
            )
        log_graded(prediction, self.results.out / job.folder)
        return StudyEntry.of(job.folder, graded)


def failed_job(job: StudyJob, error: Exception, results: Results) -> Problem:
    """Return why a study could not be graded."""
    earlier = results.out / job.folder if results.has_earlier(job.folder) else None
    return failure(job.study.study_id, job.study.folder, error, earlier)
