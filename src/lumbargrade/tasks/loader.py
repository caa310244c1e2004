"""Training batches: the same for a seed and an epoch, whatever the number of workers."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lumbargrade.dataset.store import VolumeStore
from lumbargrade.tasks.base import Row, Task


class SampleDataset(Dataset[Any]):
    """Augmented samples of one epoch; item i depends on seed, epoch and series id alone."""

    def __init__(
        self, store: VolumeStore, rows: Sequence[Row], task: Task, seed: int, epoch: int
    ) -> None:
        self.store, self.rows, self.task = store, rows, task
        self.seed, self.epoch = seed, epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        row = self.rows[index]
        rng = np.random.default_rng([self.seed, self.epoch, row.series_id])
        return self.task.sample(self.store, row, rng)


def batch_order(count: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Which items make which batch of an epoch: every item once, in an order drawn anew."""
    order = np.random.default_rng([seed, epoch]).permutation(count).tolist()
    return [order[i : i + batch_size] for i in range(0, count, batch_size)]


def training_loader(
    task: Task, store: VolumeStore, rows: Sequence[Row], *, epoch: int, skip: int = 0
) -> DataLoader[Any]:
    """Batches of one epoch.

    Args:
        task: makes samples and batches; its recipe gives seed, batch size and workers.
        store: volumes.
        rows: what is trained on.
        epoch: number of the epoch, from 0.
        skip: how many batches were already used before an interruption.

    Returns:
        An iterable of the task's batches, with a length. It draws nothing from torch's global
        random state.
    """
    config = task.recipe.train
    batches = batch_order(len(rows), config.batch_size, config.seed, epoch)[skip:]
    workers = min(config.workers, len(batches))
    return DataLoader(
        SampleDataset(store, rows, task, config.seed, epoch),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=task.collate,
        worker_init_fn=_quiet_worker if workers else None,
        generator=torch.Generator().manual_seed(config.seed),
        pin_memory=False,
    )


def _quiet_worker(_: int) -> None:
    """One thread per worker: the workers themselves are the parallelism.

    A signal to the whole process group (Ctrl-C, the end of a batch job) is for the training
    process, which still needs its workers to finish the batch in work.
    """
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
