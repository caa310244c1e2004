"""The published foraminal network (pvt_v2_b4) against a literal implementation of it.

One volume of 15 x 320 x 320 in fp32 on one thread, each case in a process of its own.
tests/test_benchmarks.py checks that both give the same output.
"""

from __future__ import annotations

import pytest
from benchmarks import child, literal

inference = pytest.mark.benchmark(group="inference of one volume", timer=child.cpu_s)
training = pytest.mark.benchmark(group="a training step", timer=child.cpu_s)


@inference
def bench_literal_inference(measure: child.Measure, tiny: bool) -> None:
    measure(literal.prepared, "literal", False, tiny)


@inference
def bench_inference(measure: child.Measure, tiny: bool) -> None:
    measure(literal.prepared, "ours", False, tiny)


@training
def bench_literal_training_step(measure: child.Measure, tiny: bool) -> None:
    measure(literal.prepared, "literal", True, tiny)


@training
def bench_training_step(measure: child.Measure, tiny: bool) -> None:
    measure(literal.prepared, "ours", True, tiny)


@training
def bench_training_step_in_half_the_memory(measure: child.Measure, tiny: bool) -> None:
    """As with ``train.max_memory``: blocks are recomputed until half of the memory is enough."""
    measure(literal.prepared, "0.4", True, tiny)


@training
def bench_training_step_in_the_least_memory(measure: child.Measure, tiny: bool) -> None:
    """As with ``network.checkpoint_gradients``: all blocks are recomputed."""
    measure(literal.prepared, "least", True, tiny)
