"""Pretrained encoders: from a local file strictly, and a clear word when there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from lumbargrade.config import EncoderConfig
from lumbargrade.domain.errors import BadModel
from lumbargrade.networks.encoder import build_encoder, load_pretrained

NAMES = ["lcnet_050", "convnext_atto", "pvt_v2_b0", "resnet10t"]


def timm_file(folder: Path, name: str, suffix: str = ".safetensors") -> Path:
    torch.manual_seed(1)
    weights = timm.create_model(name, pretrained=False).state_dict()
    path = folder / f"{name}{suffix}"
    if suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save({"model": weights, "epoch": 3}, path)
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("whole", [False, True])
def test_a_local_timm_file_fills_the_encoder(tmp_path: Path, name: str, whole: bool) -> None:
    path = timm_file(tmp_path, name)
    config = EncoderConfig(name, weights=str(path), whole_model=whole)
    encoder = build_encoder(config).eval()
    load_pretrained(encoder, config)

    torch.manual_seed(1)
    reference = timm.create_model(name, pretrained=False).eval()
    slices = torch.randint(0, 256, (2, 64, 64), dtype=torch.uint8)
    colour = (slices / 127.5 - 1).unsqueeze(1).repeat(1, 3, 1, 1)
    with torch.inference_mode():
        ours = encoder(slices)
        theirs = reference.forward_intermediates(colour, intermediates_only=True)
    for feature in ours:
        expected = next(m for m in theirs if m.shape == feature.shape)
        torch.testing.assert_close(feature, expected, atol=1e-3, rtol=1e-3)


def test_fewer_stages_and_torch_files_work_too(tmp_path: Path) -> None:
    path = timm_file(tmp_path, "lcnet_050", ".pth")
    config = EncoderConfig("lcnet_050", weights=str(path), stages=2)
    encoder = build_encoder(config)
    load_pretrained(encoder, config)
    given = torch.load(path, weights_only=True)["model"]
    stem = next(iter(encoder.state_dict().values()))
    assert any(torch.equal(stem, tensor) for tensor in given.values())


def test_weights_of_another_encoder_are_listed(tmp_path: Path) -> None:
    path = timm_file(tmp_path, "resnet10t")
    config = EncoderConfig("lcnet_050", weights=str(path))
    with pytest.raises(BadModel) as caught:
        load_pretrained(build_encoder(config), config)
    assert "resnet10t.safetensors does not fit encoder 'lcnet_050'" in str(caught.value)
    assert "missing conv_stem.weight" in str(caught.value).replace("conv.stem", "conv_stem")
    assert "unknown" in str(caught.value)


def test_an_absent_file_is_named() -> None:
    config = EncoderConfig("lcnet_050", weights="/nowhere/weights.safetensors")
    with pytest.raises(BadModel, match=r"/nowhere/weights\.safetensors: no such file"):
        load_pretrained(build_encoder(config), config)


def test_without_a_download_the_error_says_how_to_give_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = EncoderConfig("lcnet_050")
    encoder = build_encoder(config)

    def offline(*_: object, **__: object) -> None:
        raise OSError("An error happened while trying to locate the file on the Hub")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(BadModel, match=r"(?s)locate the file.*encoder\.weights"):
        load_pretrained(encoder, config)


def test_an_encoder_that_was_never_pretrained_says_so() -> None:
    config = replace(EncoderConfig(), name="pvt_v2_b4.no_such_tag")
    with pytest.raises(BadModel, match=r"encoder\.weights"):
        load_pretrained(build_encoder(EncoderConfig("pvt_v2_b0")), config)
