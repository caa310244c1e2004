"""A model becomes a published-style file and back without a bit changed; others are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lumbargrade.cli.main import main
from lumbargrade.config import Recipe, load_recipe
from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.inference.model_folder import MODEL_META, ModelMeta
from lumbargrade.models.checkpoint import load_model, save_model
from lumbargrade.models.published import (
    export_published,
    import_published,
    published_counterpart,
    to_published,
)
from lumbargrade.models.registry import get_task
from published_files import CHECKPOINTS, published_shapes, published_weights, write_published
from small_models import save_small_model

#: The smallest published network.
SCS = "one-stage-scs/effnet_b4-decoder2d-01"
NFN = "one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01"
BUGGED = "one-stage-nfn-bugged/pvt_v2_b4-decoder3d-01"


def fresh(recipe: Recipe, seed: int = 0) -> Any:
    """A network with random weights and BatchNorm statistics as after training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = get_task(recipe).build_network(pretrained=False)
        for name, buffer in network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.uniform_(0.5, 1.5)
            elif name.endswith("num_batches_tracked"):
                buffer.fill_(77)
    return network.eval()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as training leaves it, of a recipe that only decodes unlike the published one."""
    recipe = load_recipe(SCS)
    recipe = replace(
        recipe,
        name="mine",
        network=replace(recipe.network, peak_radius=2),
        data=replace(recipe.data, size=256),
    )
    folder = tmp_path_factory.mktemp("export") / "model"
    save_model(folder, fresh(recipe), ModelMeta(recipe, 3, provenance={"epoch": 12}))
    return folder


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        assert torch.equal(ours[name], tensor), name


@pytest.mark.parametrize(("name", "recipe"), CHECKPOINTS.items())
def test_exported_tensors_are_those_of_the_published_files(
    shared: Path, name: str, recipe: str
) -> None:
    with torch.device("meta"):
        network = get_task(load_recipe(recipe)).build_network(pretrained=False)
    network = network.to_empty(device="cpu")
    ours = {key: tuple(t.shape) for key, t in to_published(network).items()}
    assert ours == published_shapes(shared, name)


def test_a_file_holds_plain_float32_tensors_and_says_epoch_and_iteration(
    model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "out" / "model.pth"
    assert export_published(model, file).name == SCS
    content = torch.load(file, weights_only=True)
    assert list(content) == ["state_dict", "iteration", "epoch"]
    assert (content["iteration"], content["epoch"]) == (0, 12)
    tensors = content["state_dict"]
    assert tensors["D"].shape == ()
    assert not tensors["D"].is_floating_point()
    for name, tensor in tensors.items():
        assert tensor.is_contiguous()
        assert tensor.device.type == "cpu"
        assert not tensor.requires_grad
        whole = name == "D" or name.endswith("num_batches_tracked")
        assert tensor.dtype == (torch.int64 if whole else torch.float32)
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    assert file.stat().st_size < size + 1000 * len(tensors)
    assert [p.name for p in file.parent.iterdir()] == ["model.pth"]


def test_a_model_comes_back_with_the_same_tensors_and_outputs(model: Path, tmp_path: Path) -> None:
    arguments = ["export", str(model), "--to", "pth", "--out", str(tmp_path / "a.pth")]
    assert main(arguments) == 0
    import_published(tmp_path / "a.pth", SCS, tmp_path / "back", 3)
    ours, theirs = load_model(model), load_model(tmp_path / "back")
    same(ours.network.state_dict(), theirs.network.state_dict())
    slices = torch.randint(0, 256, (5, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        a, b = ours(slices, [2, 3]), theirs(slices, [2, 3])
    for part in ("grade", "xy", "z"):
        assert torch.equal(getattr(a, part), getattr(b, part))
    assert theirs.meta.provenance["epoch"] == 12


@pytest.mark.parametrize("name", ["nfn-pvt_v2_b4", "scs-tf_efficientnet_b4.ns_jft_in1k"])
def test_a_published_file_that_was_imported_is_exported_as_it_was(
    shared: Path, tmp_path: Path, name: str
) -> None:
    file = write_published(tmp_path / "published.pth", published_weights(shared, name))
    import_published(file, CHECKPOINTS[name], tmp_path / "model", 1)
    assert export_published(tmp_path / "model", tmp_path / "again.pth").name == CHECKPOINTS[name]
    before, after = (
        torch.load(tmp_path / f, weights_only=True) for f in ("published.pth", "again.pth")
    )
    same(after["state_dict"], before["state_dict"])
    assert after["iteration"] == before["iteration"] == 1234
    assert after["epoch"] == before["epoch"] == 5


def test_settings_that_do_not_travel_are_logged(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        assert main(["export", str(model), "--out", str(tmp_path / "a.pth")]) == 0
    assert f"--recipe {SCS} --fold 3" in caplog.text
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    unsaved = f"this setting is not stored in the file and differs from that of {SCS}"
    assert warnings == [
        f"{unsaved}: data.size 256 (published: 384)",
        f"{unsaved}: network.peak_radius 2 (published: 0)",
    ]


@pytest.mark.parametrize(
    ("name", "changes", "counterpart"),
    [
        (NFN, {}, NFN),
        (BUGGED, {}, BUGGED),
        (BUGGED, {"name": "mine"}, BUGGED),
        (NFN, {"name": "mine"}, NFN),
        (SCS, {"encoder": {"name": "tf_efficientnet_b4.in1k"}}, SCS),
        (SCS, {"network": {"features": 3, "depths": (1,), "checkpoint_gradients": True}}, SCS),
        (NFN, {"network": {"hidden": 3}}, NFN),
    ],
)
def test_what_does_not_change_parameters_can_be_exported(
    name: str, changes: dict[str, Any], counterpart: str
) -> None:
    assert published_counterpart(changed(load_recipe(name), changes)).name == counterpart


def changed(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    parts = {
        k: replace(getattr(recipe, k), **v) if isinstance(v, dict) else v
        for k, v in changes.items()
    }
    return replace(recipe, **parts)


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        (
            "one-stage-subarticular/pvt_v2_b4-01",
            {},
            "a subarticular model cannot be exported; .* foraminal and canal",
        ),
        ("two-stage/pvt_v2_b4-01", {}, "a two_stage model"),
        ("keypoints/pvt_v2_b2-sagittal-t1-01", {}, "a keypoints model"),
        (
            "cpu-small/canal",
            {},
            "no published canal network has the encoder regnetx_002; they have",
        ),
        (SCS, {"encoder": {"stages": 3}}, r"encoder\.stages 3 \(published: 4\)"),
        (NFN, {"encoder": {"whole_model": False}}, r"encoder\.whole_model False"),
        (NFN, {"network": {"depths": (3, 1, 1)}}, r"network\.depths \(3, 1, 1\)"),
        (NFN, {"network": {"features": 64}}, r"network\.features 64 \(published: 128\)"),
        (SCS, {"network": {"widths": (64, 32, 16)}}, r"network\.widths \(64, 32, 16\)"),
        (SCS, {"network": {"hidden": 32}}, r"network\.hidden 32"),
    ],
)
def test_other_structures_are_refused_with_what_differs(
    name: str, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        published_counterpart(changed(load_recipe(name), changes))


def test_a_refused_export_is_said_in_a_line_and_writes_nothing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = save_small_model(tmp_path / "small", "canal")
    out = tmp_path / "out" / "a.pth"
    assert main(["export", str(small), "--out", str(out)]) == 2
    assert "no published canal network has the encoder regnetx_002" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "nowhere"), "--out", str(out)]) == 3
    assert "no model there" in capsys.readouterr().err
    assert main(["export", str(model), "--out", str(tmp_path / "a.safetensors")]) == 2
    assert "use a file name that ends in .pth" in capsys.readouterr().err
    assert main(["export", str(model), "--to", "jpeg", "--out", str(out)]) == 2
    assert not out.parent.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small"]


@pytest.mark.parametrize("error", [RuntimeError("PytorchStreamWriter failed"), OSError(28, "full")])
def test_a_failed_write_leaves_the_old_file(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(content: Any, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise error

    file = tmp_path / "a.pth"
    file.write_bytes(b"old")
    monkeypatch.setattr(torch, "save", full)
    assert main(["export", str(model), "--out", str(file)]) == 3
    assert file.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.pth"]


def test_a_damaged_model_is_not_exported(model: Path, tmp_path: Path) -> None:
    (tmp_path / MODEL_META).write_text((model / MODEL_META).read_text())
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 50)
    with pytest.raises(BadModel, match="damaged"):
        export_published(tmp_path, tmp_path / "a.pth")
    assert not (tmp_path / "a.pth").exists()
