"""What ``benchmarks.gpu`` measures: one function for each part of the run.

Every function takes the session, the row that names recipe and precision, how many seconds it may
take where it has a choice, and the clock of the whole run; it returns the row's figures.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from benchmarks.common import Row
from benchmarks.on_gpu.precision import arithmetic, precision_of
from benchmarks.on_gpu.setup import Session, Wrong
from benchmarks.on_gpu.training import reference, training
from benchmarks.on_gpu.variants import copy as copying
from benchmarks.on_gpu.variants import variant
from torch import nn

from lumbargrade.models.device import autocast
from lumbargrade.models.registry import get_task
from lumbargrade.models.torch_engine import TorchEngine
from lumbargrade.training.loader import training_loader


def measure(session: Session, row: Row, allowance: float, clock: Any) -> Row:
    """The figures of a row; ``problems`` names what was measured and is wrong."""
    return PARTS[row["part"]](session, row, allowance, clock)


def rate(session: Session, row: Row, allowance: float, clock: Any) -> Row:
    """Operations a second of a large matrix product: what the card can do in this precision."""
    precision, side = precision_of(row["precision"]), session.scale.matrix
    dtype = precision.on(session.device) or torch.float32
    generator = torch.Generator(session.device).manual_seed(0)
    factors = torch.randn(
        (2, side, side), generator=generator, device=session.device, dtype=torch.float32
    ).to(dtype)
    product = torch.empty((side, side), device=session.device, dtype=dtype)
    with arithmetic(precision):
        seconds = _timed(session, lambda: torch.mm(*factors, out=product), 10, math.inf)
    return {"operations_per_s": 2 * side**3 / seconds, "matrix": side}


def store(session: Session, row: Row, allowance: float, clock: Any) -> Row:
    """A phantom store for all recipes."""
    studies, series = session.make_store()
    return {"studies": studies, "series": series}


def loader(session: Session, row: Row, allowance: float, clock: Any) -> Row:
    """Samples a second of the training loader with a worker per CPU core, once it has started."""
    recipe = session.recipe(row["recipe"])
    workers = session.scale.workers
    task = get_task(replace(recipe, train=replace(recipe.train, workers=workers)))
    data = session.store
    rows = task.rows(data)
    # an epoch as long as needed: the same series again and again
    epoch = rows * math.ceil(50_000 / len(rows))
    batches = iter(training_loader(task, data, epoch, epoch=0))
    # every worker prepares two batches ahead, which would count for nothing
    for _ in range(2 * workers + 1):
        next(batches)
    seconds = min(session.scale.loader_s, max(allowance, 0.1), max(clock.left(), 0.1))
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        count += len(next(batches).samples)
    found = {"samples_per_s": count / (time.perf_counter() - start), "workers": workers}
    del batches  # ends the workers
    return found


def inference(session: Session, row: Row, allowance: float, clock: Any) -> Row:
    """Time of one series from the store to numbers, with and without the mirrored volume."""
    subject, precision = session.subject(row["recipe"]), precision_of(row["precision"])
    dtype, data = precision.on(session.device), session.store
    amp: Any = row["precision"] if dtype else "off"
    train = replace(subject.recipe.train, amp=amp, amp_prediction=dtype is not None)
    task: Any = get_task(replace(subject.recipe, train=train))
    (chosen,) = task.rows(data)[:1]
    network = copy.deepcopy(subject.network).to(session.device)
    _settle(network, task, subject.batch(1).to(session.device))
    engine = TorchEngine(task, network)

    def predict(flip: bool) -> Any:
        with autocast(session.device, dtype):
            return task.predict_row(engine, data, chosen, flip=flip)

    def prepare() -> Any:
        return task.collate([task.sample(data, chosen)]).to(session.device)

    share, rounds = min(allowance, clock.left()) / 3, session.scale.predictions
    with arithmetic(precision):
        for flip in (False, True):
            if not math.isfinite(float(predict(flip).probability_rows(task.targets).sum())):
                raise Wrong("probabilities are not finite")
        return {
            "slices": len(data.volume(chosen.study_id, chosen.series_id).pixels),
            "series_s": _timed(session, lambda: predict(False), rounds, share),
            "series_flip_s": _timed(session, lambda: predict(True), rounds, share),
            "prepare_s": _timed(session, prepare, rounds, share),
        }


@torch.no_grad()
def _settle(network: nn.Module, task: Any, batch: Any) -> None:
    """Put a network in eval mode, with the statistics of a batch in its BatchNorm layers.

    Untrained statistics would let the maps grow from layer to layer, beyond what fp16 holds.
    """
    layers = [
        m
        for m in network.modules()
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
    ]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 1.0
    task.forward(network.train(), batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()


def _timed(session: Session, work: Callable[[], Any], rounds: int, allowance: float) -> float:
    """Median seconds of some work; at least one run is timed, more while there is time."""
    seconds: list[float] = []
    for number in range(session.scale.warm_up + rounds):
        session.wait()
        start = time.perf_counter()
        work()
        session.wait()
        seconds.append(time.perf_counter() - start)
        if number >= session.scale.warm_up and sum(seconds) > allowance:
            break
    return statistics.median(seconds[session.scale.warm_up :])


PARTS: dict[str, Callable[[Session, Row, float, Any], Row]] = {
    "rate": rate,
    "store": store,
    "reference": reference,
    "copy": copying,
    "training": training,
    "variant": variant,
    "loader": loader,
    "inference": inference,
}
