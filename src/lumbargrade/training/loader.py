"""Training batches, which depend on seed and epoch but not on the number of workers."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lumbargrade.config import TrainConfig
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.ids import id_number
from lumbargrade.lsdc.exclusions import (
    Contradicted,
    read_contradicted,
    without_contradicted,
)
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.registry import AnyTask
from lumbargrade.models.task import Row
from lumbargrade.training.processes import share_of


class SampleDataset(Dataset[Any]):
    """Augmented samples of one epoch; each depends only on seed, epoch and series id.

    Contradicted grades (``data.suspects``) are skipped in a fraction of the epochs.
    """

    def __init__(
        self,
        store: VolumeStore,
        rows: Sequence[Row],
        task: AnyTask,
        seed: int,
        epoch: int,
        contradicted: Contradicted | None = None,
    ) -> None:
        self.store, self.rows, self.task = store, rows, task
        self.seed, self.epoch = seed, epoch
        self.contradicted = contradicted or {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        row = self.rows[index]
        key = [self.seed, self.epoch, id_number(row.key[-1])]
        row = self._trusted(row, np.random.default_rng([*key, id_number(row.study_id)]))
        return self.task.sample(self.store, row, np.random.default_rng(key))

    def _trusted(self, row: Any, rng: np.random.Generator) -> Any:
        if not self.contradicted:
            return row
        weight = self.task.recipe.data.suspect_weight
        grades = without_contradicted(
            row.grades, row.study_id, row.targets, self.contradicted, weight, rng
        )
        return replace(row, grades=grades)


def batch_order(
    count: int, batch_size: int, seed: int, epoch: int, *, drop_last: bool = False
) -> list[list[int]]:
    """Draw the batches of an epoch: every item once, in random order.

    Args:
        count: number of items.
        batch_size: number of items per batch; the last batch may be smaller.
        seed, epoch: these determine the order.
        drop_last: skip the last batch if it is smaller; the skipped items change with the epoch.

    Raises:
        UsageError: if there are items, but ``drop_last`` leaves no batch.
    """
    order = np.random.default_rng([seed, epoch]).permutation(count).tolist()
    batches = [order[i : i + batch_size] for i in range(0, count, batch_size)]
    if drop_last and batches and len(batches[-1]) < batch_size:
        if len(batches) == 1:
            raise UsageError(
                f"train.drop_last leaves no batch to train on: there are {count} items and "
                f"train.batch_size is {batch_size}; use a smaller train.batch_size, or "
                "train.drop_last false"
            )
        batches.pop()
    return batches


def epoch_batches(train: TrainConfig, count: int, epoch: int) -> list[list[int]]:
    """Draw the batches of an epoch (from 0) with a recipe's settings: see `batch_order`."""
    return batch_order(count, train.batch_size, train.seed, epoch, drop_last=train.drop_last)


def training_loader(
    task: AnyTask, store: VolumeStore, rows: Sequence[Row], *, epoch: int, skip: int = 0
) -> DataLoader[Any]:
    """Load the batches of one epoch, or the parts of them that this process computes.

    Args:
        task: makes samples and batches; its recipe gives seed, batch size and workers.
        store: volumes.
        rows: the training rows.
        epoch: number of the epoch, from 0.
        skip: number of batches already used before an interruption.

    Returns:
        An iterable of the task's batches, with a length. It does not change torch's global random
        state.

    Raises:
        BadTable: if the list of contradicted grades cannot be read.
        UsageError: if ``suspect_weight`` is not from 0 to 1, or ``drop_last`` leaves no batch.
    """
    config, data = task.recipe.train, task.recipe.data
    if not 0 <= data.suspect_weight <= 1:
        raise UsageError(f"data.suspect_weight {data.suspect_weight}: use a number from 0 to 1")
    contradicted = read_contradicted(Path(data.suspects)) if data.suspects else None
    joint_batches = epoch_batches(config, len(rows), epoch)[skip:]
    batches = [share_of(batch) for batch in joint_batches]
    workers = min(config.workers, len(batches))
    return DataLoader(
        SampleDataset(store, rows, task, config.seed, epoch, contradicted),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=task.collate,
        worker_init_fn=quiet_worker if workers else None,
        generator=torch.Generator().manual_seed(config.seed),
        pin_memory=False,
    )


def quiet_worker(_: int) -> None:
    """Use one thread and ignore stop signals in a worker.

    Ctrl-C or the end of a batch job signals the whole process group, but the training process still
    needs its workers to finish the current batch.
    """
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
