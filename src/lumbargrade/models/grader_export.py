"""Write a second-stage network as an ONNX file that `lumbargrade.starter.grader` runs.

The file takes one study: for every view, ten crops and which of their slices are valid. It computes
all crops, absent ones too, and masks what is absent, because a graph cannot leave crops out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lumbargrade.config import CropConfig
from lumbargrade.domain.errors import BadModel
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.files.writing import atomic_path
from lumbargrade.inference.crops import input_names, output_names
from lumbargrade.models.tracing import traced, with_half_weights
from lumbargrade.networks.encoder import scaled
from lumbargrade.networks.level_network import LEVELS, LevelNetwork, ViewOutput, ViewReader
from lumbargrade.starter.grader import CROPS_KEY

#: Largest difference of a probability from torch's that is accepted.
LARGEST_DEVIATION = 1e-2

#: Inputs of a file by name, see `lumbargrade.inference.crops.LevelInference`.
Inputs = Mapping[str, NDArray[np.uint8] | NDArray[np.bool_]]


class _Graph(nn.Module):
    """A `LevelNetwork` for one study without boolean indices, so that it can be traced."""

    def __init__(self, network: LevelNetwork) -> None:
        super().__init__()
        self.network = network
        trunks = {kind: _reader(network, kind).trunk for kind in SeriesKind}
        grey = {trunk: trunk.encoder.grey_network() for trunk in set(trunks.values())}
        self.bodies = nn.ModuleDict({kind.name: grey[trunks[kind]] for kind in SeriesKind})

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return probabilities of canal, foraminal and subarticular grades."""
        images, valid = inputs[: len(SeriesKind)], inputs[len(SeriesKind) :]
        read = {
            kind: self._read(kind, *view)
            for kind, *view in zip(SeriesKind, images, valid, strict=True)
        }
        names = {kind.name: v for kind, v in zip(SeriesKind, valid, strict=True)}
        output = self.network.fuse(read, names)
        return output.canal.exp(), output.foraminal.exp(), output.subarticular.exp()

    def _read(self, kind: SeriesKind, images: Tensor, valid: Tensor) -> ViewOutput:
        """Read the crops (1, 10, D, S, S) of a view."""
        reader = _reader(self.network, kind)
        count = LEVELS if reader.both_orders else 2 * LEVELS
        slices, shown = images[0, :count], valid[0, :count]
        maps = reader.trunk.decoder(list(self.bodies[kind.name](scaled(slices.flatten(0, 1)))))
        volume = maps.unflatten(0, shown.shape) * shown[..., None, None, None]
        found = reader.trunk.pool(volume, shown, both_orders=reader.both_orders)
        there = valid[0].any(dim=-1)
        features = torch.where(there[:, None], found.features.float(), 0.0)
        heatmaps = torch.where(there[:, None, None, None], found.heatmaps, 0.0)
        return reader.output(features[None], heatmaps[None])


def _reader(network: LevelNetwork, kind: SeriesKind) -> ViewReader:
    reader = network.readers[kind.name]
    assert isinstance(reader, ViewReader)
    return reader


def export_grader(
    network: LevelNetwork, crop: CropConfig, path: Path, studies: Sequence[Inputs] = ()
) -> float:
    """Write a network as ``path`` and compare its probabilities with torch's.

    Args:
        network: in evaluation mode, on the CPU.
        crop: size of the crops; it is stored in the file.
        path: the file.
        studies: inputs to compare, beside random ones with and without absent views.

    Returns:
        The largest difference of a probability.

    Raises:
        BadModel: if it is more than `LARGEST_DEVIATION`; the file is not written then.
        OSError: if the file cannot be written.
    """
    examples = random_inputs(crop)
    names = input_names()
    graph = _Graph(network).eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # not in its types
    values = tuple(torch.from_numpy(examples[0][name]) for name in names)
    model = with_half_weights(traced(graph, values, names, output_names()))
    model.metadata_props.add(key=CROPS_KEY, value=json.dumps(asdict(crop)))
    with atomic_path(path) as temporary:
        onnx.save(model, temporary)
        deviation = _deviation(network, temporary, [*examples, *studies])
        if deviation > LARGEST_DEVIATION:
            raise BadModel(
                f"{path}: probabilities differ by {deviation:.2g} from those of torch, more than "
                f"{LARGEST_DEVIATION}; not written"
            )
    return deviation


def random_inputs(crop: CropConfig, seed: int = 0) -> list[Inputs]:
    """Return random crops of studies: with every view, without each one, and with gaps."""
    rng = np.random.default_rng(seed)
    studies: list[Inputs] = []
    for absent in (None, *SeriesKind, "gaps"):
        inputs: dict[str, NDArray[np.uint8] | NDArray[np.bool_]] = {}
        for kind, image, mask in zip(SeriesKind, *_halves(input_names()), strict=True):
            size = crop.sagittal_size if kind.sagittal else crop.axial_size
            both = kind is SeriesKind.SAGITTAL_T2
            shape = (1, LEVELS if both else 2 * LEVELS, 2 * crop.neighbours + 1)
            pixels = rng.integers(0, 256, (*shape, size, size), dtype=np.uint8)
            valid = np.full(shape, absent is not kind)
            if absent == "gaps":
                valid = rng.random(shape) < 0.6
                valid[:, rng.random(shape[1]) < 0.3] = False
            pixels[~valid] = 0
            if both:
                pixels = np.concatenate([pixels, pixels[:, :, ::-1]], axis=1)
                valid = np.concatenate([valid, valid[:, :, ::-1]], axis=1)
            inputs[image], inputs[mask] = pixels, valid
        studies.append(inputs)
    return studies


def _halves(names: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    return names[: len(SeriesKind)], names[len(SeriesKind) :]


@torch.no_grad()
def _deviation(network: LevelNetwork, path: Path, studies: Sequence[Inputs]) -> float:
    """Return the largest difference of a probability; infinite if one is not a number."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    images, masks = _halves(input_names())
    kinds = [k.name for k in SeriesKind]
    largest = 0.0
    for inputs in studies:
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in inputs.items()}
        output = network(
            {k: tensors[name] for k, name in zip(kinds, images, strict=True)},
            {k: tensors[name] for k, name in zip(kinds, masks, strict=True)},
        )
        seen = output.seen
        shown = {"canal": seen.view(1, 2, -1).any(dim=1), "foraminal": seen, "subarticular": seen}
        for name, found in zip(
            output_names(), session.run(list(output_names()), dict(inputs)), strict=True
        ):
            expected = getattr(output, name).exp()
            difference = (expected - torch.from_numpy(found)).abs()[shown[name]]
            if not difference.isfinite().all():
                return float("inf")
            largest = max(largest, float(difference.max()))
    return largest
