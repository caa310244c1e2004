"""Exported models say what torch says, of series and studies of any size, or are not written."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from lumbargrade.cli.main import main
from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.grading.members import find_models, load_member
from lumbargrade.grading.model_record import record_of
from lumbargrade.inference.base import Arrays
from lumbargrade.inference.engines import OnnxEngine, open_exported
from lumbargrade.inference.model_folder import MODEL_META, ModelMeta, read_meta
from lumbargrade.models import export
from lumbargrade.models.checkpoint import load_model, save_model
from lumbargrade.models.export import export_model
from lumbargrade.models.export_inputs import compared_inputs, phantom_study
from lumbargrade.models.registry import get_task
from lumbargrade.models.torch_engine import TorchEngine
from lumbargrade.models.verification import deviation, numbers
from small_models import small_recipe

#: A task with the view of its keypoints -> whether points are read from peaks.
KINDS = {
    "canal": ("canal", "sagittal_t1", 2),
    "foraminal": ("foraminal", "sagittal_t1", 0),
    "axial": ("keypoints", "axial_t2", 2),
    "subarticular": ("subarticular", "sagittal_t1", 0),
    "two_stage": ("two_stage", "sagittal_t1", 0),
}

#: Phantom that has every kind of series.
WHOLE = 0


def save_telling_model(folder: Path, name: str) -> Path:
    """An untrained model that tells one image from another: statistics of noise, sharp heads."""
    kind, view, radius = KINDS[name]
    recipe = small_recipe(kind, view)  # type: ignore[arg-type]
    recipe = replace(recipe, network=replace(recipe.network, peak_radius=radius))
    task = get_task(recipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = task.build_network(pretrained=False)
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = 1.0
        inputs = compared_inputs(task.inference, phantom_study(WHOLE))
        with torch.no_grad():
            for parameter_name, parameter in network.named_parameters():
                if "point" in parameter_name or "heads" in parameter_name:
                    parameter.mul_(5)
            whole = {
                k: torch.from_numpy(v) for k, v in inputs[-2 if kind == "canal" else 0].items()
            }
            if task.needs_guides:
                task.outputs(network.train(), whole)
            else:
                network.train()(torch.from_numpy(inputs[1]["slices"]).repeat(2, 1, 1), [15, 15])
    save_model(folder, network.eval(), ModelMeta(recipe, 2))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in KINDS:
        save_telling_model(folder / name, name)
        export_model(folder / name, "onnx")
    return folder


@pytest.mark.parametrize("name", KINDS)
def test_an_export_gives_the_numbers_of_torch(models: Path, name: str) -> None:
    """On another phantom than the one that it was verified on, and with other slice counts."""
    meta = read_meta(models / name / "onnx")
    assert meta.export is not None
    assert meta.export.probability_deviation < 1e-4
    assert meta.export.point_deviation < 1e-2
    assert replace(meta, export=None) == read_meta(models / name)
    task = get_task(meta.recipe)
    reference = TorchEngine(task, load_model(models / name).network)
    engine = open_exported(models / name / "onnx", meta)
    inputs = compared_inputs(task.inference, phantom_study(1))
    if not task.needs_guides:
        slices = inputs[-1]["slices"]
        inputs = [{"slices": slices[:n]} for n in (2, 7, 22)]
    found = deviation(task.inference, reference, engine, inputs)
    assert found.probability < 1e-4
    assert found.point < 1e-2
    # the network tells one input from another, so equal numbers mean something
    said = [numbers(task.inference, one, engine.run(one)) for one in inputs[:2]]
    part = 0 if task.conditions else 1
    count = min(len(one[part]) for one in said)
    assert count
    assert np.abs(said[0][part][:count] - said[1][part][:count]).max() > 1e-3


@pytest.mark.parametrize("name", KINDS)
def test_an_export_for_openvino_gives_the_numbers_of_torch_too(
    models: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    before = onnx.load(models / name / "onnx" / "model.onnx")
    monkeypatch.setattr(export, "traced", lambda *_: before)
    out = tmp_path / "out"
    meta = export_model(models / name, "openvino", out)
    assert meta.export is not None
    assert meta.export.engine == "openvino"
    assert meta.export.probability_deviation < 1e-3
    assert meta.export.point_deviation < 0.1
    member, reference = load_member(out), load_member(models / name, engine="onnx")
    assert member.engine.name.startswith("OpenVINO")
    inputs = compared_inputs(member.inference, phantom_study(1))
    found = deviation(member.inference, reference.engine, member.engine, inputs)
    assert found.probability < 1e-3
    assert found.point < 0.1
    (out / "model.bin").write_bytes((out / "model.bin").read_bytes()[:-1] + b"?")
    with pytest.raises(BadModel, match=r"model\.bin: damaged or changed"):
        load_member(out)


def test_an_export_in_the_folder_of_its_model_is_a_part_of_it(models: Path) -> None:
    assert [p.name for p in find_models([models])] == sorted(KINDS)
    assert find_models([models / "canal" / "onnx"]) == [models / "canal" / "onnx"]
    member = load_member(models / "canal")
    assert member.engine.name.startswith("ONNX Runtime")
    assert member.use.probability_deviation is not None
    assert load_member(models / "canal", engine="torch").engine.name.startswith("torch")
    assert load_member(models / "canal" / "onnx").source == member.source
    whole, part = (
        record_of(p, read_meta(p)) for p in (models / "canal", models / "canal" / "onnx")
    )
    assert whole.digest == part.digest


def test_an_engine_that_a_model_is_not_made_for_is_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exported for ONNX Runtime, so it cannot run with"):
        load_member(models / "canal" / "onnx", engine="torch")
    with pytest.raises(UsageError, match=r"run `lumbargrade export .*canal --to openvino` first"):
        load_member(models / "canal", engine="openvino")
    with pytest.raises(UsageError, match="an exported model; give the model"):
        export_model(models / "canal" / "onnx", "onnx", tmp_path / "again")


def test_an_export_of_other_weights_is_not_used(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models / "canal", folder)
    model = load_model(folder)
    with torch.no_grad():
        next(model.network.parameters()).mul_(2)
    save_model(folder, model, model.meta)
    assert load_member(folder).engine.name.startswith("torch")
    assert "was exported from other weights" in caplog.text
    with pytest.raises(UsageError, match="needs a model that was exported for it"):
        load_member(folder, engine="onnx")


@pytest.mark.parametrize("damage", ["changed", "missing", "metadata"])
def test_a_changed_or_damaged_export_is_refused(models: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models / "canal" / "onnx", folder)
    file = folder / "model.onnx"
    if damage == "changed":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))
    elif damage == "missing":
        file.unlink()
    else:
        meta = json.loads((folder / MODEL_META).read_text())
        del meta["export"]["point_deviation"]
        (folder / MODEL_META).write_text(json.dumps(meta))
    said = {"changed": "damaged or changed", "missing": "missing", "metadata": "point_deviation"}
    with pytest.raises(BadModel, match=said[damage]):
        load_member(folder)


class Apart(OnnxEngine):
    """Probabilities and points that are a little too far from those of torch."""

    def run(self, inputs: Arrays) -> Arrays:
        outputs = dict(super().run(inputs))
        outputs["z"] = outputs["z"] + np.float32(0.11)
        return outputs


def test_an_export_that_differs_from_torch_leaves_nothing(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(models / "foraminal")
    save_model(tmp_path / "model", model, model.meta)
    before = onnx.load(models / "foraminal" / "onnx" / "model.onnx")
    monkeypatch.setattr(export, "traced", lambda *_: before)
    monkeypatch.setattr(export, "OnnxEngine", Apart)
    with pytest.raises(BadModel, match=r"differs from torch: .* points by 0\.11 px"):
        export_model(tmp_path / "model", "onnx")
    with pytest.raises(BadModel, match="differs from torch"):
        export_model(tmp_path / "model", "onnx", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.rglob("*")) == sorted(
        ["model", MODEL_META, "model.safetensors"]
    )


def test_only_an_earlier_export_is_replaced(models: Path, tmp_path: Path) -> None:
    for name, content in (("notes", "notes.txt"), ("torch", "model.safetensors")):
        (tmp_path / name).mkdir()
        (tmp_path / name / content).write_text("mine")
        with pytest.raises(UsageError, match="holds something else"):
            export_model(models / "canal", "onnx", tmp_path / name)
        assert (tmp_path / name / content).read_text() == "mine"


def test_the_command_exports_and_says_how_far_it_is_from_torch(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: Any = onnx.load(models / "canal" / "onnx" / "model.onnx")
    monkeypatch.setattr(export, "traced", lambda *_: before)
    out = tmp_path / "out"
    with caplog.at_level("INFO"):
        for _ in range(2):  # the second time it replaces its own folder
            assert main(["export", str(models / "canal"), "--to", "onnx", "--out", str(out)]) == 0
    assert "small/canal, fold 2, fp32; probabilities within" in caplog.text
    assert sorted(p.name for p in out.iterdir()) == ["model.json", "model.onnx"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert main(["export", str(models / "canal"), "--to", "pth"]) == 2


@pytest.mark.parametrize("precision", ["bf16", "int8_weights", "int8_calibrated"])
def test_reduced_precision_runs_in_openvino(
    models: Path, tmp_path: Path, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    before = onnx.load(models / "canal" / "onnx" / "model.onnx")
    monkeypatch.setattr(export, "traced", lambda *_: before)
    monkeypatch.setattr(export, "PHANTOMS", 1)
    monkeypatch.setattr(export, "CALIBRATED", 1)
    found = export_model(models / "canal", "openvino", tmp_path / "out", precision=precision).export
    assert found is not None
    assert 0 < found.probability_deviation <= 1
    assert load_member(tmp_path / "out").use.precision == precision


@pytest.mark.parametrize("precision", ["int8_weights", "int8_calibrated"])
def test_reduced_precision_is_measured_and_used_only_where_it_is_asked_for(
    models: Path, tmp_path: Path, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = onnx.load(models / "canal" / "onnx" / "model.onnx")
    monkeypatch.setattr(export, "traced", lambda *_: before)
    monkeypatch.setattr(export, "PHANTOMS", 1)
    monkeypatch.setattr(export, "CALIBRATED", 1)
    folder = tmp_path / "model"
    model = load_model(models / "canal")
    save_model(folder, model, model.meta)
    found = export_model(folder, "onnx", precision=precision).export
    assert found is not None
    assert found.precision == precision
    assert 1e-5 < found.probability_deviation <= 1  # this network exaggerates what it sees
    torch_loss, own_loss = found.log_loss
    assert torch_loss is not None
    assert own_loss == pytest.approx(torch_loss, abs=0.2)
    assert own_loss != torch_loss
    size = (folder / "onnx" / "model.onnx").stat().st_size
    assert size < 0.5 * (models / "canal" / "onnx" / "model.onnx").stat().st_size
    assert load_member(folder).engine.name.startswith("torch")
    member = load_member(folder, engine="onnx")
    assert member.use.precision == precision
    assert load_member(folder / "onnx").use == member.use


def test_options_that_do_not_fit_together_are_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bf16 needs --to openvino"):
        export_model(models / "canal", "onnx", tmp_path / "a", precision="bf16")
    with pytest.raises(UsageError, match="needs --precision int8_calibrated"):
        export_model(models / "canal", "onnx", tmp_path / "a", calibrate=[tmp_path])
    with pytest.raises(UsageError, match="crops around points, which are not known"):
        export_model(
            models / "two_stage", "onnx", tmp_path / "a",
            precision="int8_calibrated", calibrate=[tmp_path],
        )  # fmt: skip
    assert not (tmp_path / "a").exists()
