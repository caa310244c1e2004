"""Grades the studies of a queue by a worker process that may die."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

from lumbargrade.batch.results import Results
from lumbargrade.batch.run import open_worker
from lumbargrade.batch.steps import Opened, StudyJob, StudyOutcome
from lumbargrade.dicom.find import find_studies
from lumbargrade.domain.errors import LumbargradeError
from lumbargrade.launch.crew import Event, OpenWorker
from lumbargrade.launch.dispatch import Dispatch, GivenUp, Limits
from lumbargrade.launch.processes import ProcessCrew
from lumbargrade.serve.inbox import Folders, sop_instance_of
from lumbargrade.serve.queue import Claim, Queue, State
from lumbargrade.serve.settings import Settings

log = logging.getLogger(__name__)

#: Seconds between two looks at the queue when nothing waits, or at a request to stop.
_PAUSE = 0.5


class Stopped(Exception):
    """The node is to end."""


class _Crew(ProcessCrew):
    """A process that works until the node is to end."""

    def __init__(self, start: OpenWorker, threads: int, stop: threading.Event) -> None:
        super().__init__(start, threads)
        self._stop = stop

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
    """

    def __init__(
        self,
        open_models: Callable[[int], Opened],
        settings: Settings,
        folders: Folders,
        queue: Queue,
        ended: Callable[[State, float], None],
        stop: threading.Event,
    ) -> None:
        self.settings, self.folders, self.queue, self._ended = settings, folders, queue, ended
        self._stop = stop
        results = Results(folders.results.resolve(), folders.scratch)
        self._start = partial(open_worker, open_models, results, False)
        #: set when the models have been opened once
        self.ready = threading.Event()

    def run(self, threads: int) -> float:
        """Grade until the node is to end; a step of a `Loop`.

        Raises:
            LumbargradeError: if the models cannot be opened.
        """
        with closing(_Crew(self._start, threads, self._stop)) as crew:
            limits = Limits(job=60 * self.settings.studies.grade_minutes)
            dispatch: Dispatch[StudyJob, StudyOutcome] = Dispatch(crew, 1, limits)
            try:
                dispatch.start()
                self.ready.set()
                while not self._stop.wait(_PAUSE):
                    self._grade_waiting(dispatch, crew)
            except Stopped:
                pass
        return 0.0

    def _grade_waiting(self, dispatch: Dispatch[StudyJob, StudyOutcome], crew: _Crew) -> None:
        claims: dict[str, tuple[Claim, float]] = {}
        for job, outcome in dispatch.run(self._jobs(claims, crew)):
            claim, since = claims.pop(job.folder)
            seconds = time.monotonic() - since
            if isinstance(outcome, GivenUp):
                if not crew.staffed:
                    self.queue.release(claim)
                    raise LumbargradeError(outcome.reason)
                self._fail(claim, outcome.reason, seconds)
            elif outcome.failed is not None:
                self._fail(claim, outcome.failed.what, seconds)
            else:
                self._finish(claim, seconds)

    def _jobs(self, claims: dict[str, tuple[Claim, float]], crew: _Crew) -> Iterator[StudyJob]:
        """Take studies that wait, one by one."""
        while crew.staffed and not self._stop.is_set() and (claim := self.queue.claim()):
            log.info("grading", extra={"study": claim.id, "result": claim.result})
            found = find_studies([self.folders.images_of(claim.id)], most_headers=0)
            mine = [study for study in found.studies if study.study_id == claim.uid]
            if mine:
                claims[claim.folder] = claim, time.monotonic()
                yield StudyJob(claim.folder, mine[0])
            else:
                why = "; ".join(dict.fromkeys(problem.what for problem in found.problems))
                self._fail(claim, why or "no usable image", 0.0)

    def _finish(self, claim: Claim, seconds: float) -> None:
        folder = self.folders.results / claim.folder
        files = {file.name: sop_instance_of(file) for file in sorted(folder.glob("*.dcm"))}
        hours = {to.name: 3600 * to.give_up_hours for to in self.settings.send}
        self._tell(claim, self.queue.graded(claim, files, hours), seconds)

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
