"""Where the workers of a batch are, and how many."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from lumbargrade.files.cpus import usable_cpus
from lumbargrade.launch.crew import Crew, OpenWorker, closing
from lumbargrade.launch.processes import ProcessCrew
from lumbargrade.launch.ray_cluster import ray_cluster
from lumbargrade.launch.ray_crew import RayCrew


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

    @property
    def readers(self) -> int:
        """Number of processes of this machine that read headers before any study is graded."""
        cores = usable_cpus()
        return cores if self.ray else min(self.workers or cores, cores)

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
        cores_here = usable_cpus()
        size = self._size(cores_here, jobs)
        with closing(ProcessCrew(start, max(1, cores_here // size))) as crew:
            yield crew, size

    def _size(self, cores: int, jobs: int) -> int:
        return max(1, min(self.workers or cores, jobs))
