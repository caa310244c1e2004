"""Grade studies by a crew of workers and write the overview: the driver of a batch."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lumbargrade.batch.worker import Hello, Opened, StudyJob, StudyOutcome, open_worker
from lumbargrade.dicom.scan import FoundStudies
from lumbargrade.domain.errors import LumbargradeError
from lumbargrade.launch.crew import Dispatch, GivenUp, closing
from lumbargrade.launch.processes import ProcessCrew
from lumbargrade.report.grading import failure, result_folders
from lumbargrade.report.overview import GradingSummary, Overview

log = logging.getLogger(__name__)


def grade_batch(
    open_models: Callable[[], Opened],
    found: FoundStudies,
    out: Path,
    *,
    workers: int,
    restart: bool,
) -> GradingSummary:
    """Grade studies by several processes of this machine.

    Each study gets exactly one result. If a worker dies, its study is graded by another one, up to
    `crew.ATTEMPTS` times; then it is listed as failed with the reason. Studies that an earlier run
    graded from the same images with the same models are kept.

    Args:
        open_models: called once in each worker; a function of a module, or a partial of one.
        found: the studies.
        out: an existing folder; gets a folder per study and the overview.
        workers: number of processes.
        restart: grade all studies again.

    Raises:
        UsageError: if results would be written into a folder of images.
        LumbargradeError: if the models cannot be opened, or workers die before they are ready.
    """
    folders = result_folders(found.studies, out)
    overview = Overview(out)
    failed = [p for p in found.problems if not p.file]
    size = max(1, min(workers, len(folders)))
    threads = max(1, (os.cpu_count() or 1) // size)
    hidden = True if len(folders) < 2 else None  # None: unless there is no terminal
    crew = ProcessCrew(partial(open_worker, open_models, out, restart=restart), threads)
    jobs = (StudyJob(folder, study.without_headers()) for folder, study in folders.items())
    with closing(crew), logging_redirect_tqdm():
        dispatch: Dispatch[StudyJob, StudyOutcome] = Dispatch(crew, size)
        if folders:
            dispatch.start()
            _introduce(dispatch.hello)
        bar = tqdm(dispatch.run(jobs), "studies", len(folders), unit="study", disable=hidden)
        for job, outcome in bar:
            if isinstance(outcome, GivenUp):
                lost = LumbargradeError(outcome.reason)
                outcome = StudyOutcome(None, failure(job.study, out / job.folder, lost))
            for level, text in outcome.notes:
                log.log(level, "%s", text)
            if outcome.entry is not None:
                overview.add(outcome.entry)
            if outcome.failed is not None:
                log.error("%s", outcome.failed)
                failed.append(outcome.failed)
    return overview.finish(list(folders), failed, [p for p in found.problems if p.file])


def _introduce(hello: Hello) -> None:
    if hello.about:
        log.info("%s", hello.about)
    if not hello.calibrated:
        log.info("probabilities are not calibrated; `blend` and `recalibrate` fit a calibration")
