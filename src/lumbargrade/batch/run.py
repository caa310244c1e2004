"""Grade studies by a crew of workers and write the overview: the driver of a batch."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lumbargrade.batch.worker import Hello, Opened, StudyJob, StudyOutcome, open_worker
from lumbargrade.dicom.find import FoundStudies
from lumbargrade.domain.errors import LumbargradeError
from lumbargrade.launch.crew import Crew, Dispatch, GivenUp, OpenWorker, closing
from lumbargrade.launch.processes import ProcessCrew
from lumbargrade.launch.ray_cluster import ray_cluster
from lumbargrade.launch.ray_crew import RayCrew
from lumbargrade.report.grading import failure, result_folders
from lumbargrade.report.overview import GradingSummary, Overview

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Launch:
    """How many workers grade, and where.

    Attributes:
        workers: number of workers; 0: one per CPU core.
        ray: whether they are actors of a Ray cluster instead of processes of this machine.
        ray_address: the cluster; see `ray_cluster`.
        gpu: whether each worker of a cluster that has GPUs needs one.
    """

    workers: int = 1
    ray: bool = False
    ray_address: str = ""
    gpu: bool = False

    @contextmanager
    def crew(self, start: OpenWorker, jobs: int) -> Generator[tuple[Crew, int]]:
        """Yield a crew and how many workers it should have; all workers end with the block.

        Args:
            start: opens a worker.
            jobs: number of jobs; there are no more workers than these.
        """
        if self.ray:
            with ray_cluster(self.ray_address) as ray:
                cores = [int(n["Resources"].get("CPU", 0)) for n in ray.nodes() if n["Alive"]]
                size = self._size(sum(cores), jobs)
                cpus = max(1, min(sum(cores) // size, *cores))
                gpus = int(self.gpu and ray.cluster_resources().get("GPU", 0) > 0)
                with closing(RayCrew(ray, start, cpus=cpus, gpus=gpus)) as crew:
                    yield crew, size
            return
        cores_here = os.cpu_count() or 1
        size = self._size(cores_here, jobs)
        with closing(ProcessCrew(start, max(1, cores_here // size))) as crew:
            yield crew, size

    def _size(self, cores: int, jobs: int) -> int:
        return max(1, min(self.workers or cores, jobs))


def grade_batch(
    open_models: Callable[[], Opened],
    found: FoundStudies,
    out: Path,
    *,
    launch: Launch,
    restart: bool,
) -> GradingSummary:
    """Grade studies by several workers.

    Each study gets exactly one result. If a worker dies, its study is graded by another one, up to
    `crew.ATTEMPTS` times; then it is listed as failed with the reason. Studies that an earlier run
    graded from the same images with the same models are kept.

    Args:
        open_models: called once in each worker; a function of a module, or a partial of one.
        found: the studies.
        out: an existing folder; gets a folder per study and the overview.
        launch: how many workers, and where.
        restart: grade all studies again.

    Raises:
        UsageError: if results would be written into a folder of images.
        LumbargradeError: if the models cannot be opened, or workers die before they are ready.
    """
    folders = result_folders(found.studies, out)
    overview = Overview(out)
    failed = [p for p in found.problems if not p.file]
    jobs = (StudyJob(folder, study.without_headers()) for folder, study in folders.items())
    hidden = True if len(folders) < 2 else None  # None: unless there is no terminal
    start = partial(open_worker, open_models, out.resolve(), restart=restart)
    with launch.crew(start, len(folders)) as (crew, size), logging_redirect_tqdm():
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
