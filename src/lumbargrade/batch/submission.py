"""Predict the studies of a submission by workers: every study has a result in the end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lumbargrade.domain.errors import NothingDone
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.files.cpus import usable_cpus
from lumbargrade.grading.lsdc_studies import LsdcStudies, not_predicted, predict_one
from lumbargrade.launch.crew import OpenWorker, closing
from lumbargrade.launch.dispatch import Dispatch, GivenUp, Limits
from lumbargrade.launch.in_process import InProcess
from lumbargrade.launch.processes import ProcessCrew
from lumbargrade.scoring.fill import Constants

if TYPE_CHECKING:
    from lumbargrade.grading.ensembles import BlendedEnsembles, Ensemble
    from lumbargrade.team_two_stage.predictor import TwoStage


def open_worker(
    studies: LsdcStudies,
    open_models: Callable[[], Ensemble | BlendedEnsembles | TwoStage],
    place: int,
) -> tuple[Constants, Callable[[str], StudyPrediction]]:
    """Open the models of a worker.

    Args:
        studies: the data set.
        open_models: a function of a module, or a method of a plain object.
        place: of the worker.

    Returns:
        What absent findings are filled with, and what predicts a study by its id.
    """
    # imported here, because only the processes that predict need the packages of networks
    from lumbargrade.grading.ensembles import opened_for_submission

    models = opened_for_submission(open_models, place)

    def predict(study_id: str) -> StudyPrediction:
        return models.corrected(predict_one(studies, models.predictor, study_id))

    return models.constants, predict


@contextmanager
def predict_submission(
    opener: OpenWorker, studies: Sequence[str], *, workers: int, limits: Limits
) -> Generator[tuple[Constants, Iterator[StudyPrediction]]]:
    """Open the models and predict every study; the workers end with the block.

    Args:
        opener: `open_worker` with its first arguments.
        studies: ids of the studies.
        workers: number of processes; 0 predicts in this process, which a study can then crash.
        limits: when to stop; studies that are left then are not predicted.

    Yields:
        What absent findings are filled with, and the predictions: exactly one per study, in the
        order in which they end.

    Raises:
        NothingDone: if there is no study.
        LumbargradeError: if the models cannot be used.
    """
    if not studies:
        raise NothingDone("the table of series descriptions lists no study")
    size = max(1, min(workers, len(studies)))
    threads = max(1, usable_cpus() // size)
    with closing(ProcessCrew(opener, threads) if workers else InProcess(opener)) as crew:
        dispatch: Dispatch[str, StudyPrediction] = Dispatch(crew, size, limits)
        dispatch.start()
        ended = dispatch.run(studies)
        results = (not_predicted(s, p.reason) if isinstance(p, GivenUp) else p for s, p in ended)
        yield dispatch.hello, results
