"""Networks for one series or study that can be traced: the graphs that exported models hold.

Each has the inputs and outputs that `lumbargrade.inference` names, on the CPU. They share all
modules with the network that they are made from, except for the encoder's first layer, and give the
same numbers but for rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.inference.crops import heatmap_name, input_names, output_names
from lumbargrade.models.registry import AnyTask
from lumbargrade.models.series_task import series_outputs
from lumbargrade.models.subarticular import crop_outputs
from lumbargrade.models.two_stage import level_outputs
from lumbargrade.networks.crop_network import CropNetwork, CropTrunk
from lumbargrade.networks.decoder import as_volume
from lumbargrade.networks.encoder import scaled
from lumbargrade.networks.level_network import LEVELS, LevelNetwork, ViewOutput, ViewReader
from lumbargrade.networks.one_stage import OneStageNetwork, PlaneHead, VolumeHead

#: Slices of the largest series that an exported model takes.
MOST_SLICES = 4096


class Graph(nn.Module):
    """A network with named inputs and outputs, for tracing.

    Attributes:
        inputs, outputs: their names, in order.
        free: sizes that stay free, by input and dimension (`torch.export.Dim`).
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    free: dict[str, Any]


class SeriesGraph(Graph):
    """A `OneStageNetwork` for one series of any number of slices."""

    def __init__(self, network: OneStageNetwork, *, heatmaps: bool) -> None:
        super().__init__()
        self.encoder = network.encoder.grey_network()
        self.decoder, self.head = network.decoder, network.head
        self._heatmaps = heatmaps
        self.inputs = ("slices",)
        self.outputs = ("grade", "xy", "z", *(["heatmaps"] if heatmaps else []))
        self.free = {"slices": {0: torch.export.Dim("slices", min=1, max=MOST_SLICES)}}

    def forward(self, slices: Tensor) -> tuple[Tensor, ...]:
        """Find and grade points in slices uint8 (D, S, S)."""
        decoded = self.decoder(list(self.encoder(scaled(slices))))
        if isinstance(self.head, VolumeHead):
            output = self.head([self.head.locate(as_volume(decoded))])
        else:
            assert isinstance(self.head, PlaneHead)
            output = self.head.read_one(decoded)
        found = series_outputs(output, heatmaps=self._heatmaps)
        return tuple(found[name] for name in self.outputs)


class RecessGraph(Graph):
    """A `CropNetwork` for any number of crops."""

    def __init__(self, network: CropNetwork, *, heatmaps: bool) -> None:
        super().__init__()
        self.network = network
        self.body = network.trunk.encoder.grey_network()
        self._heatmaps = heatmaps
        self.inputs = ("slices", "valid")
        self.outputs = ("grade", "xy", "z", *(["heatmaps"] if heatmaps else []))
        crops = torch.export.Dim("crops", min=1, max=MOST_SLICES)
        self.free = {name: {0: crops} for name in self.inputs}

    def forward(self, slices: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        """Grade crops uint8 (N, D, S, S); each has at least one slice with ``valid`` (N, D)."""
        volume = _decoded(self.network.trunk, self.body, slices, valid)
        output = self.network.read(self.network.trunk.pool(volume, valid))
        found = crop_outputs(output, heatmaps=self._heatmaps)
        return tuple(found[name] for name in self.outputs)


class LevelGraph(Graph):
    """A `LevelNetwork` for one study without boolean indices, so that it can be traced.

    It computes all crops, absent ones too, and masks what is absent, because a graph cannot leave
    crops out.

    Args:
        network: the network.
        heatmaps: whether the graph also has the heatmaps that points are read from.
    """

    def __init__(self, network: LevelNetwork, *, heatmaps: bool = True) -> None:
        super().__init__()
        self.network = network
        trunks = {kind: _reader(network, kind).trunk for kind in SeriesKind}
        grey = {trunk: trunk.encoder.grey_network() for trunk in set(trunks.values())}
        self.bodies = nn.ModuleDict({kind.name: grey[trunks[kind]] for kind in SeriesKind})
        self.inputs = input_names()
        maps = tuple(heatmap_name(kind) for kind in SeriesKind)
        self.outputs = (*output_names(), *(maps if heatmaps else ()))
        self.free = {}

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return probabilities of canal, foraminal and subarticular grades, and heatmaps."""
        images, valid = inputs[: len(SeriesKind)], inputs[len(SeriesKind) :]
        read = {
            kind: self._read(kind, *view)
            for kind, *view in zip(SeriesKind, images, valid, strict=True)
        }
        names = {kind.name: v for kind, v in zip(SeriesKind, valid, strict=True)}
        found = level_outputs(self.network.fuse(read, names))
        return tuple(found[name] for name in self.outputs)

    def _read(self, kind: SeriesKind, images: Tensor, valid: Tensor) -> ViewOutput:
        """Read the crops (1, 10, D, S, S) of a view."""
        reader = _reader(self.network, kind)
        count = LEVELS if reader.both_orders else 2 * LEVELS
        shown = valid[0, :count]
        volume = _decoded(reader.trunk, self.bodies[kind.name], images[0, :count], shown)
        found = reader.trunk.pool(volume, shown, both_orders=reader.both_orders)
        there = valid[0].any(dim=-1)
        features = torch.where(there[:, None], found.features.float(), 0.0)
        heatmaps = torch.where(there[:, None, None, None], found.heatmaps, 0.0)
        return reader.output(features[None], heatmaps[None])


def _decoded(trunk: CropTrunk, body: nn.Module, slices: Tensor, valid: Tensor) -> Tensor:
    """Return the maps (N, D, width, h, w) of all slices; those that are not valid are 0."""
    maps: Tensor = trunk.decoder(list(body(scaled(slices.flatten(0, 1)))))
    return maps.view(*valid.shape, *maps.shape[1:]) * valid[..., None, None, None]


def _reader(network: LevelNetwork, kind: SeriesKind) -> ViewReader:
    reader = network.readers[kind.name]
    assert isinstance(reader, ViewReader)
    return reader


def graph_of(task: AnyTask, network: nn.Module) -> Graph:
    """Return the graph of a network; points are read as its recipe says.

    Args:
        task: the task of the network.
        network: in evaluation mode, on the CPU.
    """
    peaks = task.recipe.network.peak_radius > 0
    if isinstance(network, OneStageNetwork):
        return SeriesGraph(network, heatmaps=peaks)
    if isinstance(network, CropNetwork):
        return RecessGraph(network, heatmaps=peaks)
    assert isinstance(network, LevelNetwork)
    return LevelGraph(network)
