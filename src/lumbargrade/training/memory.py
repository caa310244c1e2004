"""Keep training steps within a budget of memory (``train.max_memory``).

What a step saves for its backward pass is measured on the first batch; then as few blocks as
possible are recomputed (:mod:`lumbargrade.networks.recompute`). The choice changes memory and time
only: gradients, random numbers and running statistics stay the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from lumbargrade.config import bytes_of
from lumbargrade.domain.errors import UsageError
from lumbargrade.files.memory import forget_peak, held_memory, peak_memory
from lumbargrade.models.task import TaskBatch
from lumbargrade.networks import joint
from lumbargrade.networks.recompute import (
    Part,
    activations,
    fewest,
    peak_of,
    recomputing,
    share_again,
    units,
    without_trace,
)
from lumbargrade.training.learner import Learner

log = logging.getLogger(__name__)

#: GPU memory outside torch's allocator: the CUDA context and the kernels of its libraries.
CUDA_CONTEXT = 600 * 2**20

#: How often the choice is tried on the first batch and corrected by what was measured.
_TRIALS = 4

#: A choice is corrected if the measured peak is this share of the budget below the expected one.
_SPARE = 0.1


class StepMemory:
    """Chooses which blocks of a network are recomputed in each training step.

    Args:
        learner: the network in training.
        max_memory: the budget, such as ``16GB``; empty: no budget.
        everything: recompute all blocks (``network.checkpoint_gradients``).
        loss: runs forward pass and loss of a batch on the device.
        label: name of the run in messages.

    Raises:
        UsageError: if both a budget and ``everything`` are given, or the card is smaller.
    """

    def __init__(
        self,
        learner: Learner,
        max_memory: str,
        everything: bool,
        loss: Callable[[Any], Tensor],
        label: str,
    ) -> None:
        self.learner, self.loss, self.label = learner, loss, label
        self.text, self.budget = max_memory, bytes_of(max_memory) if max_memory else 0
        self.blocks = units(learner.network)
        self._always = tuple(self.blocks) if everything else ()
        self._parts: list[Part] = []
        self._held = self._slices = 0
        self._chosen: dict[int, tuple[str, ...]] = {}
        if max_memory and everything:
            raise UsageError(
                "network.checkpoint_gradients recomputes all blocks, which leaves "
                f"train.max_memory {max_memory} no choice; give one of them"
            )
        if self.budget and learner.device.type == "cuda":
            self._limit_allocator()

    def _limit_allocator(self) -> None:
        """Make torch's allocator free what it no longer uses rather than exceed the budget."""
        device = self.learner.device
        total = torch.cuda.get_device_properties(device).total_memory
        if self.budget > total:
            raise UsageError(
                f"train.max_memory {self.text}: {torch.cuda.get_device_name(device)} has "
                f"{total / 1e9:.1f} GB; give at most that"
            )
        share = max(self.budget - CUDA_CONTEXT, 0) / total
        torch.cuda.set_per_process_memory_fraction(share, device)

    def around(self, batch: TaskBatch) -> AbstractContextManager[None]:
        """Return the context for the forward pass of a batch that is on the device.

        Raises:
            UsageError: if the budget is too small even if all blocks are recomputed.
        """
        if not self.budget:
            return self._recomputing(self._always)
        if not self._parts:
            with joint.sharing(None):  # each process measures by itself
                self._measure(batch)
        if batch.slices_seen not in self._chosen:
            self._chosen[batch.slices_seen] = self._choose(batch)
        return self._recomputing(self._chosen[batch.slices_seen])

    def _recomputing(self, chosen: Sequence[str]) -> AbstractContextManager[None]:
        return recomputing([self.blocks[name] for name in chosen]) if chosen else nullcontext()

    def _measure(self, batch: TaskBatch) -> None:
        """Measure the first batch, choose for it, try the choice and correct it."""
        network, optimizer = self.learner.network, self.learner.optimizer
        weights = sum(p.nbytes for p in network.parameters() if p.requires_grad)
        # gradients, and the two moments of AdamW, which its first step makes
        coming = weights + (0 if optimizer.state else 2 * weights)
        self._slices = batch.slices_seen
        self._parts = activations(network, lambda: self.loss(batch))
        self._held = in_use(self.learner.device) + coming
        moments = coming - weights
        tried: dict[tuple[str, ...], int] = {}
        for _ in range(_TRIALS):
            chosen = self._choose(batch)
            if chosen in tried:
                break
            peak = self._try(batch, chosen)
            if peak is None:
                break
            tried[chosen] = peak + moments
            expected = self._expected(chosen, batch)
            difference = peak + moments - expected
            if difference <= 0 and -difference < _SPARE * self.budget:
                break
            self._held += difference
        chosen = self._choose(batch)
        measured = f", measured {_said(tried[chosen])}" if chosen in tried else ""
        self._chosen[self._slices] = chosen
        log.info(
            "%s: train.max_memory %s: %d of %d blocks are recomputed (%.0f %% of the forward pass "
            "again); a step of %d slices needs about %s%s",
            self.label,
            self.text,
            len(chosen),
            len(self.blocks),
            100 * share_again(self._parts, chosen),
            self._slices,
            _said(self._expected(chosen, batch)),
            measured,
        )

    def _expected(self, chosen: Sequence[str], batch: TaskBatch) -> int:
        scale = batch.slices_seen / self._slices
        return round(self._held + scale * peak_of(self._parts, chosen))

    def _choose(self, batch: TaskBatch) -> tuple[str, ...]:
        """Choose for a batch; activations grow with its number of slices."""
        scale = max(batch.slices_seen / self._slices, 1e-9)
        chosen = fewest(self._parts, (self.budget - self._held) / scale)
        if chosen is None:
            needed = _said(self._expected(tuple(self.blocks), batch))
            raise UsageError(
                f"{self.label}: train.max_memory {self.text} is too little: a step of "
                f"{batch.slices_seen} slices needs about {needed} if all blocks are "
                "recomputed; give more, or a smaller train.batch_size with train.accumulate"
            )
        return chosen

    def _try(self, batch: TaskBatch, chosen: Sequence[str]) -> int | None:
        """Return the peak of a step whose gradients are dropped; None if it is not known.

        A step that runs out of GPU memory counts as a tenth above the budget.
        """
        network, device = self.learner.network, self.learner.device
        if not reset_peak(device):
            return None
        try:
            with without_trace(network):
                with self._recomputing(chosen):
                    loss = self.loss(batch)
                loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            return peak_use(device)
        except torch.OutOfMemoryError:
            return round(1.1 * self.budget)
        finally:
            self.learner.forget_gradients()


def _said(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def in_use(device: torch.device) -> int:
    """Return the bytes in use: GPU memory, or on a CPU the memory of this process."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) + CUDA_CONTEXT
    return held_memory()


def reset_peak(device: torch.device) -> bool:
    """Let `peak_use` begin anew; return whether this system can."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return True
    return forget_peak()


def peak_use(device: torch.device) -> int:
    """Return the largest number of bytes in use since `reset_peak`."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_reserved(device) + CUDA_CONTEXT
    return peak_memory()
