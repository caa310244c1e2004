"""Released files become models that give the published output; all other files are refused."""

from __future__ import annotations

import json
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lumbargrade
from lumbargrade.cli.main import main
from lumbargrade.domain.errors import BadModel, UsageError
from lumbargrade.models import checkpoint
from lumbargrade.team_two_stage import networks
from lumbargrade.team_two_stage.model_files import import_released, read_released_meta
from published_files import two_stage_weights
from small_models import save_small_model

#: The released network with the fewest parameters.
SMALLEST = "sag-lstm-rexnetr_200-z3"


class Tiny(nn.Module):
    """A network in place of a released one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.norm = nn.BatchNorm1d(3)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Parameters of a small network that is in the table as ``tiny``."""
    monkeypatch.setattr(networks, "NETWORKS", {"tiny": Tiny})
    return Tiny().state_dict()


def test_an_imported_file_gives_the_published_output(shared: Path, tmp_path: Path) -> None:
    reference = shared / "reference/two-stage"
    if not reference.is_dir():
        pytest.skip("no reference data of the two-stage system")
    shapes = json.loads((reference / "keys" / f"{SMALLEST}.keys.json").read_text())
    with np.load(reference / "golden" / f"{SMALLEST}.npz") as content:
        arrays = dict(content)
    file, out = tmp_path / "best_wll_model_fold-3_ema.pt", tmp_path / "model"
    torch.save(two_stage_weights(shapes, float(arrays["conv_gain"])), file)
    recipe = ["--recipe", f"team-two-stage/{SMALLEST}", "--fold", "3"]
    assert main(["import-weights", str(file), *recipe, "--out", str(out)]) == 0
    model = lumbargrade.load_model(out)
    assert (model.meta.network, model.meta.fold) == (SMALLEST, 3)
    assert model.meta.provenance["imported_from"] == file.name
    assert not any(module.training for module in model.modules())
    for image in (arrays["image"], torch.from_numpy(arrays["image"])):
        with torch.inference_mode():
            logits = model(image=image).logits
        np.testing.assert_allclose(logits, arrays["logits"], rtol=0, atol=1e-4)
    with pytest.raises(UsageError, match=r"image is torch\.float32"):
        model(image=torch.from_numpy(arrays["image"]) / 255)


def _refused(tmp_path: Path, content: Any) -> str:
    file = tmp_path / "fold_0.pt"
    torch.save(content, file)
    with pytest.raises(BadModel, match=r"fold_0\.pt") as caught:
        import_released(file, "tiny", tmp_path / "model")
    assert not (tmp_path / "model").exists()
    return str(caught.value)


def test_every_parameter_must_be_there_and_no_other(
    tiny: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    tiny["other.weight"] = tiny.pop("first.weight")
    tiny["first.bias"] = torch.zeros(4)
    text = _refused(tmp_path, tiny)
    assert "team-two-stage/tiny" in text
    assert "missing first.weight" in text
    assert "unknown other.weight" in text
    assert "first.bias has shape (4,), not (3,)" in text


def test_parameters_must_be_finite_real_numbers(
    tiny: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    assert "integers" in _refused(tmp_path, tiny | {"first.bias": torch.zeros(3).int()})
    wrong = {"norm.running_var": torch.tensor([1.0, 2.0, 1e300], dtype=torch.float64)}
    assert "not finite in norm.running_var" in _refused(tmp_path, tiny | wrong)


def test_code_in_a_file_is_not_run(tiny: dict[str, torch.Tensor], tmp_path: Path) -> None:
    class Run:
        def __reduce__(self) -> tuple[Any, ...]:
            return subprocess.check_call, (["touch", str(tmp_path / "was-run")],)

    assert "can run code" in _refused(tmp_path, tiny | {"more": Run()})
    assert not (tmp_path / "was-run").exists()


def test_half_precision_and_a_prefix_are_read(
    tiny: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    weights = {
        f"module.{k}": t.half() if t.is_floating_point() else t.double() for k, t in tiny.items()
    }
    torch.save(weights, tmp_path / "wrapped.pt")
    import_released(tmp_path / "wrapped.pt", "tiny", tmp_path / "model")
    loaded = lumbargrade.load_model(tmp_path / "model").network.state_dict()
    assert read_released_meta(tmp_path / "model").provenance["removed_prefix"] == "module."
    for name, tensor in tiny.items():
        assert loaded[name].dtype == tensor.dtype
        torch.testing.assert_close(loaded[name], tensor, rtol=1e-3, atol=1e-3)


def test_a_model_whose_structure_or_parameters_do_not_fit_is_refused(
    tiny: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(tiny, tmp_path / "tiny.pt")
    import_released(tmp_path / "tiny.pt", "tiny", tmp_path / "model", 2)
    monkeypatch.setattr(networks, "NETWORKS", {"tiny": partial(nn.Linear, 2, 3)})
    with pytest.raises(BadModel, match=r"model\.safetensors.*team-two-stage/tiny"):
        lumbargrade.load_model(tmp_path / "model")
    monkeypatch.setattr(networks, "NETWORKS", {})
    with pytest.raises(BadModel, match=r"model\.safetensors.*'tiny'"):
        lumbargrade.load_model(tmp_path / "model")


def test_other_functions_say_what_the_model_is(
    tiny: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(tiny, tmp_path / "tiny.pt")
    import_released(tmp_path / "tiny.pt", "tiny", tmp_path / "model")
    with pytest.raises(BadModel, match="a network of team-two-stage"):
        checkpoint.load_model(tmp_path / "model")
    save_small_model(tmp_path / "own", "canal")
    with pytest.raises(BadModel, match="not a network of team-two-stage"):
        read_released_meta(tmp_path / "own")
    assert isinstance(lumbargrade.load_model(tmp_path / "own"), checkpoint.Model)


def test_wrong_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="fold 5"):
        import_released(tmp_path / "x.pt", SMALLEST, tmp_path / "model", 5)
    (tmp_path / "x.pt").write_bytes(b"")
    line = ["import-weights", str(tmp_path / "x.pt"), "--out", str(tmp_path / "out"), "--recipe"]
    assert main([*line, "team-two-stage/nothing"]) == 2
    assert "fuse-pvt_v2_b1+pvt_v2_b1" in capsys.readouterr().err
    assert main([*line, "team-two-stage"]) == 2
    assert "team-two-stage/<network>" in capsys.readouterr().err
    assert main([*line, f"team-two-stage/{SMALLEST}"]) == 3
    assert "x.pt" in capsys.readouterr().err
