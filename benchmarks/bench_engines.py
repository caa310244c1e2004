"""Engines on the CPU against our own torch network, one series after another.

Each case runs the network of a recipe (random weights, a series of noise with 15 slices) on one
thread: eager torch in fp32, torch in inference mode, ONNX Runtime, and OpenVINO in fp32 and bf16.
All engines of a recipe take turns in one process, so that they share what disturbs the machine.

`python -m benchmarks.bench_engines` prints a table of the ratios of CPU time; `--recipes` names the
recipes, `--rounds` how often each engine runs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from benchmarks.common import markdown_table, number, progress, ratio

from lumbargrade.config import load_recipe
from lumbargrade.inference.base import Arrays, Engine
from lumbargrade.inference.model_folder import ExportedFor, Precision
from lumbargrade.models.export import traced_network, write_network
from lumbargrade.models.registry import get_task
from lumbargrade.models.torch_engine import TorchEngine

RECIPES = (
    "one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01",
    "one-stage-scs/effnet_b4-decoder2d-01",
    "cpu-small/canal",
    "cpu-small/foraminal",
)
SLICES = 15

#: Engine and precision of each column beside torch.
EXPORTS: dict[str, tuple[ExportedFor, Precision]] = {
    "ONNX Runtime": ("onnx", "fp32"),
    "OpenVINO fp32": ("openvino", "fp32"),
    "OpenVINO bf16": ("openvino", "bf16"),
}
BASELINE = "torch, eager"


def engines_of(recipe: str, folder: Path, slices: int = SLICES) -> tuple[dict[str, Engine], Arrays]:
    """Every engine with the network of a recipe for whole series, and a series."""
    loaded = load_recipe(recipe)
    task = get_task(loaded)
    torch.manual_seed(0)
    reference = TorchEngine(task, task.build_network(pretrained=False).eval())
    size = loaded.data.size
    pixels = np.random.default_rng(0).integers(0, 256, (slices, size, size), dtype=np.uint8)
    inputs = {"slices": pixels}
    model = traced_network(task, reference, [inputs])
    found: dict[str, Engine] = {"torch, inference mode": reference}
    for name, (to, precision) in EXPORTS.items():
        part = folder / name
        part.mkdir()
        found[name] = write_network(part, to, model, precision)
    return found, inputs


class Eager:
    """Torch without inference mode, as a program calls the network."""

    name = BASELINE

    def __init__(self, engine: TorchEngine) -> None:
        self.engine = engine

    def run(self, inputs: Arrays) -> Arrays:
        tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
        with torch.no_grad():
            outputs = self.engine.task.outputs(self.engine.network, tensors)
        return {name: value.numpy() for name, value in outputs.items()}


def measured(engines: Mapping[str, Engine], inputs: Arrays, rounds: int) -> dict[str, float]:
    """Median CPU seconds of each engine; engines take turns."""
    works: dict[str, Callable[[], object]] = {
        name: (lambda e: lambda: e.run(inputs))(engine) for name, engine in engines.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():  # the first run allocates
        work()
    for _ in range(rounds):
        for name, work in works.items():
            start = time.process_time()
            work()
            seconds[name].append(time.process_time() - start)
    return {name: median(values) for name, values in seconds.items()}


def row_of(recipe: str, rounds: int, slices: int = SLICES) -> tuple[list[str], list[str]]:
    """Heading and cells of a recipe: CPU seconds of the baseline, and speeds relative to it."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        engines, inputs = engines_of(recipe, Path(folder), slices)
        reference = engines["torch, inference mode"]
        assert isinstance(reference, TorchEngine)
        found = measured({BASELINE: Eager(reference), **engines}, inputs, rounds)
    names = [name for name in found if name != BASELINE]
    cells = [recipe, number(found[BASELINE]), *(ratio(found[BASELINE] / found[n]) for n in names)]
    return ["recipe", f"{BASELINE}: CPU s", *(f"{n}: times as fast" for n in names)], cells


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    rows = []
    for recipe in options.recipes:
        progress(f"tracing and measuring {recipe}")
        header, cells = row_of(recipe, options.rounds)
        rows.append(cells)
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
