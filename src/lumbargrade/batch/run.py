"""Grade studies and write the overview, in this process or by several workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lumbargrade.batch.launch import Launch
from lumbargrade.batch.remote import find_remote
from lumbargrade.batch.results import Results
from lumbargrade.batch.steps import (
    AnyStudy,
    Hello,
    Opened,
    Predicted,
    Steps,
    StudyJob,
    StudyOutcome,
    failed,
)
from lumbargrade.bids.read import find_bids
from lumbargrade.dicom.archives import find_archived
from lumbargrade.dicom.copies import CopiedStudy
from lumbargrade.dicom.find import FoundStudies, FoundStudy, find_studies
from lumbargrade.dicom.requests import NOTHING, Request
from lumbargrade.domain.errors import BadInput, Problem, UsageError
from lumbargrade.files.overlap import WriteBehind, read_ahead
from lumbargrade.files.timing import stage
from lumbargrade.files.urls import Place, Url, require_writable_url
from lumbargrade.files.writing import locked_folder, require_place_for
from lumbargrade.grading.two_stage import sweep
from lumbargrade.launch.crew import OpenWorker
from lumbargrade.launch.dispatch import Dispatch, GivenUp
from lumbargrade.launch.worker import Spoilt
from lumbargrade.report.grading import folder_names, require_no_images
from lumbargrade.report.overview import GradingSummary, Overview
from lumbargrade.report.text import log_problems

log = logging.getLogger(__name__)

Item = TypeVar("Item")


def grade_studies(
    open_models: Callable[[int], Opened],
    studies: Sequence[Place | CopiedStudy],
    out: Place,
    *,
    launch: Launch | None = None,
    restart: bool = False,
    request: Request = NOTHING,
) -> GradingSummary:
    """Grade studies in this process or by several workers, and write the overview.

    Each study gets exactly one result. If a worker dies, its study is graded by another one, up to
    `dispatch.ATTEMPTS` times; then it is listed as failed with the reason. Studies that an earlier
    run graded from the same images with the same models are kept.

    Args:
        open_models: called once in each worker with the worker's place (see `OpenWorker`); a
            function of a module, or a partial of one.
        studies: folders and files of this machine, URLs (see `find_remote`), and studies of
            servers.
        out: gets a folder per study and the overview.
        launch: how many workers, and where; None: this process grades.
        restart: grade all studies again.
        request: what the user decides about reading the studies.

    Raises:
        UsageError: if results would be written into a folder of images, or a URL cannot be used.
        LumbargradeError: if the models cannot be opened, or workers die before they are ready.
    """
    opened = None
    if launch is None:
        with stage("open the models"):
            opened = open_models(0)
        _introduce(opened.hello)
    with TemporaryDirectory(prefix="lumbargrade-") as folder:
        scratch = Path(folder)
        # workers may have another working directory
        shared = out.resolve() if launch is not None and isinstance(out, Path) else out
        results = Results(shared, scratch)
        with stage("scan the headers"):
            if launch is None:
                find = partial(find_studies, request=request)
            else:  # headers cannot be sent to workers, which read those of their study again
                find = partial(
                    find_studies, most_headers=0, workers=launch.readers, request=request
                )
            jobs, problems = _find(find, studies, out, scratch, request)
        log_problems(log, problems)
        with _claimed(out), results.overview() as overview:
            collector = _Collector(overview, [p for p in problems if not p.file])
            with logging_redirect_tqdm():
                if opened is not None:
                    _grade_here(Steps(opened, results, restart=restart), jobs, collector)
                elif launch is not None and jobs:
                    start = partial(open_worker, open_models, results, restart)
                    _grade_by_workers(launch, start, jobs, collector, results)
            with stage("write the overview"):
                files = [p for p in problems if p.file]
                return overview.finish([job.folder for job in jobs], collector.failed, files)


def _find(
    find: Callable[[Iterable[Path]], FoundStudies],
    studies: Sequence[Place | CopiedStudy],
    out: Place,
    scratch: Path,
    request: Request,
) -> tuple[list[StudyJob], list[Problem]]:
    """Find all studies; each gets a folder name of its own.

    Raises:
        UsageError: if results would be written into a folder of images.
    """
    local = [place for place in studies if isinstance(place, Path)]
    here = find(local)
    found: list[AnyStudy] = list(here.studies)
    archived, wrong = find_archived(here.archives, scratch, request)
    named, misnamed = find_bids(here.niftis, request)
    found += [*archived, *named]
    problems = [*here.problems, *wrong, *misnamed]
    for url in studies:
        if isinstance(url, CopiedStudy):
            found.append(replace(url, request=request))
        elif isinstance(url, Url):
            try:
                found += find_remote(url, scratch, request)
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


@contextmanager
def _claimed(out: Place) -> Iterator[None]:
    """Check that results can be written, and keep other runs out of a folder of this machine.

    Raises:
        UsageError: if they cannot be written, or another run writes there.
    """
    if isinstance(out, Path):
        require_place_for(out / ".lock", out)
        busy = f"--out {out}: another run writes there; wait for its end, or give another folder"
        with locked_folder(out, busy, patience=2.0):
            yield
        return
    try:
        require_writable_url(out)
    except BadInput as error:
        raise UsageError(f"--out {error}") from None
    yield


@dataclass
class _Collector:
    """Adds what becomes of the studies to the overview.

    Attributes:
        overview: of all studies.
        failed: why studies were not graded.
    """

    overview: Overview
    failed: list[Problem]

    def add(self, outcome: StudyOutcome) -> None:
        if outcome.entry is not None:
            self.overview.add(outcome.entry)
        if outcome.failed is not None:
            log.error("%s", outcome.failed)
            self.failed.append(outcome.failed)


def _grade_here(steps: Steps, jobs: Sequence[StudyJob], collector: _Collector) -> None:
    """Grade all studies; the next is read and the last is written meanwhile."""
    sweep(steps.opened.predictor, steps.waiting(jobs))
    with WriteBehind() as writer:
        for _, reading in read_ahead(_with_bar(jobs, len(jobs)), steps.read):
            predicted = steps.grade(reading.result())
            writer.submit(partial(_write, steps, predicted, collector))


def _write(steps: Steps, predicted: Predicted | StudyOutcome, collector: _Collector) -> None:
    collector.add(steps.write(predicted))


def _grade_by_workers(
    launch: Launch,
    start: OpenWorker,
    jobs: Sequence[StudyJob],
    collector: _Collector,
    results: Results,
) -> None:
    """Grade all studies by a crew."""
    with launch.crew(start, len(jobs)) as (crew, size):
        dispatch: Dispatch[StudyJob, StudyOutcome] = Dispatch(crew, size)
        dispatch.start()
        _introduce(dispatch.hello)
        for job, outcome in _with_bar(dispatch.run(jobs), len(jobs)):
            if isinstance(outcome, GivenUp):
                outcome = failed(job, outcome.reason, results)
            collector.add(outcome)


def open_worker(
    open_models: Callable[[int], Opened], results: Results, restart: bool, place: int
) -> tuple[Hello, Callable[[StudyJob], StudyOutcome]]:
    """Open the models of a worker; return what it says of itself, and its work.

    Args:
        open_models: a function of a module, or a partial of one.
        results: gets a folder per study.
        restart: also grade studies again that an earlier run graded.
        place: of the worker.
    """
    opened = open_models(place)
    steps = Steps(opened, results, restart=restart)

    def work(job: StudyJob) -> StudyOutcome:
        outcome = steps.all(job)
        if outcome.spoilt and outcome.failed is not None:
            raise Spoilt(outcome.failed.what)
        return outcome

    return opened.hello, work


def _with_bar(items: Iterable[Item], count: int) -> Iterable[Item]:
    """The items, with a progress bar."""
    hidden = True if count < 2 else None  # None: unless there is no terminal
    bar: Iterable[Item] = tqdm(items, "studies", count, unit="study", disable=hidden)
    return bar


def _introduce(hello: Hello) -> None:
    if hello.about:
        log.info("%s", hello.about)
    if not hello.calibrated:
        log.info("probabilities are not calibrated; `blend` and `recalibrate` fit a calibration")
