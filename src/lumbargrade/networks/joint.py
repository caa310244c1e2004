"""Batches that several processes share: sums and BatchNorm over the joint batch.

Each process computes a part of the joint batch. Losses are sums over the points of a process,
divided by numbers of the joint batch, so the gradient of the joint batch is the sum of the
gradients of all processes. With one process nothing here does anything.

All processes must call these functions in the same order. A process without a part of its own
computes an element in place of it that does not count (`silent`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_Item = TypeVar("_Item")

#: Largest number of values that are added up in one message.
_BUCKET = 2**24

#: Number of a layer's last calls whose statistics are kept, more than it has in a forward pass.
_CALLS = 16


class _Shared:
    """With whom batches are shared; whether what is computed counts, and is computed again."""

    group: dist.ProcessGroup | None = None
    counts: bool = True
    again: bool = False


@contextmanager
def sharing(group: dist.ProcessGroup | None) -> Iterator[None]:
    """Share the batches in the block with the processes of a group; None: with no other."""
    before, _Shared.group = _Shared.group, group
    try:
        yield
    finally:
        _Shared.group = before


@contextmanager
def silent(silenced: bool = True) -> Iterator[None]:
    """What this process computes in the block is not part of the joint batch."""
    before, _Shared.counts = _Shared.counts, _Shared.counts and not silenced
    try:
        yield
    finally:
        _Shared.counts = before


@contextmanager
def again() -> Iterator[None]:
    """The block computes the activations of a forward pass once more.

    BatchNorm then uses the statistics of the first time, because other processes may not do so.
    """
    before, _Shared.again = _Shared.again, True
    try:
        yield
    finally:
        _Shared.again = before


def counts() -> bool:
    """Return whether what this process computes is part of the joint batch, see `silent`."""
    return _Shared.counts


def processes() -> int:
    """Return the number of processes that share a batch."""
    return 1 if _Shared.group is None else _Shared.group.size()


def rank() -> int:
    """Return the number of this process, from 0; process 0 writes all files."""
    return 0 if _Shared.group is None else _Shared.group.rank()


def joint_sum(values: Tensor) -> Tensor:
    """Return the sum over all processes, without a gradient; with one process, the values."""
    if _Shared.group is None:
        return values
    total = values.detach().clone() if _Shared.counts else torch.zeros_like(values)
    dist.all_reduce(total, group=_Shared.group)
    return total


def anywhere(here: bool, device: torch.device | str = "cpu") -> bool:
    """Return whether something holds in any process."""
    if _Shared.group is None:
        return here
    found = torch.tensor([float(here)], device=device)
    dist.all_reduce(found, group=_Shared.group)
    return bool(found.item())


def interleaved(own: list[_Item]) -> list[_Item]:
    """Collect a list that was dealt out to the processes one item after the other."""
    if _Shared.group is None:
        return own
    parts: list[list[_Item]] = [[] for _ in range(processes())]
    dist.all_gather_object(parts, own, group=_Shared.group)
    return [parts[i % len(parts)][i // len(parts)] for i in range(sum(map(len, parts)))]


def sum_gradients(network: nn.Module) -> None:
    """Replace the gradients of a process by their sums over all processes.

    A parameter without a gradient in all processes keeps none.
    """
    if _Shared.group is None:
        return
    parameters = [p for p in network.parameters() if p.requires_grad]
    device = parameters[0].device
    has = torch.tensor([float(p.grad is not None) for p in parameters], device=device)
    dist.all_reduce(has, group=_Shared.group)
    used = [p for p, n in zip(parameters, has.tolist(), strict=True) if n]
    for parameter in used:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    _sum_in_place([p.grad for p in used if p.grad is not None])


def average_buffers(network: nn.Module) -> None:
    """Replace running statistics by their means over all processes.

    Those of BatchNorm layers that see one volume at a time differ between processes.
    """
    if _Shared.group is None:
        return
    buffers = [b for b in network.buffers() if b.is_floating_point()]
    _sum_in_place(buffers)
    for buffer in buffers:
        buffer /= processes()


def _sum_in_place(tensors: list[Tensor]) -> None:
    """Add up tensors over all processes, many in one message."""
    waiting: list[Tensor] = []
    for number, tensor in enumerate(tensors):
        waiting.append(tensor)
        if number + 1 < len(tensors) and sum(t.numel() for t in waiting) < _BUCKET:
            continue
        flat = torch.cat([t.reshape(-1) for t in waiting])
        dist.all_reduce(flat, group=_Shared.group)
        for t, part in zip(waiting, torch.split(flat, [t.numel() for t in waiting]), strict=True):
            t.copy_(part.view_as(t))
        waiting = []


def join_batch_norm(network: nn.Module) -> None:
    """Let BatchNorm layers use the statistics of the joint batch in training.

    Layers that see one volume at a time (``per_volume`` of a network names their modules) keep
    doing so. Names of parameters do not change.
    """
    if _Shared.group is None:
        return
    alone: set[nn.Module] = set()
    for module in network.modules():
        for part in getattr(module, "per_volume", ()):
            alone |= set(module.get_submodule(part).modules())
    for layer in network.modules():
        if isinstance(layer, _BatchNorm) and layer not in alone:
            vars(layer)["forward"] = _JointForward(layer, layer.forward)


@dataclass(frozen=True)
class _Statistics:
    """Mean, biased variance and number of values per channel (C,) in a call of a layer.

    ``counts`` says whether the values of this process are among them.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor
    counts: bool


class _JointForward:
    """The forward pass of a BatchNorm layer, also of one of timm with its activation.

    Args:
        layer: the layer.
        alone: its own forward pass.
    """

    def __init__(self, layer: Any, alone: Callable[[Tensor], Tensor]) -> None:
        self.layer, self.alone = layer, alone
        # activations are computed again in the opposite order
        self._calls: deque[_Statistics] = deque(maxlen=_CALLS)

    def __call__(self, x: Tensor) -> Tensor:
        layer = self.layer
        if not layer.training or _Shared.group is None:
            return self.alone(x)
        if _Shared.again:
            found = self._calls.pop()
        else:
            found = _statistics(x)
            self._calls.append(found)
            self._update(found)
        normalise: Any = _Normalise.apply
        y: Tensor = normalise(x, layer.weight, layer.bias, found, layer.eps)
        for name in ("drop", "act"):  # of timm's BatchNormAct2d
            y = getattr(layer, name)(y) if hasattr(layer, name) else y
        return y

    def _update(self, found: _Statistics) -> None:
        layer = self.layer
        if layer.running_mean is None:
            return
        layer.num_batches_tracked.add_(1)
        unbiased = found.variance * found.count / (found.count - 1).clamp_min(1)
        for running, new in ((layer.running_mean, found.mean), (layer.running_var, unbiased)):
            running.lerp_(new.to(running.dtype), layer.momentum)


@torch.no_grad()
def _statistics(x: Tensor) -> _Statistics:
    values, dims = _exact(x), [0, *range(2, x.ndim)]
    own = values.new_full((x.shape[1],), x.numel() / x.shape[1])
    total = joint_sum(torch.stack([values.sum(dims), own]))
    mean, count = total[0] / total[1], total[1]
    variance = joint_sum((values - _wide(mean, x)).square().sum(dims)) / count
    return _Statistics(mean, variance, count, _Shared.counts)


class _Normalise(torch.autograd.Function):
    """BatchNorm with the statistics of the joint batch; PyTorch's own runs on CUDA only."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, found: _Statistics, eps: float
    ) -> Tensor:
        scale = (found.variance + eps).rsqrt()
        ctx.save_for_backward(x, weight, found.mean, scale, found.count)
        ctx.counts = found.counts
        y = (_exact(x) - _wide(found.mean, x)) * _wide(scale * weight, x) + _wide(bias, x)
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, count = ctx.saved_tensors
        dims = [0, *range(2, x.ndim)]
        gradient = _exact(gradients[0])
        normal = (_exact(x) - _wide(mean, x)) * _wide(scale, x)
        own = torch.stack([gradient.sum(dims), (gradient * normal).sum(dims)])
        with silent(not ctx.counts):
            bias, along = joint_sum(own) / count
        back = _wide(scale * weight, x) * (gradient - _wide(bias, x) - normal * _wide(along, x))
        if not ctx.counts:
            back, own = torch.zeros_like(back), torch.zeros_like(own)
        along, bias = own[1].to(weight.dtype), own[0].to(weight.dtype)
        return back.to(x.dtype), along, bias, None, None


def _exact(values: Tensor) -> Tensor:
    """Return half precision as fp32, in which statistics are computed."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """View values of channels (C,) as (1, C, 1, ...), to combine with (N, C, ...)."""
    return values.view(1, -1, *[1] * (like.ndim - 2))
