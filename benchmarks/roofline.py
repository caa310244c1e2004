"""What work needs at least, and what a machine can do: operations, memory traffic, rates."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


@dataclass
class Needs:
    """What some work needs.

    Attributes:
        operations: floating-point operations of matrix products, convolutions and attention.
        bytes: what its operations read and write, each on its own: what a cache or a fused kernel
            spares is counted.
        kernels: number of operations that read or write memory.
    """

    operations: int = 0
    bytes: int = 0
    kernels: int = 0


class Counting(TorchDispatchMode):
    """Counts what the torch operations inside the block need, of forward and backward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.needs = Needs()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func.overloadpacket not in flop_registry:
            # in inference mode, linear layers and convolutions arrive as one operation of many
            with self:
                parts = func.decompose(*args, **named)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **named)
        if func is torch.ops.aten.convolution_backward.default:
            self.needs.operations += _of_convolution(*args, **named)
        elif count := flop_registry.get(func.overloadpacket):
            self.needs.operations += count(*args, **named, out_val=result)
        if not func.is_view and not func.overloadpacket.__name__.startswith("empty"):
            tensors = [t for t in tree_leaves((args, named, result)) if isinstance(t, Tensor)]
            self.needs.bytes += sum(t.numel() * t.element_size() for t in tensors)
            self.needs.kernels += 1
        return result


def _of_convolution(
    gradient: Tensor, x: Tensor, weight: Tensor, *arguments: Any, **named: Any
) -> int:
    """Operations of a convolution's backward pass; torch counts those in groups far too high."""
    *_, transposed, _, _, wanted = (*arguments, *named.values())
    pixels = math.prod((x if transposed else gradient).shape[2:]) * len(x)
    return 2 * sum(wanted[:2]) * pixels * weight.numel()


def needs_of(work: Callable[[], object]) -> Needs:
    """Count what some work needs; it is done once."""
    with Counting() as counting:
        work()
    return counting.needs


def now(device: torch.device) -> float:
    """Seconds by the clock, once a GPU has done all its work; on a CPU, seconds of its time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def seconds_of(work: Callable[[], object], device: torch.device, rounds: int = 5) -> float:
    """Shortest time of some work, after one run that warms up."""
    found = []
    for _ in range(rounds + 1):
        start = now(device)
        work()
        found.append(now(device) - start)
    return min(found[1:])


def matrix_rate(device: torch.device, side: int, dtype: torch.dtype = torch.float32) -> float:
    """Operations per second of the product of two square matrices."""
    left, right = torch.randn((2, side, side), device=device).to(dtype)
    product = torch.empty_like(left)
    return 2 * side**3 / seconds_of(lambda: torch.mm(left, right, out=product), device)


def copy_rate(device: torch.device, mib: int) -> float:
    """Bytes read and written per second by a copy."""
    source = torch.zeros(mib * 2**18, device=device)
    target = torch.zeros_like(source)
    return 2 * source.nbytes / seconds_of(lambda: target.copy_(source), device)


@dataclass(frozen=True)
class Limits:
    """What a machine can do: operations and bytes per second."""

    operations: float
    bytes: float

    def bound(self, needs: Needs) -> str:
        """Which limit the work meets first."""
        compute, traffic = needs.operations / self.operations, needs.bytes / self.bytes
        return "matrix products" if compute > traffic else "memory"

    def shortest(self, needs: Needs) -> float:
        """Seconds that the work takes at least, at the limit that it meets first."""
        return max(needs.operations / self.operations, needs.bytes / self.bytes)
