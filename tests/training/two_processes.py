"""Gradients of one step, alone or as one of several processes that share the batch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn

from lumbargrade.config import Recipe
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.networks import joint
from lumbargrade.training.loader import training_loader
from lumbargrade.training.loop import FoldTrainer
from lumbargrade.training.processes import joined
from lumbargrade.training.state import Progress
from small_runs import small_recipe, small_trainer

#: Encoders without BatchNorm (its place is taken by LayerNorm), and with it.
ENCODERS = {"layer": "pvt_v2_b0", "batch": "lcnet_050"}
CASES = [("foraminal", "layer"), ("canal", "batch"), ("two_stage", "layer")]


def recipe_of(task: str, norm: str) -> Recipe:
    """Two steps: of five items, which two processes share unequally, and of one item.

    In the two-stage network some views are seen by one process only. One process recomputes
    activations, the other does not.
    """
    recipe = small_recipe(task, batch_size=5)
    return replace(
        recipe,
        encoder=replace(recipe.encoder, name=ENCODERS[norm]),
        network=replace(recipe.network, checkpoint_gradients=joint.rank() == 1),
        augment=replace(recipe.augment, drop_view=0.6),
    )


@contextmanager
def precise(task: str) -> Iterator[None]:
    """Compute in fp64, because small networks with BatchNorm multiply rounding errors.

    The two-stage network is written for fp32 only.
    """
    if task == "two_stage":
        yield
        return
    torch.set_default_dtype(torch.float64)
    with patch.object(Tensor, "float", Tensor.double):
        yield
    torch.set_default_dtype(torch.float32)


def gradients(task: str, norm: str, store: VolumeStore, folder: Path) -> dict[str, Tensor]:
    """Gradients, losses and running statistics of two steps, by name, without moving weights.

    Running statistics of layers that see one volume at a time depend on the order of the volumes.
    """
    with precise(task):
        return _gradients(small_trainer(recipe_of(task, norm), store, folder))


def _gradients(trainer: FoldTrainer) -> dict[str, Tensor]:
    network, learner = trainer.learner.network, trainer.learner
    learner.move = lambda: joint.sum_gradients(network)  # type: ignore[method-assign]
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    network.train()
    found: dict[str, Tensor] = {}
    loader = training_loader(trainer.task, trainer.store, trainer.training_rows, epoch=0)
    for step, batch in enumerate(loader):
        terms = trainer._step(batch, 0.0, Progress(step=step))
        found[f"{step} loss"] = terms.total.detach()
        found |= {f"{step} part {k}": v.detach() for k, v in terms.parts.items()}
        found |= {f"{step} count {k}": torch.tensor(n) for k, n in terms.counts.items()}
        found |= {
            f"{step} {k}": p.grad.clone()
            for k, p in network.named_parameters()
            if p.grad is not None
        }
    alone = getattr(network, "per_volume", ("-",))
    found |= {f"buffer {k}": b for k, b in network.named_buffers() if not k.startswith(alone)}
    return found


def main(store: Path, out: Path) -> None:
    torch.set_num_threads(1)
    with joined("cpu"):
        for task, norm in CASES:
            found = gradients(task, norm, VolumeStore.open(store), out / f"{joint.rank()}")
            torch.save(found, out / f"{task}-{norm}-{joint.rank()}.pt")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
