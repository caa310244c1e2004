"""Published checkpoints give published outputs; models survive the disk; bad files are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import lumbargrade
from lumbargrade.cli.main import main
from lumbargrade.config import EncoderConfig, NetworkConfig, Recipe, load_recipe
from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.inference.model_folder import MODEL_META, MODEL_WEIGHTS, ModelMeta, read_meta
from lumbargrade.models.checkpoint import load_model, save_model
from lumbargrade.models.published import import_published, to_published
from lumbargrade.models.published import published_shapes as our_published_shapes
from lumbargrade.networks.one_stage import OneStageNetwork, build_network
from lumbargrade.networks.weights import read_weights
from published_files import CHECKPOINTS, published_shapes, published_weights, write_published

TARGETS = {"foraminal": 10, "canal": 5}
SMALL = Recipe(
    name="small",
    task="canal",
    encoder=EncoderConfig("lcnet_050", pretrained=False, stages=3),
    network=NetworkConfig(decoder="2d", widths=(16, 8), hidden=8),
)


def fresh(recipe: Recipe) -> OneStageNetwork:
    return build_network(recipe.encoder, recipe.network, TARGETS[recipe.task], pretrained=False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    save_model(folder, fresh(SMALL), ModelMeta(SMALL, fold=2, data="abc", scores={"score": 0.5}))
    return folder


@pytest.mark.parametrize(("name", "recipe"), CHECKPOINTS.items())
def test_networks_have_exactly_the_published_parameters(
    shared: Path, name: str, recipe: str
) -> None:
    with torch.device("meta"):
        network = fresh(load_recipe(recipe))
    assert our_published_shapes(network) == published_shapes(shared, name)


@pytest.mark.parametrize("name", ["nfn-pvt_v2_b4", "scs-pvt_v2_b4"])
def test_an_imported_checkpoint_gives_the_published_outputs(
    shared: Path, tmp_path: Path, name: str
) -> None:
    file = write_published(tmp_path / "best.pth", published_weights(shared, name))
    out = tmp_path / "model"
    assert (
        main(["import-weights", str(file), "--recipe", CHECKPOINTS[name], "--out", str(out)]) == 0
    )
    network = lumbargrade.load_model(out)
    assert not network.training
    golden = np.load(shared / "reference" / "checkpoints" / f"{name}.npz")
    with torch.inference_mode():
        output = network(torch.from_numpy(golden["image"]), golden["D"].tolist())
    for part in ("grade", "xy", "z"):
        np.testing.assert_allclose(getattr(output, part), golden[part], atol=1e-4, rtol=0)
    assert network.meta.recipe == load_recipe(CHECKPOINTS[name])
    assert network.meta.provenance["epoch"] == 5


def test_parameters_that_do_not_fit_are_listed_and_nothing_is_written(
    tmp_path: Path, shared: Path
) -> None:
    name = "scs-pvt_v2_b4"
    shapes = published_shapes(shared, name)
    weights = {k: torch.zeros(()).expand(shape) for k, shape in shapes.items()}
    del weights["z_mask.3.bias"]
    weights["level_mask.3.bias"] = torch.zeros(7)
    weights["surplus.weight"] = torch.zeros(1)
    file = write_published(tmp_path / "bad.pth", weights)
    with pytest.raises(BadModel) as caught:
        import_published(file, CHECKPOINTS[name], tmp_path / "model")
    text = str(caught.value)
    assert "missing z_mask.3.bias" in text
    assert "unknown surplus.weight" in text
    assert "level_mask.3.bias has shape (7,), not (5,)" in text
    assert text.count("\n") == 3
    assert not (tmp_path / "model").exists()


def test_a_checkpoint_of_another_network_lists_a_few_parameters_of_each_kind(
    tmp_path: Path, shared: Path
) -> None:
    shapes = published_shapes(shared, "scs-pvt_v2_b4")
    weights = {k: torch.zeros(()).expand(shape) for k, shape in shapes.items()}
    file = write_published(tmp_path / "canal.pth", weights)
    with pytest.raises(BadModel) as caught:
        import_published(file, CHECKPOINTS["nfn-pvt_v2_b4"], tmp_path / "model")
    lines = str(caught.value).splitlines()
    assert "canal.pth is not a checkpoint of one-stage-nfn-fixed" in lines[0]
    assert len(lines) <= 1 + 3 * 11
    assert sum(line.startswith("  missing ") for line in lines) == 10
    left = [line for line in lines if line.startswith("  ... and ")]
    assert " more missing, " in left[0]
    assert " more unknown, " in left[1]
    assert "shape (384, 832, 3, 3), not (384, 832, 3, 3, 3)" in str(caught.value)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path, shared: Path) -> None:
    shapes = published_shapes(shared, "nfn-pvt_v2_b4")
    weights = {k: torch.zeros(()).expand(shape) for k, shape in shapes.items()}
    file = write_published(tmp_path / "bad.pth", weights)
    arguments = ["import-weights", str(file), "--out", str(tmp_path / "m"), "--recipe"]
    assert main([*arguments, "one-stage-scs/pvt_v2_b4-decoder2d-01"]) == 3
    assert main([*arguments, "no-such-recipe"]) == 2


def _damaged(folder: Path) -> dict[str, Path]:
    good = folder / "good.pth"
    torch.save({"state_dict": {"a": torch.zeros(1000)}}, good)
    content = good.read_bytes()
    files = {
        "truncated": content[: len(content) // 2],
        "headless": content[100:],
        "empty": b"",
        "garbage": bytes(range(256)) * 20,
        "text": b"hello, this is not a checkpoint\n",
        "html": b"<!DOCTYPE html><html>404</html>",
        "pickled_opcodes": b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
        "zip": b"PK\x03\x04" + b"\0" * 200,
    }
    paths = {}
    for name, data in files.items():
        paths[name] = folder / f"{name}.pth"
        paths[name].write_bytes(data)
        paths[f"{name} safetensors"] = folder / f"{name}.safetensors"
        paths[f"{name} safetensors"].write_bytes(data)
    return paths


def test_damaged_weight_files_are_refused_by_name(tmp_path: Path) -> None:
    for path in _damaged(tmp_path).values():
        with pytest.raises(BadModel, match=path.name):
            read_weights(path)


@pytest.mark.parametrize(
    "content", [[1, 2], {}, {"state_dict": {}}, {"state_dict": {"a": 3}}, torch.zeros(3)]
)
def test_files_without_parameters_are_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "odd.pth"
    torch.save(content, path)
    with pytest.raises(BadModel, match=r"odd\.pth"):
        read_weights(path)


def test_flipping_bytes_never_gives_another_kind_of_error(tmp_path: Path) -> None:
    path = tmp_path / "flipped.pth"
    torch.save({"state_dict": {"weight": torch.arange(8.0), "bias": torch.ones(2)}}, path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    whole, refusals = [], []
    for _ in range(150):
        broken = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            broken[place] = rng.integers(256)
        path.write_bytes(bytes(broken))
        try:
            whole.append(read_weights(path))  # a byte of a weight may change and the file be whole
        except BadModel as error:
            refusals.append(str(error))
    assert all(f.tensors.keys() == {"weight", "bias"} for f in whole)
    assert refusals
    assert all("flipped.pth" in refusal for refusal in refusals)


def test_a_model_comes_back_with_its_metadata(model: Path) -> None:
    network = fresh(SMALL)
    meta = ModelMeta(SMALL, 3, "fingerprint", {"score": 0.25}, {"epoch": 7, "trained_on": [1, 2]})
    save_model(model, network, meta)
    loaded = load_model(model, expect_task="canal")
    assert loaded.meta == meta == read_meta(model)
    slices = torch.randint(0, 256, (5, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        ours, theirs = network.eval()(slices, [2, 3]), loaded(slices, [2, 3])
    assert torch.equal(ours.grade, theirs.grade)
    save_model(model, loaded, meta)  # a loaded model can be saved as it is
    assert torch.equal(load_model(model)(slices, [2, 3]).xy, theirs.xy)


def test_metadata_is_readable_beside_the_weights(model: Path) -> None:
    data = json.loads((model / MODEL_META).read_text())
    assert data["recipe"]["name"] == "small"
    assert data["fold"] == 2
    assert data["scores"] == {"score": 0.5}
    assert data["targets"][0] == "spinal_canal_stenosis_l1_l2"
    assert data["lumbargrade"] == lumbargrade.__version__


def test_loading_a_model_leaves_random_state_alone(model: Path) -> None:
    before = torch.get_rng_state()
    load_model(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_failed_write_leaves_the_old_model(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lumbargrade.networks.weights.save_file", full)
    with pytest.raises(OSError, match="No space"):
        save_model(model, fresh(SMALL), replace(read_meta(model), fold=4))
    assert load_model(model).meta.fold == 2
    assert sorted(p.name for p in model.iterdir()) == [MODEL_META, MODEL_WEIGHTS]


def _rewrite(model: Path, **changes: object) -> None:
    file = model / MODEL_WEIGHTS
    with safe_open(file, framework="pt") as content:
        data = json.loads(content.metadata()["lumbargrade"])
    save_file(load_file(file), file, metadata={"lumbargrade": json.dumps(data | changes)})


def test_models_of_another_format_task_or_recipe_are_refused(model: Path) -> None:
    with pytest.raises(BadModel, match="a canal model"):
        load_model(model, expect_task="foraminal")
    _rewrite(model, format=99, lumbargrade="9.9")
    with pytest.raises(BadModel, match=r"format 99 written by lumbargrade 9\.9"):
        load_model(model)
    _rewrite(model, format=1, recipe={"name": "x", "task": "canal", "colour": 1})
    with pytest.raises(BadModel, match="colour"):
        load_model(model)
    _rewrite(model, recipe={"name": "x", "task": "canal", "network": {"decoder": "3d"}})
    with pytest.raises(BadModel, match=r"needs network\.decoder '2d'"):
        load_model(model)
    flat = {"decoder": "2d"}
    nowhere = {"name": "no_such_net"}
    _rewrite(model, recipe={"name": "x", "task": "canal", "encoder": nowhere, "network": flat})
    with pytest.raises(BadModel, match="no_such_net"):
        load_model(model)


def test_a_model_whose_recipe_changed_lists_what_does_not_fit(model: Path) -> None:
    recipe = json.loads((model / MODEL_META).read_text())["recipe"]
    recipe["network"]["hidden"] = 9
    _rewrite(model, recipe=recipe)
    with pytest.raises(BadModel, match=r"head\.slices\.0\.weight has shape \(8, 8\), not \(9, 8\)"):
        load_model(model)


@pytest.mark.parametrize("above", [1, 2])
def test_a_folder_above_a_model_names_the_model(tmp_path: Path, above: int) -> None:
    model = tmp_path / "recipe" / "fold1" / "model"
    model.mkdir(parents=True)
    (model / "model.safetensors").touch()
    with pytest.raises(BadModel, match=f"no model there; give .*fold1.{model.name}$"):
        read_meta(model.parents[above - 1])


def test_what_is_not_a_model_is_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(BadModel, match="no model there"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(BadModel, match="no model there"):
        load_model(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(BadModel, match="without lumbargrade metadata"):
        load_model(tmp_path / "bare.safetensors")
    weights = model / MODEL_WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BadModel, match="damaged"):
        load_model(model)
    weights.write_bytes(b"")
    with pytest.raises(BadModel, match="damaged"):
        load_model(model)


def test_a_fold_that_was_never_published_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fold 5"):
        import_published(tmp_path / "x.pth", "one-stage-scs/pvt_v2_b4-decoder2d-01", tmp_path, 5)


def _sparse(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_sparse()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_sparse, "entries that are not parameters: first"),
        (lambda t: t.to("meta"), "entries that are not parameters: first"),
        (lambda t: t.to(torch.complex64), "entries that are not parameters: first"),
        (lambda t: t.to(torch.int32), "integers instead of real numbers in first"),
        (lambda t: t * float("nan"), "not finite in first"),
        (lambda t: torch.full_like(t, 1e300, dtype=torch.float64), "not finite in first"),
        (lambda t: t.to(torch.float16), ""),
        (lambda t: t.to(torch.float64), ""),
        (lambda t: t.flip(0).flip(0).mT.contiguous().mT, ""),
    ],
)
def test_parameters_of_other_types_are_converted_or_refused(
    change: Callable[[torch.Tensor], torch.Tensor],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lumbargrade.models.published.load_recipe", lambda name: SMALL)
    network = fresh(SMALL)
    weights = to_published(network)
    first = next(n for n, t in weights.items() if t.ndim > 1)
    weights[first] = change(weights[first])
    torch.save({"state_dict": weights}, tmp_path / "w.pth")
    if message:
        with pytest.raises(BadModel, match=message.replace("first", first)):
            import_published(tmp_path / "w.pth", "any", tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return
    import_published(tmp_path / "w.pth", "any", tmp_path / "out")
    for name, tensor in load_model(tmp_path / "out").network.state_dict().items():
        expected = network.state_dict()[name]
        assert tensor.dtype == expected.dtype
        torch.testing.assert_close(tensor, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("new", [True, False])
def test_damage_to_either_kind_of_torch_file_is_named(tmp_path: Path, new: bool) -> None:
    """Bytes changed at random, with a seed for which torch raises every kind of error it can."""
    path = tmp_path / "w.pth"
    tensors = {name: torch.ones(3) for name in "abc"}
    torch.save({"state_dict": tensors}, path, _use_new_zipfile_serialization=new)
    whole, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(400):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), int(rng.integers(1, 6))):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_weights(path)
        except BadModel:
            refused += 1
    assert refused > 100


def test_what_stands_for_a_weight_file_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(BadModel, match=r"Git LFS pointer.*git lfs pull"):
        read_weights(path)
    torch.save({"state_dict": {}, "code": SMALL}, path)
    with pytest.raises(BadModel, match="never loaded because they can run code") as caught:
        read_weights(path)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.half(), "is torch.float16, not torch.float32"),
        (lambda t: t * float("inf"), "values that are not finite in"),
    ],
)
def test_a_model_that_cannot_predict_is_not_loaded(
    change: Callable[[torch.Tensor], torch.Tensor], message: str, model: Path
) -> None:
    """Else every finding would be filled, as if no model had looked at it."""
    file = model / MODEL_WEIGHTS
    with safe_open(file, "pt") as content:
        meta = content.metadata()
    tensors = {k: change(t) if t.is_floating_point() else t for k, t in load_file(file).items()}
    save_file(tensors, file, metadata=meta)
    with pytest.raises(BadModel, match=message):
        load_model(model)
