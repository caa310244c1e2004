"""Run jobs on a Ray cluster whose nodes share the folders of runs and of the store."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from lumbargrade.files.writing import write_text
from lumbargrade.launch.jobs import Job, start
from lumbargrade.launch.run_status import NODE, read_run_status

log = logging.getLogger(__name__)

#: File in the folder of a run that asks its job to stop.
STOP_FILE = ".stop"

#: Seconds between two looks at a job.
_INTERVAL = 0.5

#: A Ray ``ObjectRef``, the future exit code of a job.
Reference = Any


def run_on_node(job: Job, node: str) -> int:
    """Run a job on this node and return its exit code.

    Ray does not interrupt a task that waits, so a file in the run's folder asks it to stop; the job
    saves first.

    Args:
        job: the job.
        node: name of the node, for the run's status.
    """
    request = job.path / STOP_FILE
    request.unlink(missing_ok=True)
    child = start(job, {NODE: node})
    while child.poll() is None:
        time.sleep(_INTERVAL)
        if request.exists():
            child.terminate()
            request.unlink(missing_ok=True)
    return child.returncode


class RayRunner:
    """Run each job as a task, on whichever node has its GPUs, cores and memory free.

    Args:
        ray: the module ``ray``, connected to a cluster.
    """

    def __init__(self, ray: ModuleType) -> None:
        self.ray = ray

        def work(job: Job) -> int:
            name = f"{platform.node()}/{ray.get_runtime_context().get_node_id()[:6]}"
            return run_on_node(job, name)

        # a lost task is started again by the driver, which counts its tries
        self._work = ray.remote(max_retries=0)(work)
        self._warned: set[str] = set()
        self._folders: dict[Reference, Path] = {}

    def has_room(self, running: int) -> bool:
        return True  # Ray queues what has no place yet

    def start(self, job: Job) -> Reference:
        self._warn_of_demands(job)
        demands = {"num_cpus": job.cpus, "num_gpus": job.gpus, "memory": job.memory or None}
        handle = self._work.options(**demands, name=str(job)).remote(job)
        self._folders[handle] = job.path
        return handle

    def ended(self, handles: Sequence[Reference], seconds: float) -> dict[Reference, int | str]:
        done, _ = self.ray.wait(list(handles), num_returns=len(handles), timeout=seconds)
        return {handle: self._end(handle) for handle in done}

    def stop(self, handles: Sequence[Reference]) -> None:
        for handle in handles:
            folder = self._folders[handle]
            write_text(folder / STOP_FILE, "")
            if read_run_status(folder).state == "waiting":
                self.ray.cancel(handle)  # it is queued, or has nothing to save

    def _end(self, handle: Reference) -> int | str:
        errors = self.ray.exceptions
        try:
            return int(self.ray.get(handle))
        except errors.NodeDiedError:
            return "its node was lost"
        except errors.WorkerCrashedError:
            return "its worker process died"
        except errors.TaskCancelledError:
            return "it was cancelled"
        except errors.OutOfMemoryError:
            return "its node ran out of memory"
        except errors.RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            return lines[-1]

    def _warn_of_demands(self, job: Job) -> None:
        """Warn if no node has enough for a job: it would wait for one that joins the cluster."""
        needs = {"CPU": job.cpus, "GPU": job.gpus, "memory": job.memory}
        nodes = [n["Resources"] for n in self.ray.nodes() if n["Alive"]]
        if any(all(n.get(k, 0) >= v for k, v in needs.items()) for n in nodes):
            return
        text = f"{job.gpus} GPUs, {job.cpus} CPU cores and {job.memory / 1e9:.0f} GB"
        if text not in self._warned:
            self._warned.add(text)
            log.warning(
                "no node of the cluster has %s for a job; jobs wait until one joins "
                "(see --gpus, --cpus and --memory)",
                text,
            )
