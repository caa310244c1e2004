"""Recompute activations in the backward pass: less memory, more time, the same gradients.

The units are the repeated blocks of an encoder and the blocks of a decoder. A unit that is
recomputed keeps only its inputs; the backward pass runs its forward pass once more. Units change no
parameter names, and a network without `recomputing` around its call knows nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import flop_registry

from lumbargrade.networks import joint
from lumbargrade.networks.encoder import Encoder


def units(network: nn.Module) -> dict[str, nn.Module]:
    """Return the modules of a network that can be recomputed, by name.

    They are the innermost blocks in lists of blocks (timm's stages, the decoder). The module with
    an encoder's first convolution is left out: `Encoder` replaces its weights during the call.
    """
    inside = [
        (f"{name}.{child}", module)
        for name, parent in network.named_modules()
        if isinstance(parent, nn.Sequential | nn.ModuleList)
        or type(parent).__name__.endswith("Stage")  # timm's name for a module of blocks
        for child, module in parent.named_children()
        if not isinstance(module, nn.Sequential | nn.ModuleList) and any(module.children())
    ]
    stems = [f"{n}.model.{m.stem}" for n, m in network.named_modules() if isinstance(m, Encoder)]
    taken = [*stems, *(name for name, _ in inside)]
    return {
        name: module
        for name, module in inside
        if not any(other.startswith(f"{name}.") for other in taken)
    }


@contextmanager
def recomputing(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Recompute the activations of these modules for every forward pass inside the block."""
    with _replaced({m: partial(recomputed, m, m.forward) for m in modules}):
        yield


@contextmanager
def _replaced(forwards: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Give modules other forward functions inside the block."""
    before: dict[nn.Module, Any] = {m: vars(m).get("forward") for m in forwards}
    try:
        for module, forward in forwards.items():
            vars(module)["forward"] = forward
        yield
    finally:
        for module, forward in before.items():
            if forward is None:
                vars(module).pop("forward", None)
            else:
                vars(module)["forward"] = forward


def recomputed(module: nn.Module, function: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    """Call ``function`` and recompute its activations in the backward pass.

    Random numbers are drawn again as the first time. ``module`` holds the BatchNorm layers that
    ``function`` uses; their running statistics are updated only once.
    """
    contexts = partial(_contexts, module)
    return checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts, **named)


def _contexts(module: nn.Module) -> tuple[Any, Any]:
    return nullcontext(), _frozen_statistics(module)


@contextmanager
def _frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of all BatchNorm layers in ``module`` unchanged in the block."""
    layers = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    batches = [layer.num_batches_tracked for layer in layers]
    before = [None if n is None else n.clone() for n in batches]
    for layer in layers:
        layer.momentum = 0.0
    try:
        with joint.again():
            yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for number, old in zip(batches, before, strict=True):
            if number is not None and old is not None:
                number.copy_(old)


@dataclass
class Part:
    """One call of a unit, or what a forward pass does between two such calls.

    Attributes:
        unit: name of the unit; empty between units.
        full: bytes of activations that the backward pass needs.
        largest: bytes of the largest of them.
        kept: bytes that are held if the unit is recomputed: its inputs.
        flops: floating-point operations of the call.
    """

    unit: str
    full: int = 0
    largest: int = 0
    kept: int = 0
    flops: int = 0


def activations(network: nn.Module, forward: Callable[[], object]) -> list[Part]:
    """Measure what a forward pass saves for its backward pass, in the order of its parts.

    Nothing is kept while it runs, so it needs little memory. Random state and buffers are as before
    afterwards.

    Args:
        network: the network, in the mode and on the device in which it is trained.
        forward: runs the network on a batch, and its loss.
    """
    meter = _Meter(network)
    # the class's function: a compiled one does not show what it saves
    forwards = {
        m: partial(meter.call, name, partial(type(m).forward, m))
        for name, m in units(network).items()
    }
    hooks = saved_tensors_hooks(meter.pack, _unpack)
    with without_trace(network), meter.counter, _replaced(forwards), hooks:
        forward()
    return [part for part in meter.parts if part.full or part.unit]


@contextmanager
def without_trace(network: nn.Module) -> Iterator[None]:
    """Restore the random state and all buffers of a network after the block."""
    devices = {p.device for p in network.parameters() if p.device.type == "cuda"}
    before = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        with torch.no_grad():
            for buffer, old in before:
                buffer.copy_(old)


def _unpack(_: object) -> Tensor:
    raise RuntimeError("this forward pass was measured; it has no backward pass")


class _Operations(TorchDispatchMode):
    """Counts operations; torch's FlopCounterMode would keep the inputs of all modules alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types here
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func.overloadpacket):
            self.flops += count(*args, **(kwargs or {}), out_val=result)
        return result


class _Meter:
    """Counts what is saved during a forward pass, each storage once, and drops it."""

    def __init__(self, network: nn.Module) -> None:
        self.parts = [Part("")]
        self.counter = _Operations()
        # a reference keeps the identity of a storage from being used again, but not its memory
        self._seen = {_identity(t) for t in (*network.parameters(), *network.buffers())}
        self._inputs: set[StorageWeakRef] = set()

    def pack(self, tensor: Tensor) -> None:
        identity = _identity(tensor)
        if identity not in self._seen:
            self._seen.add(identity)
            size, part = tensor.untyped_storage().nbytes(), self.parts[-1]
            part.full += size
            part.largest = max(part.largest, size)

    def call(self, name: str, forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
        """Call a unit as a part of its own."""
        kept = 0
        for tensor in tree_leaves((inputs, named)):
            if isinstance(tensor, Tensor) and (identity := _identity(tensor)) not in self._inputs:
                self._inputs.add(identity)
                kept += tensor.untyped_storage().nbytes()
        before = self.counter.flops
        self.parts.append(Part(name, kept=kept))
        result = forward(*inputs, **named)
        part = self.parts[-1]
        part.flops = self.counter.flops - before
        self.parts.append(Part(""))
        return result


def _identity(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]  # torch has no types here


def peak_of(parts: Sequence[Part], chosen: Collection[str]) -> int:
    """Return the bytes of activations at the peak of the backward pass.

    While the backward pass is at a part, all earlier parts hold their activations, or their inputs
    if they are recomputed, and this part holds all of its activations and gradients of the largest.
    """
    held = peak = 0
    for part in parts:
        peak = max(peak, held + part.full + 2 * part.largest)
        held += part.kept if part.unit in chosen else part.full
    return peak


def share_again(parts: Sequence[Part], chosen: Collection[str]) -> float:
    """Return the share of the forward pass's operations that are done again."""
    every = sum(part.flops for part in parts)
    return sum(part.flops for part in parts if part.unit in chosen) / max(every, 1)


def fewest(parts: Sequence[Part], room: float) -> tuple[str, ...] | None:
    """Choose the units to recompute so that the peak fits, with as little work as possible.

    Units that save the most memory per operation come first.

    Args:
        parts: of `activations`.
        room: bytes that activations may take at their peak.

    Returns:
        Names of units; None if recomputing all of them is not enough.
    """
    saved: dict[str, int] = {}
    flops: dict[str, int] = {}
    for part in parts:
        if part.unit:
            saved[part.unit] = saved.get(part.unit, 0) + part.full - part.kept
            flops[part.unit] = flops.get(part.unit, 0) + part.flops
    waiting = sorted((u for u in saved if saved[u] > 0), key=lambda u: flops[u] / saved[u])
    chosen: list[str] = []
    while peak_of(parts, chosen) > room:
        if not waiting:
            return None
        chosen.append(waiting.pop(0))
    for unit in sorted(chosen, key=lambda u: -flops[u]):
        fewer = [u for u in chosen if u != unit]
        if peak_of(parts, fewer) <= room:
            chosen = fewer
    return tuple(chosen)
