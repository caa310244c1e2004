"""Grades the studies of a queue by a worker process that may die."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from lumbargrade.batch.results import Results
from lumbargrade.batch.run import open_worker
from lumbargrade.batch.steps import Opened, StudyJob, StudyOutcome
from lumbargrade.dicom.find import find_studies
from lumbargrade.domain.errors import LumbargradeError
from lumbargrade.launch.crew import Event, OpenWorker
from lumbargrade.launch.dispatch import Dispatch, GivenUp, Limits
from lumbargrade.launch.processes import ProcessCrew
from lumbargrade.serve.inbox import Folders, dicom_files
from lumbargrade.serve.queue import Queue
from lumbargrade.serve.reviews import in_words
from lumbargrade.serve.settings import Settings
from lumbargrade.serve.states import Claim, State

log = logging.getLogger(__name__)

#: Seconds between two looks at the queue when nothing waits, or at a request to stop.
_PAUSE = 0.5


class Stopped(Exception):
    """The node is to end."""


class _Crew(ProcessCrew):
    """A process that works until the node is to end; its place is that of the grader."""

    def __init__(self, start: OpenWorker, threads: int, place: int, stop: threading.Event) -> None:
        super().__init__(start, threads)
        self._place, self._stop = place, stop

    def hire(self, place: int) -> int:
        return super().hire(self._place)

    @property
    def staffed(self) -> bool:
        """Whether there is a worker, ready or not."""
        return bool(self._workers)

    def wait(self, seconds: float | None = None) -> Event | None:
        end = float("inf") if seconds is None else time.monotonic() + seconds
        while not self._stop.is_set():
            event = super().wait(min(_PAUSE, max(0.0, end - time.monotonic())))
            if event is not None or time.monotonic() >= end:
                return event
        raise Stopped


class Grader:
    """One worker process, and what it is given.

    Args:
        open_models: see `batch.run.grade_studies`.
        settings: of the node.
        folders, queue: of the node.
        ended: called with the state of a study whose grading has ended, and its seconds.
        stop: set when the node is to end.
        threads: of the worker.
        place: of the worker among all; see `OpenWorker`.

    Attributes:
        ready: set when the models have been opened once.
    """

    def __init__(
        self,
        open_models: Callable[[int], Opened],
        settings: Settings,
        folders: Folders,
        queue: Queue,
        ended: Callable[[State, float], None],
        stop: threading.Event,
        threads: int,
        place: int = 0,
    ) -> None:
        self.settings, self.folders, self.queue, self._ended = settings, folders, queue, ended
        self._stop, self._threads, self._place = stop, threads, place
        results = Results(folders.results.resolve(), folders.scratch)
        self._start = partial(open_worker, open_models, results, False)
        self.ready = threading.Event()
        self._crew: _Crew | None = None
        self._dispatch: Dispatch[StudyJob, StudyOutcome]

    def step(self) -> float:
        """Grade what waits; a step of a `Loop`.

        Raises:
            LumbargradeError: if the models cannot be opened. The next step tries again.
        """
        try:
            if self._crew is None:
                self._crew = _Crew(self._start, self._threads, self._place, self._stop)
                limits = Limits(job=60 * self.settings.studies.grade_minutes)
                self._dispatch = Dispatch(self._crew, 1, limits)
                self._dispatch.start()
                self.ready.set()
            self._grade_waiting(self._dispatch, self._crew)
        except Stopped:
            pass
        except Exception:
            self.close()
            raise
        return _PAUSE

    def close(self) -> None:
        """End the worker; a study that it grades waits until the next start."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    def _grade_waiting(self, dispatch: Dispatch[StudyJob, StudyOutcome], crew: _Crew) -> None:
        claims: dict[str, tuple[Claim, float]] = {}
        try:
            for job, outcome in dispatch.run(self._jobs(claims, crew)):
                if isinstance(outcome, GivenUp) and not crew.staffed:
                    raise LumbargradeError(outcome.reason)
                claim, since = claims.pop(job.folder)
                self._end(claim, outcome, time.monotonic() - since)
        finally:
            for claim, _ in claims.values():  # of a worker that is stopped, or cannot be replaced
                self.queue.release(claim)

    def _jobs(self, claims: dict[str, tuple[Claim, float]], crew: _Crew) -> Iterator[StudyJob]:
        """Take studies that wait, one by one."""
        while crew.staffed and not self._stop.is_set() and (claim := self.queue.claim()):
            log.info("grading", extra={"study": claim.id, "result": claim.result})
            claims[claim.folder] = claim, time.monotonic()
            if lost := self._lost(claim):
                self._fail(claim, f"{lost} images are lost; send the study again", 0.0)
                del claims[claim.folder]
                continue
            found = find_studies([self.folders.images_of(claim.id)], most_headers=0)
            mine = [study for study in found.studies if study.study_id == claim.uid]
            if mine:
                yield StudyJob(claim.folder, mine[0])
                continue
            why = "; ".join(dict.fromkeys(problem.what for problem in found.problems))
            self._fail(claim, why or "no usable image", 0.0)
            del claims[claim.folder]

    def _lost(self, claim: Claim) -> int:
        """Number of images that were acknowledged but are not on the disk any more."""
        folder = self.folders.images_of(claim.id)
        return sum(not (folder / f"{uid}.dcm").exists() for uid in self.queue.instances(claim.id))

    def _end(self, claim: Claim, outcome: StudyOutcome | GivenUp, seconds: float) -> None:
        if isinstance(outcome, GivenUp):
            self._fail(claim, outcome.reason, seconds)
            return
        if outcome.entry is None:
            why = outcome.failed.what if outcome.failed is not None else "no result"
            self._fail(claim, why, seconds)
            return
        try:
            files = dicom_files(self.folders.results / claim.folder)
        except OSError as error:
            self._fail(claim, str(error), seconds)
            return
        summary = in_words(outcome.entry.line.counts)
        state = self.queue.graded(claim, files, self.settings.tried_for, summary)
        self._tell(claim, state, seconds)

    def _fail(self, claim: Claim, reason: str, seconds: float) -> None:
        self._tell(claim, self.queue.failed(claim, self._plain(reason)), seconds)

    def _tell(self, claim: Claim, state: State, seconds: float) -> None:
        log.info("graded", extra={"study": claim.id, "result": claim.result, "state": str(state)})
        self._ended(state, seconds)

    def _plain(self, reason: str) -> str:
        """The reason without the folders of this machine."""
        for folder in (self.folders.images, self.folders.results):
            reason = reason.replace(f"{folder.resolve()}/", "").replace(f"{folder}/", "")
        return reason
