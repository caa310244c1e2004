"""Write a second-stage network as an ONNX file that `lumbargrade.starter.grader` runs.

Unlike an exported model (`lumbargrade.models.export`), the file has no heatmaps, its weights are
stored in half precision, and it says itself how large its crops are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from lumbargrade.config import CropConfig, Recipe
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.inference.base import Arrays
from lumbargrade.inference.crops import input_names
from lumbargrade.inference.engines import OnnxEngine
from lumbargrade.models.graphs import LevelGraph
from lumbargrade.models.registry import get_task
from lumbargrade.models.starter_export import write_starter
from lumbargrade.models.torch_engine import TorchEngine
from lumbargrade.models.tracing import traced
from lumbargrade.models.verification import deviation
from lumbargrade.networks.level_network import LEVELS, LevelNetwork
from lumbargrade.starter.grader import CROPS_KEY


def export_grader(
    network: LevelNetwork, crop: CropConfig, path: Path, studies: Sequence[Arrays] = ()
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
        BadModel: if it is too large (`write_starter`); the file is not written then.
        OSError: if the file cannot be written.
    """
    examples = random_inputs(crop)
    graph = LevelGraph(network, heatmaps=False)
    values = tuple(torch.from_numpy(examples[0][name]) for name in graph.inputs)
    model = traced(graph, values, graph.inputs, graph.outputs)
    onnx.helper.set_model_props(model, {CROPS_KEY: json.dumps(asdict(crop))})
    task = get_task(Recipe("the grading network", "two_stage", crop=crop))
    reference = TorchEngine(task, network)

    def deviation_of(engine: OnnxEngine) -> float:
        return deviation(task.inference, reference, engine, [*examples, *studies]).probability

    return write_starter(model, path, deviation_of)


def random_inputs(crop: CropConfig, seed: int = 0) -> list[Arrays]:
    """Return random crops of studies: with every view, without each one, and with gaps."""
    rng = np.random.default_rng(seed)
    studies: list[Arrays] = []
    names = input_names()
    count = len(SeriesKind)
    for absent in (None, *SeriesKind, "gaps"):
        inputs: dict[str, NDArray[np.uint8] | NDArray[np.bool_]] = {}
        for kind, image, mask in zip(SeriesKind, names[:count], names[count:], strict=True):
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
