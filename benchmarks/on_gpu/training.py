"""Training steps of ``benchmarks.gpu``: the CPU's loss, the device's, time and memory."""

from __future__ import annotations

import copy
import math
import statistics
import time
from contextlib import nullcontext
from typing import Any

import torch
from benchmarks.common import Row
from benchmarks.on_gpu.precision import Precision, arithmetic, precision_of
from benchmarks.on_gpu.setup import OutOfTime, Session, Subject, Wrong
from benchmarks.roofline import Counting

from lumbargrade.models.device import autocast
from lumbargrade.models.task import LossTerms
from lumbargrade.training.learner import Learner
from lumbargrade.training.schedule import Position, plan_of

#: A part of the loss below this share of the whole loss is compared as if it were that share.
SMALL_PART = 0.01


def reference(session: Session, row: Row, allowance: float, clock: Any) -> Row:
    """The loss of the first step on the CPU in fp32: of one volume, or of all if that is quick."""
    subject = session.subject(row["recipe"])
    volumes, whole = 1, len(subject.samples)
    terms, seconds = _cpu_loss(subject, volumes)
    if seconds * whole < min(allowance, clock.left()):
        volumes = whole
        terms, seconds = _cpu_loss(subject, volumes)
    subject.reference, subject.compared = _finite(terms, "on the CPU"), volumes
    return {"volumes": volumes, "cpu_s": seconds, "losses": subject.reference}


def _cpu_loss(subject: Subject, volumes: int) -> tuple[LossTerms, float]:
    batch, start = subject.batch(volumes), time.perf_counter()
    with torch.no_grad():
        terms = subject.task.loss(subject.task.forward(subject.network, batch), batch)
    return terms, time.perf_counter() - start


def _finite(terms: LossTerms, where: str) -> dict[str, float]:
    """The loss, its parts and its counts as numbers.

    Raises:
        Wrong: if one is not finite.
    """
    values = {"loss": float(terms.total.detach())}
    values |= {name: float(part.detach()) for name, part in terms.parts.items()}
    if bad := [f"{name} {value}" for name, value in values.items() if not math.isfinite(value)]:
        raise Wrong(f"the loss is not finite {where}: {', '.join(bad)}")
    return values | {f"n_{name}": count for name, count in terms.counts.items()}


def training(session: Session, row: Row, allowance: float, clock: Any) -> Row:
    """Training steps as the training loop makes them, at the recipe's batch and image size."""
    subject, precision = session.subject(row["recipe"]), precision_of(row["precision"])
    found: Row = {"volumes": len(subject.samples), "slices": subject.slices, "problems": []}
    with arithmetic(precision):
        trainee = Trainee(session, subject, precision)
        found |= trainee.compared_with_cpu()
        found |= trainee.steps(allowance, clock)
    found |= {"operations": subject.operations, "tolerance": precision.tolerance}
    if "difference" in found and found["difference"] > precision.tolerance:
        found["problems"].append(
            f"the loss differs from the CPU's by {found['difference']:.2g} of it, "
            f"more than {precision.tolerance:g}"
        )
    if bad := trainee.bad_gradients():
        found["problems"].append(f"gradients are not finite after the last step: {bad}")
    return found


class Trainee:
    """A network in training in one precision, with all that training keeps beside it."""

    def __init__(self, session: Session, subject: Subject, precision: Precision) -> None:
        self.session, self.subject, self.task = session, subject, subject.task
        self.dtype = precision.on(session.device)
        train = subject.recipe.train
        network = copy.deepcopy(subject.network).to(session.device)
        self.learner = Learner(network, train, session.device, self.dtype)
        self.learner.set_rate(plan_of(train, fold=0).rate(Position(), 0.0))

    def terms(self, batch: Any) -> LossTerms:
        """The loss of a batch that is on the device."""
        with autocast(self.session.device, self.dtype):
            output = self.task.forward(self.learner.network, batch)
        terms: LossTerms = self.task.loss(output, batch)
        return terms

    def compared_with_cpu(self) -> Row:
        """Largest relative difference of the loss and its parts from the CPU's, before any step.

        Nothing if the CPU's loss was not measured; the row of the reference says why.
        If other points were matched to the true points, the loss of the grades is over other points
        and is not compared.
        """
        known = self.subject.reference
        if known is None:
            return {}
        batch = self.subject.batch(self.subject.compared).to(self.session.device)
        ours = _finite(self.terms(batch), "before the first step")
        same = all(ours[name] == known[name] for name in known if name.startswith("n_"))
        names = [
            n for n in known if not n.startswith("n_") and (same or n not in ("loss", "grade"))
        ]
        floor = SMALL_PART * abs(known["loss"])
        differences = {n: abs(ours[n] - known[n]) / max(abs(known[n]), floor) for n in names}
        return {
            "losses": ours,
            "same_points_matched": same,
            "difference": max(differences.values()),
            "differences": differences,
        }

    def step(self, number: int) -> float:
        """One step; its loss.

        Raises:
            Wrong: if the loss is not finite.
        """
        batch = self.subject.batch().to(self.session.device)
        self.learner.forget_gradients()
        terms = self.terms(batch)
        values = _finite(terms, f"at step {number}")
        self.learner.add_gradients(terms.total)
        self.learner.move()
        return values["loss"]

    def steps(self, allowance: float, clock: Any) -> Row:
        """Some steps: time of one, memory and losses; counts operations if not yet known.

        Raises:
            OutOfTime: if the time budget ends before the fewest steps are made.
        """
        scale, device = self.session.scale, self.session.device
        fewest, most = scale.steps
        losses: list[float] = []
        seconds: list[float] = []
        begun = time.perf_counter()
        while len(losses) < most:
            done = len(losses)
            if done >= fewest and time.perf_counter() - begun > allowance:
                break
            if clock.left() < max(seconds, default=0.0):
                if done < fewest:
                    raise OutOfTime(f"the time budget ended after {done} of {fewest} steps")
                break
            if done == scale.warm_up and device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            counter = Counting() if self.subject.operations is None else None
            self.session.wait()
            start = time.perf_counter()
            with counter or nullcontext():
                losses.append(self.step(done + 1))
            self.session.wait()
            seconds.append(time.perf_counter() - start)
            if counter is not None:
                self.subject.operations = counter.needs.operations
        step_s = statistics.median(seconds[scale.warm_up :])
        found = {"step_s": step_s, "steps": len(losses), "losses_of_steps": losses}
        if device.type == "cuda":
            found["peak_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
        return found

    def bad_gradients(self) -> str:
        """Names of parameters whose gradient is not finite; the first few."""
        bad = [
            name
            for name, p in self.learner.network.named_parameters()
            if p.grad is not None and not torch.isfinite(p.grad).all()
        ]
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        return ", ".join(bad[:3]) + more
