"""Workers that are actors on the machines of a Ray cluster."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from lumbargrade.domain.errors import UsageError
from lumbargrade.launch.crew import GONE, Died, Event, OpenWorker
from lumbargrade.launch.worker import Worker

#: Longest text of an error of Ray that is shown.
_LONGEST = 300


class RayCrew:
    """Actors of a Ray cluster (a `Crew`); every machine needs this package and the same files.

    Args:
        ray: the module, connected to a cluster.
        open_worker: opens the models in the worker's process; a function of a module, or a partial
            of one.
        cpus, gpus: what each worker needs. A worker waits until a machine has them free.

    Raises:
        UsageError: if no machine of the cluster has what a worker needs.
    """

    def __init__(
        self, ray: ModuleType, open_worker: OpenWorker, *, cpus: int, gpus: int = 0
    ) -> None:
        self._ray, self._open = ray, open_worker
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(n.get("CPU", 0) >= cpus and n.get("GPU", 0) >= gpus for n in nodes):
            listed = ", ".join(f"{n.get('CPU', 0):g} CPUs, {n.get('GPU', 0):g} GPUs" for n in nodes)
            raise UsageError(
                f"no machine of the Ray cluster has the {cpus} CPUs and {gpus} GPUs that a worker "
                f"needs (machines: {listed}); change --workers or --device"
            )
        # a worker that died is replaced by `Dispatch`, which knows what it was doing
        options = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0)
        self._actor: Any = options(Worker)
        self._workers: dict[int, Any] = {}
        self._waiting: dict[Any, int] = {}
        self._hired = 0

    def hire(self, place: int) -> int:
        self._hired += 1
        worker = self._actor.remote(self._open, place)
        self._workers[self._hired] = worker
        self._waiting[worker.open.remote()] = self._hired
        return self._hired

    def give(self, worker: int, job: Any) -> None:
        self._waiting[self._workers[worker].work.remote(job)] = worker

    def wait(self, seconds: float | None = None) -> Event | None:
        ready, _ = self._ray.wait(list(self._waiting), num_returns=1, timeout=seconds)
        if not ready:
            return None
        worker = self._waiting.pop(ready[0])
        try:
            kind, *content = self._ray.get(ready[0])
        except self._ray.exceptions.RayError as error:
            self.dismiss(worker)
            said = str(error).strip().partition("\n")[0][:_LONGEST]
            return Died(worker, f"its Ray worker died ({type(error).__name__}: {said})")
        event: Event = kind(worker, *content)
        if kind in GONE:
            self.dismiss(worker)
        return event

    def dismiss(self, worker: int) -> None:
        if worker in self._workers:
            self._ray.kill(self._workers.pop(worker))
            self._waiting = {report: w for report, w in self._waiting.items() if w != worker}

    def close(self) -> None:
        for worker in self._workers.values():
            self._ray.kill(worker)
        self._workers.clear()
        self._waiting.clear()
