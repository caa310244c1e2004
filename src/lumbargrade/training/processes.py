"""Several processes that train one network: each computes a part of every batch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist

from lumbargrade.domain.errors import UsageError
from lumbargrade.launch.ranks import LOCAL_RANK, is_rank
from lumbargrade.models.device import choose_device
from lumbargrade.models.task import LossTerms
from lumbargrade.networks import joint

#: How long a process waits for the others, for example while one writes a model.
_PATIENCE = timedelta(hours=2)


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the processes that torchrun or ``--processes`` has started, and yield the device.

    The environment variables of torchrun say which processes they are. If they are not set, this
    process trains alone.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``; ``cuda`` is a GPU for each process.

    Raises:
        UsageError: if there is no such device, or fewer GPUs than processes on this machine.
    """
    if not is_rank():
        yield device
        return
    chosen = choose_device(device)
    if chosen.type == "cuda" and device in ("auto", "cuda"):
        number = int(os.environ[LOCAL_RANK])
        if number >= torch.cuda.device_count():
            raise UsageError(
                f"process {number} on this machine has no GPU, there are only "
                f"{torch.cuda.device_count()}; use fewer processes, or --device cpu"
            )
        chosen = torch.device("cuda", number)
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_PATIENCE)
    with joint.sharing(dist.group.WORLD):
        yield str(chosen)
    # after an error the others may be gone; then the process just ends
    dist.destroy_process_group()


def share_of(batch: list[int]) -> list[int]:
    """Return the part of a batch that this process computes.

    If there are fewer items than processes, some processes compute the first item without counting
    it (`joint.silent`).
    """
    return batch[joint.rank() :: joint.processes()] or batch[:1]


def require_shares(batch_size: int) -> None:
    """Check that each process has a part of a batch.

    Raises:
        UsageError: if there are more processes than items in a batch.
    """
    if joint.processes() > batch_size:
        raise UsageError(
            f"{joint.processes()} processes with train.batch_size {batch_size}: each needs an item "
            "of every batch; use fewer processes, or a larger batch"
        )


def seed_step(place: Sequence[int]) -> None:
    """Seed torch for one step, if several processes share it.

    So the random numbers of a network (dropout) do not depend on what was computed before, and a
    run can be resumed with another number of processes.

    Args:
        place: seed, fold, epoch and step.
    """
    if joint.processes() > 1:
        words = np.random.SeedSequence([*place, joint.rank()]).generate_state(2, np.uint32)
        torch.manual_seed(int(words[0]) << 32 | int(words[1]))


def joint_terms(terms: LossTerms) -> LossTerms:
    """Return loss, parts and counts of the joint batch from those of each process."""
    if joint.processes() == 1:
        return terms
    names, counted = list(terms.parts), list(terms.counts)
    values = [terms.total, *terms.parts.values()]
    numbers = torch.tensor([float(terms.counts[k]) for k in counted], device=terms.total.device)
    sums = joint.joint_sum(torch.cat([torch.stack(values).detach().float(), numbers]))
    total, parts, counts = sums[0], sums[1 : len(values)], sums[len(values) :].tolist()
    return replace(
        terms,
        total=total,
        parts=dict(zip(names, parts, strict=True)),
        counts={k: round(n) for k, n in zip(counted, counts, strict=True)},
    )
