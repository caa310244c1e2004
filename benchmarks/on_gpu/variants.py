"""Training steps of ``benchmarks.gpu`` with one choice changed: before and after, on one card."""

from __future__ import annotations

import time
from typing import Any

import torch
from benchmarks import literal
from benchmarks.common import Row
from benchmarks.on_gpu.precision import Precision, arithmetic, precision_of
from benchmarks.on_gpu.setup import Session, Subject
from benchmarks.on_gpu.training import Trainee
from benchmarks.roofline import copy_rate, needs_of

from lumbargrade.models.device import autocast
from lumbargrade.models.task import LossTerms
from lumbargrade.networks.recompute import units
from lumbargrade.training.learner import adamw
from lumbargrade.training.memory import StepMemory

OURS, LITERAL, BUDGET = "ours", "literal", "16GB"


class Variant(Trainee):
    """A network in training with one choice changed."""

    def __init__(self, session: Session, subject: Subject, precision: Precision, name: str) -> None:
        super().__init__(session, subject, precision)
        self.name, learner = name, self.learner
        if name in (LITERAL, "not channels_last"):
            learner.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        if name in (LITERAL, "optimiser not fused"):
            decay = learner.config.weight_decay
            learner.optimizer = adamw(learner.network, decay, fused=False)
        if name == "compiled":
            # for the shapes of this batch alone; a tiny run does not wait for generated code
            backend = "eager" if session.tiny else "inductor"
            for block in units(learner.network).values():
                vars(block)["forward"] = torch.compile(
                    block.forward, dynamic=False, backend=backend
                )
        budget = BUDGET if name.endswith(BUDGET) else ""
        everything = name.startswith("all ")
        self.memory = StepMemory(
            learner, budget, everything, lambda batch: self.loss(batch).total, name
        )

    def loss(self, batch: Any) -> LossTerms:
        """The loss of a batch on the device, without recomputation."""
        if self.name != LITERAL:
            return super().terms(batch)
        with autocast(self.session.device, self.dtype):
            output = literal.literal_forward(self.learner.network, batch.slices, batch.counts)
        terms: LossTerms = self.task.loss(output, batch)
        return terms

    def terms(self, batch: Any) -> LossTerms:
        """The loss of a batch that is on the device, as a step computes it."""
        with self.memory.around(batch):
            return self.loss(batch)

    def queued(self) -> float:
        """The share of a step after which all its work is queued; near 1, the GPU waits for it."""
        self.learner.forget_gradients()
        batch = self.subject.batch()
        self.session.wait()
        start = time.perf_counter()
        self.learner.add_gradients(self.terms(batch.to(self.session.device)).total)
        self.learner.move()
        queued = time.perf_counter() - start
        self.session.wait()
        return queued / (time.perf_counter() - start)


def variant(session: Session, row: Row, allowance: float, clock: Any) -> Row:
    """Time and memory of a step with one choice changed; for our own also what bounds it."""
    subject, precision = session.subject(row["recipe"]), precision_of(row["precision"])
    name = row["variant"]
    try:
        with arithmetic(precision):
            trainee = Variant(session, subject, precision, name)
            found: Row = {"volumes": len(subject.samples), "slices": subject.slices}
            if name == OURS:
                needs = needs_of(lambda: trainee.step(0))
                found |= {"operations": needs.operations, "bytes": needs.bytes}
                found |= {"kernels": needs.kernels}
            found |= trainee.steps(allowance, clock)
            found["queued"] = trainee.queued()
    finally:
        if session.device.type == "cuda":  # a budget limits the allocator
            torch.cuda.set_per_process_memory_fraction(1.0, session.device)
    return found


def copy(session: Session, row: Row, allowance: float, clock: Any) -> Row:
    """Bytes that a copy reads and writes per second: what the card's memory can do."""
    mib = 1 if session.tiny else 1024
    return {"bytes_per_s": copy_rate(session.device, mib)}
