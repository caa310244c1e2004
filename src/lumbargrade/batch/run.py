"""Grade studies by a crew of workers and write the overview: the driver of a batch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lumbargrade.batch.launch import Launch
from lumbargrade.batch.remote import RemoteStudy, find_remote
from lumbargrade.batch.results import Results
from lumbargrade.batch.worker import (
    Hello,
    Opened,
    StudyJob,
    StudyOutcome,
    failed_job,
    open_worker,
)
from lumbargrade.dicom.find import FoundStudy, find_studies
from lumbargrade.domain.errors import BadInput, LumbargradeError, Problem, UsageError
from lumbargrade.files.urls import Place, Url, require_writable_url
from lumbargrade.launch.crew import OpenWorker
from lumbargrade.launch.dispatch import Dispatch, GivenUp
from lumbargrade.report.grading import folder_names, require_no_images
from lumbargrade.report.overview import GradingSummary, Overview
from lumbargrade.report.text import log_problems

log = logging.getLogger(__name__)


def grade_batch(
    open_models: Callable[[], Opened],
    studies: Sequence[Place],
    out: Place,
    *,
    launch: Launch,
    restart: bool = False,
) -> GradingSummary:
    """Grade studies by several workers.

    Each study gets exactly one result. If a worker dies, its study is graded by another one, up to
    `dispatch.ATTEMPTS` times; then it is listed as failed with the reason. Studies that an earlier
    run graded from the same images with the same models are kept.

    Args:
        open_models: called once in each worker; a function of a module, or a partial of one.
        studies: folders and files of this machine, and URLs (see `find_remote`).
        out: gets a folder per study and the overview.
        launch: how many workers, and where.
        restart: grade all studies again.

    Raises:
        UsageError: if results would be written into a folder of images, or a URL cannot be used.
        LumbargradeError: if the models cannot be opened, or workers die before they are ready.
    """
    with TemporaryDirectory(prefix="lumbargrade-") as folder:
        scratch = Path(folder)
        results = Results(out.resolve() if isinstance(out, Path) else out, scratch)
        jobs, problems = _find(studies, out, scratch)
        log_problems(log, problems)
        _require_writable(out)
        start = partial(open_worker, open_models, results, restart)
        with results.overview() as overview:
            failed = [p for p in problems if not p.file]
            failed += _run(launch, start, jobs, overview, results)
            files = [p for p in problems if p.file]
            return overview.finish([job.folder for job in jobs], failed, files)


def _find(
    studies: Sequence[Place], out: Place, scratch: Path
) -> tuple[list[StudyJob], list[Problem]]:
    """Find all studies; each gets a folder name of its own.

    Raises:
        UsageError: if results would be written into a folder of images.
    """
    local = [place for place in studies if isinstance(place, Path)]
    # headers cannot be sent to workers, which read those of their study again
    here = find_studies(local, most_headers=0)
    found: list[FoundStudy | RemoteStudy] = list(here.studies)
    problems = list(here.problems)
    for url in studies:
        if isinstance(url, Url):
            try:
                found += find_remote(url, scratch)
            except BadInput as error:
                problems.append(Problem(str(error).removeprefix(f"{url}: "), study=str(url)))
    jobs = list(map(StudyJob, folder_names([study.study_id for study in found]), found))
    for job in jobs:
        _require_elsewhere(job, out)
    return jobs, problems


def _require_elsewhere(job: StudyJob, out: Place) -> None:
    """Check that results are not written among images; raises UsageError if they are."""
    target, study = out / job.folder, job.study
    if isinstance(study, FoundStudy):
        if isinstance(target, Path):
            require_no_images(target, study)
    elif f"{study.folder}/".startswith(f"{target}/"):
        raise UsageError(
            f"refusing to write results into the image folder {target}; choose another --out"
        )


def _require_writable(out: Place) -> None:
    if isinstance(out, Path):
        out.mkdir(parents=True, exist_ok=True)
        return
    try:
        require_writable_url(out)
    except BadInput as error:
        raise UsageError(f"--out {error}") from None


def _run(
    launch: Launch,
    start: OpenWorker,
    jobs: Sequence[StudyJob],
    overview: Overview,
    results: Results,
) -> list[Problem]:
    """Do all jobs, add their results to the overview, and return why others failed."""
    failed: list[Problem] = []
    if not jobs:
        return failed
    hidden = True if len(jobs) < 2 else None  # None: unless there is no terminal
    with launch.crew(start, len(jobs)) as (crew, size), logging_redirect_tqdm():
        dispatch: Dispatch[StudyJob, StudyOutcome] = Dispatch(crew, size)
        dispatch.start()
        _introduce(dispatch.hello)
        ended = tqdm(dispatch.run(jobs), "studies", len(jobs), unit="study", disable=hidden)
        for job, outcome in ended:
            if isinstance(outcome, GivenUp):
                lost = LumbargradeError(outcome.reason)
                outcome = StudyOutcome(None, failed_job(job, lost, results))
            if outcome.entry is not None:
                overview.add(outcome.entry)
            if outcome.failed is not None:
                log.error("%s", outcome.failed)
                failed.append(outcome.failed)
    return failed


def _introduce(hello: Hello) -> None:
    if hello.about:
        log.info("%s", hello.about)
    if not hello.calibrated:
        log.info("probabilities are not calibrated; `blend` and `recalibrate` fit a calibration")
