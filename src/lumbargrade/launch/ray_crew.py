"""Workers that are actors on the machines of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from lumbargrade.domain.errors import UsageError
from lumbargrade.launch.crew import Died, Done, Event, NotOpened, OpenWorker, Ready, Stumbled

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
        self._actor: Any = options(_Actor)
        self._workers: dict[int, Any] = {}
        self._waiting: dict[Any, int] = {}
        self._hired = 0

    def hire(self) -> int:
        self._hired += 1
        worker = self._actor.remote()
        self._workers[self._hired] = worker
        self._waiting[worker.open.remote(self._open)] = self._hired
        return self._hired

    def give(self, worker: int, job: Any) -> None:
        self._waiting[self._workers[worker].work.remote(job)] = worker

    def wait(self) -> Event:
        (answer,), _ = self._ray.wait(list(self._waiting), num_returns=1)
        worker = self._waiting.pop(answer)
        try:
            kind, content = self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            self._ray.kill(self._workers.pop(worker))
            said = str(error).strip().partition("\n")[0][:_LONGEST]
            return Died(worker, f"its Ray worker died ({type(error).__name__}: {said})")
        event: Event = kind(worker, content)
        return event

    def close(self) -> None:
        for worker in self._workers.values():
            self._ray.kill(worker)
        self._workers.clear()
        self._waiting.clear()


class _Actor:
    """A worker; its answers are those of `processes`."""

    def __init__(self) -> None:
        self._work: Callable[[Any], Any] | None = None

    def open(self, open_worker: OpenWorker) -> tuple[type, Any]:
        try:
            hello, self._work = open_worker()
        except Exception as error:  # noqa: BLE001  whatever it is, the driver must know
            return NotOpened, error
        return Ready, hello

    def work(self, job: Any) -> tuple[type, Any]:
        assert self._work is not None
        try:
            return Done, self._work(job)
        except Exception as error:  # noqa: BLE001  one study must not stop the others
            return Stumbled, f"{type(error).__name__}: {error}"
