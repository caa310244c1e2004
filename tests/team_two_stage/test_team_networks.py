"""The 33 released two-stage networks have the published parameters and outputs."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lumbargrade.domain.errors import UsageError
from lumbargrade.team_two_stage import parts
from lumbargrade.team_two_stage.cubic import make_cubic
from lumbargrade.team_two_stage.networks import NETWORKS, build_network
from lumbargrade.team_two_stage.parts import encoder
from published_files import fill_by_rule, two_stage_weights

#: Networks without reference outputs.
WITHOUT = {
    "axial-densenet161-z3",
    "axial-rexnetr_200-z5",
    "fuse-convnext_small+densenet161",
    "fuse-pvt_v2_b2+pvt_v2_b2",
    "kp2d-sag-t2-convformer_s36",
    "kp3d-sag-t1-resnet34d",
    "level-axial-pvt_v2_b2",
    "sag-gru-pvt_v2_b1",
    "sag-gru-rexnetr_200",
    "sag-lstm-convnext_tiny-z5",
    "sag-lstm-pvt_v2_b5-z5",
}


@pytest.fixture(scope="module")
def reference(shared: Path) -> Path:
    folder = shared / "reference/two-stage"
    if not folder.is_dir():
        pytest.skip("no reference data of the two-stage system")
    return folder


def published_shapes(reference: Path, name: str) -> dict[str, tuple[int, ...]]:
    text = (reference / "keys" / f"{name}.keys.json").read_text()
    return {key: tuple(shape) for key, shape in json.loads(text).items()}


@cache
def without_values(name: str) -> nn.Module:
    """A network on the meta device, which computes shapes only."""
    with torch.device("meta"):
        return build_network(name)


def test_the_table_has_the_published_networks(reference: Path) -> None:
    published = {p.name.removesuffix(".keys.json") for p in (reference / "keys").iterdir()}
    assert set(NETWORKS) == published
    with_output = {p.stem for p in (reference / "golden").glob("*.npz")} - {"axial-decode"}
    assert published - with_output == WITHOUT


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_the_parameters_of_its_files(reference: Path, name: str) -> None:
    network = without_values(name)
    ours = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    assert ours == published_shapes(reference, name)
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - WITHOUT))
def test_a_network_has_the_published_output(reference: Path, name: str) -> None:
    with np.load(reference / "golden" / f"{name}.npz") as content:
        arrays = dict(content)
    gain = float(arrays.pop("conv_gain"))
    network = build_network(name)
    network.load_state_dict(two_stage_weights(published_shapes(reference, name), gain))
    images = {k: torch.from_numpy(a) for k, a in arrays.items() if a.dtype == np.uint8}
    with torch.inference_mode():
        output = network(**images)
    expected = {k: a for k, a in arrays.items() if k not in images}
    assert vars(output).keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_allclose(getattr(output, key), values, rtol=0, atol=1e-4)


def shapes_in_use(name: str) -> tuple[dict[str, tuple[int, ...]], tuple[int, ...]]:
    """Shapes of a network's inputs in use (of a level network for a few slices), and its output."""
    kind, *rest = name.split("-")
    sagittal = (1, 25, 5, 128, 128) if kind == "fuse" else (1, 10, 4, 128, 128)
    match kind:
        case "kp2d":
            return {"image": (1, 1, 512, 512)}, (1, 4 if rest[0] == "axial" else 10)
        case "kp3d" if "sag-v2" in name:
            return {"image": (1, 2, 48, 256, 256)}, (1, 45)
        case "kp3d":
            return {"image": (1, 1, 32, 384, 384)}, (1, 15 if "sag-t2" in name else 30)
        case "level":
            return {"image": (7, 224, 224)}, (1, 7, 2, 5)
        case "axial":
            slices = (5, 3) if name.endswith("z5") else (3, 1)
            return {"sagittal": sagittal, "axial": (1, 10, *slices, 128, 128)}, (1, 2, 5, 3)
        case "fuse":
            return {"sagittal": sagittal, "axial": (1, 5, 12, 3, 256, 256)}, (1, 5, 5, 3)
    slices, sides = int(name[-1]) if rest[-1].startswith("z") else 3, 1
    if rest[0] in ("plain", "cond"):  # on T1 only
        sides = 2
    return {"image": (1, 5 * sides, slices, 128, 128)}, (1, sides, 5, 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_takes_the_images_that_it_gets_in_use(name: str) -> None:
    inputs, expected = shapes_in_use(name)
    with torch.device("meta"), torch.inference_mode():
        images = {k: torch.zeros(shape, dtype=torch.uint8) for k, shape in inputs.items()}
        output = without_values(name)(**images)
    found = getattr(
        output,
        {"kp2d": "output", "kp3d": "output", "level": "sides"}.get(name.split("-")[0], "logits"),
    )
    assert tuple(found.shape) == expected


@pytest.mark.parametrize("name", ["densenet161", "resnet34d"])
def test_a_cubic_network_sees_in_every_plane_what_the_flat_one_sees(name: str) -> None:
    flat = fill_by_rule(encoder(name, 2, 6), 1.0)
    cubic = make_cubic(encoder(name, 2, 6)).eval()
    # 72 pixels become 9, which pooling by two must round
    image = torch.rand(2, 2, 72, 72, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = flat(image)
        for axis in (2, 3, 4):
            # weights in the middle of that axis only, and the same image all along it
            weights = {
                key: _in_the_middle(tensor, axis) if tensor.ndim == 4 else tensor
                for key, tensor in flat.state_dict().items()
            }
            cubic.load_state_dict(weights)
            volume = image.unsqueeze(axis).repeat_interleave(32, dim=axis)
            torch.testing.assert_close(cubic(volume), expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.01


def _in_the_middle(weight: torch.Tensor, axis: int) -> torch.Tensor:
    side = weight.shape[-1]
    cube = weight.new_zeros((*weight.shape[:2], side, side, side))
    cube.select(axis, side // 2).copy_(weight)
    return cube


@pytest.mark.parametrize("name", ["sag-gru-pvt_v2_b1", "level-axial-pvt_v2_b2"])
def test_images_encoded_a_few_at_a_time_give_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_network(name)
    sizes: list[int] = []
    for module in network.modules():
        if hasattr(module, "patch_embed"):
            module.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    generator = torch.Generator().manual_seed(0)
    shape = (1, 5, 3, 32, 32) if name.startswith("sag") else (15, 32, 32)
    image = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    with torch.inference_mode():
        whole = network(image)
        assert set(sizes) == {15}
        monkeypatch.setattr(parts, "PIXELS", 4 * 32 * 32)
        sizes.clear()
        for key, found in vars(network(image)).items():
            torch.testing.assert_close(found, getattr(whole, key), rtol=0, atol=1e-5)
    assert set(sizes) == {3, 4}


def test_layers_without_a_counterpart_are_refused() -> None:
    with pytest.raises(TypeError, match="Dropout2d"):
        make_cubic(nn.Sequential(nn.Dropout2d()))
    with pytest.raises(TypeError, match=r"size \(3, 5\)"):
        make_cubic(nn.Sequential(nn.Conv2d(1, 1, (3, 5))))


def test_wrong_use_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'fuse'.*fuse-pvt_v2_b1\+pvt_v2_b1"):
        build_network("fuse")
    with pytest.raises(UsageError, match="5 crops"):
        build_network("sag-cond-convnext_small-z3")(torch.zeros(1, 5, 3, 32, 32).byte())
