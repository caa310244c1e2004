"""What a node counts, for Prometheus."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from lumbargrade.serve.inbox import Answer
from lumbargrade.serve.queue import Queue
from lumbargrade.serve.states import SendState, State


class Metrics:
    """Counters of one node.

    Args:
        queue: of the node; its states are counted when they are asked for.
        data: its folder, for the free disk space.
    """

    def __init__(self, queue: Queue, data: Path) -> None:
        self._registry = CollectorRegistry()
        self._instances = Counter(
            "lumbargrade_instances", "Instances received", ["outcome"], registry=self._registry
        )
        self._files = Counter(
            "lumbargrade_sends",
            "Attempts to send a file of a result",
            ["destination", "outcome"],
            registry=self._registry,
        )
        self._graded = Histogram(
            "lumbargrade_grading_seconds",
            "Time from taking a study to its result",
            ["outcome"],
            buckets=(1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800),
            registry=self._registry,
        )
        self._registry.register(_State(queue, data))

    def received(self, answer: Answer) -> None:
        self._instances.labels(answer.received).inc()

    def graded(self, state: State, seconds: float) -> None:
        outcome = {State.FAILED: "failed", State.RECEIVING: "outdated"}.get(state, "graded")
        self._graded.labels(outcome).observe(seconds)

    def sent(self, destination: str, state: SendState) -> None:
        self._files.labels(destination, "sent" if state is SendState.SENT else "failed").inc()

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)


class _State(Collector):
    """What is counted when it is asked for."""

    def __init__(self, queue: Queue, data: Path) -> None:
        self._queue, self._data = queue, data

    def collect(self) -> Iterator[GaugeMetricFamily]:
        studies = GaugeMetricFamily("lumbargrade_studies", "Studies by state", labels=["state"])
        for state, count in self._queue.counts().items():
            studies.add_metric([state], count)
        yield studies
        yield GaugeMetricFamily(
            "lumbargrade_oldest_waiting_seconds",
            "How long the oldest study has waited for grading; 0 if none waits",
            self._queue.longest_wait(),
        )
        yield GaugeMetricFamily(
            "lumbargrade_free_bytes",
            "Free space on the disk of the data folder",
            shutil.disk_usage(self._data).free,
        )
