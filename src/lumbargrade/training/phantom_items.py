"""Training items from the stream of phantoms; they do not depend on the number of workers.

The stream is numbered: step ``s`` of a run trains on the series ``s * batch_size`` up to
``(s + 1) * batch_size - 1`` of its seed, so a resumed run sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from lumbargrade.config import StarterName, StreamConfig
from lumbargrade.domain.outlines import AXIAL_MM, SAGITTAL_MM, Segment, Structure
from lumbargrade.networks.starter import MARK_STRIDE, SEGMENT_STRIDE
from lumbargrade.networks.starter_losses import IGNORED
from lumbargrade.starter.grid import MULTIPLE, flatten, neighbours
from lumbargrade.training.loader import quiet_worker


class SagittalPhantom(Protocol):
    """Neighbouring slices of one sagittal series; D slices of H x W pixels of the grid."""

    @property
    def images(self) -> NDArray[np.uint8]:
        """(D, H, W)."""

    @property
    def structures(self) -> NDArray[np.uint8]:
        """(D, H, W), 255 outside the field."""

    @property
    def segments(self) -> NDArray[np.uint8]:
        """(D, H, W), 255 outside the field."""

    @property
    def marks(self) -> NDArray[np.float32]:
        """(D, 4, H/2, W/2)."""


class AxialPhantom(Protocol):
    """One axial slice on the grid."""

    @property
    def image(self) -> NDArray[np.uint8]:
        """(128, 128)."""

    @property
    def structures(self) -> NDArray[np.uint8]:
        """(128, 128), indices into `AXIAL_STRUCTURES`, 255 outside the field."""

    @property
    def recesses(self) -> NDArray[np.float32]:
        """(2, 64, 64)."""


class Phantoms(Protocol):
    """Numbered phantoms, each the same whenever it is asked for."""

    @property
    def STREAM_VERSION(self) -> int:  # noqa: N802  # a module's constant
        """Raised when the same seed and number give another phantom."""

    @property
    def sagittal_sample(self) -> Callable[[int, int], SagittalPhantom]:
        """(seed, number) -> series."""

    @property
    def axial_sample(self) -> Callable[[int, int], AxialPhantom]:
        """(seed, number) -> slice."""


@dataclass(frozen=True, eq=False)
class Items:
    """Network inputs with their truth; N slices of H x W pixels.

    Attributes:
        images: (N, C, H, W) float32.
        structures: (N, H, W) uint8 class indices; `Structure.OTHER` outside the field.
        heat: (N, P, H/2, W/2) float32.
        segments: (N, H/4, W/4) uint8, `Segment.NONE` outside the field; None for axial slices.
    """

    images: Tensor
    structures: Tensor
    heat: Tensor
    segments: Tensor | None = None

    def to(self, device: torch.device) -> Items:
        """Return the items on another device, images in the memory layout of the network."""
        images = self.images.to(device, non_blocking=True)
        return Items(
            images.contiguous(memory_format=torch.channels_last),
            self.structures.to(device, non_blocking=True),
            self.heat.to(device, non_blocking=True),
            None if self.segments is None else self.segments.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class SagittalItems:
    """Make items of a sagittal series; see `StreamConfig`.

    Attributes:
        sample: makes the series.
        slices: number of its slices that are used: inner ones, then those at the ends.
        single_slice: share of series shown as single slices.
    """

    sample: Callable[[int, int], SagittalPhantom]
    slices: int = 1
    single_slice: float = 0.0

    def __call__(self, seed: int, number: int) -> Items:
        sample = self.sample(seed, number)
        rng = np.random.default_rng([seed, number, len(sample.images)])
        chosen, shown = self._choice(len(sample.images), rng)
        flat = np.stack([flatten(image, SAGITTAL_MM) for image in sample.images])
        middle = SEGMENT_STRIDE // 2
        segments = sample.segments[chosen, middle::SEGMENT_STRIDE, middle::SEGMENT_STRIDE]
        return Items(
            torch.from_numpy(flat[shown]),
            _tensor(_nothing_outside(sample.structures[chosen])),
            _tensor(sample.marks[chosen]),
            _tensor(_nothing_outside(segments)),
        )

    def _choice(
        self, depth: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the slices (N,) to train on and the slices (N, 3) shown with each."""
        order = rng.permutation(depth)
        inner = (order > 0) & (order < depth - 1)
        chosen = np.concatenate([order[inner], order[~inner]])[: self.slices]
        if rng.random() < self.single_slice:
            return chosen, np.stack([chosen] * 3, axis=1)
        return chosen, neighbours(np.zeros(depth, int))[chosen]


def _nothing_outside(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Label pixels outside the field as background: real images have black borders too."""
    return np.where(labels == IGNORED, np.uint8(Structure.OTHER), labels)


@dataclass(frozen=True)
class AxialItems:
    """Make the item of an axial slice."""

    sample: Callable[[int, int], AxialPhantom]

    def __call__(self, seed: int, number: int) -> Items:
        sample = self.sample(seed, number)
        return Items(
            torch.from_numpy(flatten(sample.image, AXIAL_MM))[None, None],
            _tensor(sample.structures[None]),
            _tensor(sample.recesses[None]),
        )


def item_maker(
    task: StarterName, phantoms: Phantoms, config: StreamConfig | None
) -> Callable[[int, int], Items]:
    """Return the function (seed, number) -> items.

    Args:
        task: the network's task.
        phantoms: makes the phantoms.
        config: settings of training; None for evaluation, which uses one inner slice of a series.
    """
    if task == "starter_axial":
        return AxialItems(phantoms.axial_sample)
    if config is None:
        return SagittalItems(phantoms.sagittal_sample)
    return SagittalItems(phantoms.sagittal_sample, config.slices, config.single_slice)


def joined(parts: Sequence[Items]) -> Items:
    """Join items into one batch, with black at the bottom and right of smaller images.

    Black has no structure, no segment and no mark.
    """
    height, width = (
        -(-max(p.images.shape[d] for p in parts) // MULTIPLE) * MULTIPLE for d in (-2, -1)
    )

    def join(tensors: Sequence[Tensor], stride: int, fill: int = 0) -> Tensor:
        size = height // stride, width // stride
        return torch.cat([_enlarged(t, size, fill) for t in tensors])

    segments = [p.segments for p in parts if p.segments is not None]
    return Items(
        join([p.images for p in parts], 1),
        join([p.structures for p in parts], 1, Structure.OTHER),
        join([p.heat for p in parts], MARK_STRIDE),
        join(segments, SEGMENT_STRIDE, Segment.NONE) if segments else None,
    )


def _enlarged(tensor: Tensor, size: tuple[int, int], fill: int) -> Tensor:
    down, right = (n - have for n, have in zip(size, tensor.shape[-2:], strict=True))
    return functional.pad(tensor, (0, right, 0, down), value=fill) if down or right else tensor


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


class PhantomItems(Dataset[Items]):
    """The numbered items of a seed."""

    def __init__(self, make: Callable[[int, int], Items], seed: int) -> None:
        self.make, self.seed = make, seed

    def __getitem__(self, number: int) -> Items:
        return self.make(self.seed, number)


def phantom_loader(
    make: Callable[[int, int], Items], seed: int, batches: Sequence[range], workers: int
) -> DataLoader[Items]:
    """Load batches of a stream in order.

    Args:
        make: makes the items of a number, see `item_maker`.
        seed: seed of the phantoms.
        batches: numbers of the series in each batch.
        workers: number of processes; 0: render in this process.
    """
    return DataLoader(
        PhantomItems(make, seed),
        batch_sampler=[list(batch) for batch in batches],
        num_workers=workers,
        collate_fn=joined,
        worker_init_fn=quiet_worker if workers else None,
        generator=torch.Generator().manual_seed(seed),
        prefetch_factor=2 if workers else None,
    )
