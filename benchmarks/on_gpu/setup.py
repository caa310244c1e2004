"""What the parts of ``benchmarks.gpu`` share: a device, a small store and the recipes."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lumbargrade.config import Recipe, load_recipe
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.files.cpus import usable_cpus
from lumbargrade.lsdc.prepare import prepare
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.device import choose_device
from lumbargrade.models.registry import get_task
from lumbargrade.phantom.dataset import Settings, make_dataset


class OutOfTime(Exception):
    """The time budget ended before a part had measured enough."""


class Wrong(Exception):
    """A network gave impossible numbers."""


@dataclass(frozen=True)
class Scale:
    """How large the work is.

    Attributes:
        studies: phantom studies in the store.
        matrix: side of the square matrices whose product gives the card's rate.
        steps: fewest and most training steps.
        warm_up: runs that are not timed, of steps, products and predictions alike.
        loader_s: most seconds that a loader is timed.
        predictions: most timed predictions of each kind.
        workers: loader processes and makers of the store.
    """

    studies: int
    matrix: int
    steps: tuple[int, int]
    warm_up: int
    loader_s: float
    predictions: int
    workers: int


FULL = Scale(8, 8192, (10, 30), 3, 3.0, 20, usable_cpus())
TINY = Scale(2, 128, (2, 2), 1, 0.1, 1, 1)

#: Tiny encoders of the published families.
_TINY_ENCODERS = {
    "pvt": "pvt_v2_b0",
    "convnext": "convnext_atto",
    "tf": "tf_efficientnet_b0",
}


def tiny_recipe(recipe: Recipe) -> Recipe:
    """The same experiment with a small encoder, thin decoder, few slices and small images."""
    family = recipe.encoder.name.split("_")[0]
    return replace(
        recipe,
        encoder=replace(recipe.encoder, name=_TINY_ENCODERS[family]),
        network=replace(recipe.network, widths=(16, 8, 8), features=8, hidden=8),
        data=replace(recipe.data, size=64),
        augment=replace(recipe.augment, slices=4),
        train=replace(recipe.train, batch_size=2),
    )


@dataclass
class Subject:
    """A recipe at work.

    Attributes:
        recipe: the experiment, without pretrained weights.
        task: its task.
        samples: augmented samples of one full batch.
        network: fresh weights on the CPU, without dropout; every precision starts from a copy.
        reference: the CPU's loss, its parts and counts by name; None until it is measured.
        compared: how many volumes the reference is of.
        operations: floating-point operations of a training step; None until they are counted.
    """

    recipe: Recipe
    task: Any
    samples: list[Any]
    network: nn.Module
    reference: dict[str, float] | None = None
    compared: int = 0
    operations: int | None = None

    @property
    def slices(self) -> int:
        return sum(self.task.collate(self.samples).counts)

    def batch(self, volumes: int | None = None) -> Any:
        """The batch, or its first volumes, on the CPU."""
        return self.task.collate(self.samples[:volumes])


@dataclass
class Session:
    """What all parts of one run share.

    Attributes:
        device: where networks run.
        scale: how large the work is.
        tiny: whether recipes are made small.
        folder: an empty folder for the store.
        subjects: recipes that were prepared so far, by name.
    """

    device: torch.device
    scale: Scale
    tiny: bool
    folder: Path
    subjects: dict[str, Subject] = field(default_factory=dict)

    @classmethod
    def begin(cls, device: str, tiny: bool, folder: Path) -> Session:
        """A session on the device named.

        Raises:
            UsageError: for a device that does not exist, or full size on a CPU.
        """
        chosen = choose_device(device)
        if chosen.type != "cuda" and not tiny:
            raise UsageError(
                "no CUDA device is available, and published networks take hours on a CPU; "
                "--tiny runs the same code with small networks"
            )
        return cls(chosen, TINY if tiny else FULL, tiny, folder)

    def make_store(self) -> tuple[int, int]:
        """Write the phantom store; numbers of studies and of series in it."""
        settings = Settings(self.scale.studies, 7, 0, "train", "explicit")
        make_dataset(self.folder / "data", settings, workers=self.scale.workers)
        kinds = (SeriesKind.SAGITTAL_T1, SeriesKind.SAGITTAL_T2)
        workers = self.scale.workers
        found = prepare(self.folder / "data", self.folder / "store", workers=workers, kinds=kinds)
        return found.studies, found.series

    @property
    def store(self) -> VolumeStore:
        """The store.

        Raises:
            BadStore: if it was not made.
        """
        return VolumeStore.open(self.folder / "store")

    def recipe(self, name: str) -> Recipe:
        """A published recipe from random weights, made small in a tiny run."""
        recipe = load_recipe(name)
        recipe = replace(recipe, encoder=replace(recipe.encoder, pretrained=False))
        return tiny_recipe(recipe) if self.tiny else recipe

    def subject(self, name: str) -> Subject:
        """A recipe at work: its batch and its weights are the same for every part."""
        if name not in self.subjects:
            recipe = self.recipe(name)
            task = get_task(recipe)
            store = self.store
            rows = task.rows(store)[: recipe.train.batch_size]
            samples = [
                task.sample(store, row, np.random.default_rng(i)) for i, row in enumerate(rows)
            ]
            torch.manual_seed(0)
            network = without_dropout(task.build_network()).train()
            self.subjects[name] = Subject(recipe, task, samples, network)
        return self.subjects[name]

    def tried(self, name: str) -> str:
        """The batch of a recipe in words: volumes, slices and their size."""
        if name not in self.subjects:
            return "no batch"
        subject = self.subjects[name]
        size = subject.recipe.data.size
        return f"{len(subject.samples)} volumes, {subject.slices} slices of {size} x {size}"

    def free(self) -> None:
        """Free memory that is no longer used."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def wait(self) -> None:
        """Wait until the device has finished all its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def without_dropout(network: nn.Module) -> nn.Module:
    """The same network with every drop rate at 0: a CPU and a GPU draw different numbers."""
    for module in network.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d | nn.Dropout3d):
            module.p = 0.0
        elif hasattr(module, "drop_prob"):  # timm's stochastic depth
            module.drop_prob = 0.0
    return network
