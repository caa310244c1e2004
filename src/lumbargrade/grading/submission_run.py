"""Predict the studies of a submission within a time limit; every study has a result in the end."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lumbargrade.domain.errors import LumbargradeError, NothingDone, described
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.grading.lsdc_studies import LsdcStudies, not_predicted, predict_one
from lumbargrade.grading.predictor import SubmissionModels
from lumbargrade.grading.study_worker import Died, Job, OpenJob, Worker
from lumbargrade.scoring.fill import Constants

if TYPE_CHECKING:
    from lumbargrade.grading.ensembles import BlendedEnsembles, Ensemble

log = logging.getLogger(__name__)

#: How often a study is tried if its process dies.
_ATTEMPTS = 2

#: A worker that cannot open the models for this many studies in a row gives up.
_GIVE_UP = 3

#: Longest time between two looks at the clock, in seconds.
_TICK = 0.5


@dataclass(frozen=True)
class TimeLimits:
    """When to stop.

    Attributes:
        end: when the run ends, by `time.monotonic`; None for never.
        study: seconds that a study may take; None for any. It needs a process per worker.
    """

    end: float | None = None
    study: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the run must end."""
        return self.end is not None and time.monotonic() >= self.end


#: Why a study was not predicted.
OUT_OF_TIME = "the time limit was reached"


@dataclass(frozen=True)
class LsdcJob:
    """Predict studies of a data set in the LSDC layout (a `Job`).

    Attributes:
        studies: the data set.
        models: opens the models; a function of a module, or a method of a plain object.
    """

    studies: LsdcStudies
    models: Callable[[], Ensemble | BlendedEnsembles]

    def open(self, number: int) -> OpenLsdcJob:
        # imported here, because only the processes that predict need the packages of networks
        from lumbargrade.grading.ensembles import opened_for_submission

        return OpenLsdcJob(self.studies, opened_for_submission(self.models, number))


@dataclass(frozen=True)
class OpenLsdcJob:
    """The job with its models (an `OpenJob`)."""

    studies: LsdcStudies
    models: SubmissionModels

    @property
    def constants(self) -> Constants:
        return self.models.constants

    def predict(self, study_id: str) -> tuple[StudyPrediction, bool]:
        try:
            found = predict_one(self.studies, self.models.predictor, study_id)
            return self.models.corrected(found), True
        except Exception as error:  # the other studies can be predicted
            log.debug("study %s", study_id, exc_info=True)
            # after a CUDA error every later call fails
            return not_predicted(study_id, described(error)), "CUDA" not in str(error)


def predict_submission(
    job: Job, studies: Sequence[str], *, workers: int, limits: TimeLimits
) -> tuple[Constants, Iterator[StudyPrediction]]:
    """Open the models and predict every study.

    Args:
        job: opens the models.
        studies: ids of the studies.
        workers: number of processes; 0 predicts in this process, which a study can then crash.
        limits: when to stop; studies that are left then are not predicted.

    Returns:
        What absent findings are filled with, and the predictions: exactly one per study, in the
        order in which they end.

    Raises:
        NothingDone: if there is no study.
        LumbargradeError: if the models cannot be used.
    """
    if not studies:
        raise NothingDone("the table of series descriptions lists no study")
    if not workers:
        opened = job.open(0)
        return opened.constants, _here(opened, studies, limits)
    first, *others = (Worker(job, number) for number in range(workers))
    try:
        constants = first.open()
    except Died as died:
        raise LumbargradeError(f"the models cannot be opened: {died}") from None
    return constants, _in_processes(studies, [first, *others], limits)


def _here(opened: OpenJob, studies: Sequence[str], limits: TimeLimits) -> Iterator[StudyPrediction]:
    for study_id in studies:
        if limits.reached:
            yield not_predicted(study_id, OUT_OF_TIME)
        else:
            yield opened.predict(study_id)[0]


def _in_processes(
    studies: Sequence[str], workers: Sequence[Worker], limits: TimeLimits
) -> Iterator[StudyPrediction]:
    todo = deque(studies)
    left = dict.fromkeys(studies)
    found: queue.Queue[StudyPrediction] = queue.Queue()
    threads = [
        threading.Thread(target=_work, args=(worker, todo, found), daemon=True)
        for worker in workers
    ]
    try:
        for thread in threads:
            thread.start()
        while left and not limits.reached:
            alive = any(thread.is_alive() for thread in threads)
            try:
                prediction = found.get(timeout=_wait(limits) if alive else 0)
            except queue.Empty:
                if not alive:
                    break
            else:
                del left[prediction.study_id]
                yield prediction
            _kill_slow(workers, limits)
    finally:
        todo.clear()
        for worker in workers:
            worker.kill(OUT_OF_TIME, for_good=True)
        for thread in threads:
            thread.join()
    while not found.empty():
        prediction = found.get()
        del left[prediction.study_id]
        yield prediction
    why = OUT_OF_TIME if limits.reached else "the models could not be opened again"
    for study_id in left:
        yield not_predicted(study_id, why)


def _wait(limits: TimeLimits) -> float:
    if limits.end is None:
        return _TICK
    return min(max(limits.end - time.monotonic(), 0.01), _TICK)


def _kill_slow(workers: Sequence[Worker], limits: TimeLimits) -> None:
    if limits.study is None:
        return
    for worker in workers:
        if worker.busy > limits.study:
            worker.kill(f"it took longer than {limits.study:.0f} s")


def _work(worker: Worker, todo: deque[str], found: queue.Queue[StudyPrediction]) -> None:
    """Predict studies until there are none left, in a thread of its own."""
    unopened = 0
    while todo and unopened < _GIVE_UP:
        try:
            study_id = todo.popleft()
        except IndexError:  # another worker took the last one
            break
        result = None
        for _ in range(_ATTEMPTS):
            try:
                result = worker.predict(study_id)
                unopened = 0
                break
            except Died as died:
                why = str(died)
                unopened += died.opening
                if worker.stopped:  # it would take as long again
                    worker.stopped = ""
                    break
        found.put(result or not_predicted(study_id, why))
    worker.close()
