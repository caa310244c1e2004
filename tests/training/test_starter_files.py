"""Exported networks of the starter: half-precision weights, any size of input, the same output."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import fake_phantoms
from lumbargrade.config import StarterNetworkConfig, StarterRecipe
from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.models import starter_export
from lumbargrade.models.starter_weights import StarterMeta, build_starter, save_starter
from lumbargrade.starter.weights_file import Figure, open_weights, read_manifest, write_manifest
from lumbargrade.training.starter_files import Exported, export_run, package

NETWORK = StarterNetworkConfig((8, 8, 8, 8), (1, 0, 0), 1, 3)
KINDS = ["starter_sagittal", "starter_axial"]


def network_of(task) -> torch.nn.Module:
    """A network with statistics of batches that folding has to respect."""
    torch.manual_seed(1)
    network = build_starter(StarterRecipe("small", task, network=NETWORK))
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2.0)
            layer.weight.data.uniform_(0.5, 2.0)
            layer.bias.data.normal_()
    return network.eval()


@pytest.fixture(scope="module", params=KINDS)
def exported(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[Exported, torch.nn.Module]:
    run = tmp_path_factory.mktemp(request.param)
    network = network_of(request.param)
    recipe = StarterRecipe("small", request.param, network=NETWORK)
    save_starter(run / "model", network, StarterMeta(recipe, 5, 1.0, "CPU", 7))
    return export_run(run, run, fake_phantoms), network


def test_any_batch_and_size_gives_the_output_of_torch(exported) -> None:
    result, network = exported
    assert result.deviation < starter_export.LARGEST_DEVIATION
    session = onnxruntime.InferenceSession(result.path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert names == list(network.output_type._fields)
    rng = np.random.default_rng(2)
    for batch, height, width in ((1, 32, 64), (3, 96, 32)):
        image = rng.random((batch, network.channels, height, width), np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(image))
        for one, other in zip(expected, session.run(names, {"image": image}), strict=True):
            assert other.dtype == np.float32
            np.testing.assert_allclose(other, one.numpy(), atol=0.05, rtol=0.05)


def test_weights_are_stored_in_half_precision(exported) -> None:
    result, network = exported
    stored = onnx.load(result.path).graph.initializer
    half = sum(np.prod(w.dims) for w in stored if w.data_type == onnx.TensorProto.FLOAT16)
    single = sum(np.prod(w.dims) for w in stored if w.data_type == onnx.TensorProto.FLOAT)
    kernels = [p.numel() for p in network.parameters() if p.ndim == 4]
    assert half == sum(n for n in kernels if n >= 64)
    assert single < 0.1 * half
    assert not any(n.op_type == "BatchNormalization" for n in onnx.load(result.path).graph.node)


def test_a_network_that_half_precision_changes_is_refused(tmp_path: Path) -> None:
    network = network_of("starter_axial")
    for up in network.body.ups:
        up.narrow.weight.data *= 1e7  # more than half precision can hold
    with pytest.raises(BadModel, match="probabilities differ"):
        starter_export.export_starter(network, tmp_path / "axial.onnx", [])
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="no model there"):
        export_run(tmp_path, tmp_path, fake_phantoms)


def run_of(task, folder: Path, seed: int = 42) -> Path:
    recipe = StarterRecipe("small", task, network=NETWORK)
    recipe = replace(recipe, train=replace(recipe.train, seed=seed))
    meta = StarterMeta(recipe, 5, 1.5, "CPU", 7, {"dice_disc": 0.91234})
    save_starter(folder / "model", network_of(task), meta)
    return folder


def test_packaged_networks_can_be_opened(tmp_path: Path) -> None:
    runs = [run_of(task, tmp_path / task) for task in KINDS]
    out = tmp_path / "weights"
    package(runs[:1], out, fake_phantoms)
    before = read_manifest(out)
    write_manifest(out, replace(before, evaluation=(Figure("old", "figure", 1.0, 1),)))
    package(runs[1:], out, fake_phantoms)
    weights = open_weights(out)  # checks the SHA-256 of both
    assert weights.networks.keys() == {"sagittal", "axial"}
    assert weights.manifest.files["sagittal.onnx"] == before.files["sagittal.onnx"]
    assert weights.manifest.evaluation == ()
    record = weights.manifest.files["axial.onnx"]
    assert (record.recipe, record.seed, record.steps, record.minutes) == ("small", 42, 5, 1.5)
    assert record.bytes == (out / "axial.onnx").stat().st_size
    assert record.phantoms == "stream 7"
    dice, difference = record.evaluation
    assert (dice.measure, dice.value, dice.cases) == ("Dice coefficient of disc", 0.9123, 100)
    assert difference.value < starter_export.LARGEST_DEVIATION


def test_two_runs_of_one_network_are_refused(tmp_path: Path) -> None:
    runs = [run_of("starter_axial", tmp_path / str(seed), seed) for seed in (1, 2)]
    with pytest.raises(UsageError, match=r"axial\.onnx"):
        package(runs, tmp_path / "weights", fake_phantoms)
    assert not (tmp_path / "weights").exists()
