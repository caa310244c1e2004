"""One-stage networks compute the published function, whatever the encoder, batch and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from lumbargrade.config import EncoderConfig, NetworkConfig
from lumbargrade.domain.errors import UsageError
from lumbargrade.networks.encoder import CHUNK
from lumbargrade.networks.one_stage import (
    OneStageNetwork,
    PlaneNetwork,
    VolumeNetwork,
    build_network,
)

#: BatchNorm or LayerNorm, features_only or whole, first stride 2 or 4
ENCODERS = [
    EncoderConfig("lcnet_050", pretrained=False),
    EncoderConfig("resnet10t", pretrained=False, stages=3),
    EncoderConfig("regnetx_002", pretrained=False, whole_model=True),
    EncoderConfig("mobilenetv3_small_100", pretrained=False),
    EncoderConfig("convnext_atto", pretrained=False),
    EncoderConfig("pvt_v2_b0", pretrained=False, whole_model=True),
    EncoderConfig("pvt_v2_b0", pretrained=False, stages=3),
]
COUNTS = [3, 6]


def small(encoder: EncoderConfig, decoder: str, **settings: object) -> OneStageNetwork:
    torch.manual_seed(0)
    widths = (24, 16, 8)[-(encoder.stages - 1) :]
    config = NetworkConfig(decoder=decoder, widths=widths, features=12, hidden=10, depths=())  # type: ignore[arg-type]
    network = build_network(encoder, replace(config, **settings), 10 if decoder == "3d" else 5)  # type: ignore[arg-type]
    _make_sharp(network)
    return network


def _make_sharp(network: nn.Module) -> None:
    """Heatmaps of fresh weights are flat, which hides faults; make signals strong all the way."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim > 1 and not name.startswith("encoder."):
                gain = 10.0 if name.startswith("head.points") else 1.5
                weight.normal_(std=gain / weight[0].numel() ** 0.5)
        layers = [m for m in network.modules() if isinstance(m, _BatchNorm)]
        for layer in layers:
            layer.momentum = 1.0  # one batch sets the running statistics
        network.train()(images(), COUNTS)
        for layer in layers:
            layer.momentum = 0.1


def images(counts: Sequence[int] = COUNTS, size: int = 64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (sum(counts), size, size), generator=generator).to(torch.uint8)


def literal(network: OneStageNetwork, slices: Tensor, counts: Sequence[int]) -> dict[str, Tensor]:
    """Section 4 of the specification, one volume at a time, nothing clever; eval mode only."""
    maps = network.encoder.model(((slices / 255 - 0.5) / 0.5).unsqueeze(1).repeat(1, 3, 1, 1))
    found: list[dict[str, Tensor]] = []
    start = 0
    for count in counts:
        volume = [m[start : start + count] for m in maps]
        head = literal_volume if isinstance(network, VolumeNetwork) else literal_plane
        found.append(head(network, volume))
        start += count
    return {key: torch.stack([f[key] for f in found]) for key in found[0]}


def _decode(network: OneStageNetwork, maps: Sequence[Tensor], scale: tuple[int, ...]) -> Tensor:
    *skips, x = maps
    for block, skip in zip(network.decoder.blocks, reversed(skips), strict=True):
        x = functional.interpolate(x, scale_factor=scale, mode="nearest")
        x = block.second(block.first(torch.cat([x, skip], dim=1)))
    return x


def literal_volume(network: VolumeNetwork, volume: Sequence[Tensor]) -> dict[str, Tensor]:
    x = _decode(network, [m.transpose(0, 1)[None] for m in volume], (1, 2, 2))[0]
    head = network.head
    grade, points = [], []
    weight = head.project.weight[:, :, None, None, None]
    features = functional.conv3d(x, weight, head.project.bias)
    for logits in head.points(x):
        heat = (logits - logits.max()).exp()
        heat = heat / heat.sum()
        grade.append(head.grade((features * heat).sum(dim=(1, 2, 3))[None])[0].softmax(0))
        z, y, x_ = torch.meshgrid(*(torch.arange(n) for n in heat.shape), indexing="ij")
        points.append(torch.stack([(heat * c).sum() for c in (x_, y, z)]))
    xyz = torch.stack(points)
    return {"grade": torch.stack(grade), "xy": xyz[:, :2], "z": xyz[:, 2]}


def literal_plane(network: PlaneNetwork, volume: Sequence[Tensor]) -> dict[str, Tensor]:
    maps = _decode(network, volume, (2, 2))
    head = network.head
    probability = head.slices(maps.mean((2, 3))).softmax(0)  # (D, P)
    middle = int((probability.mean(1) * torch.arange(len(maps))).sum().round())
    near = [i for i in range(len(maps)) if abs(i - middle) <= head.neighbours]
    plane = torch.stack([maps[i] for i in near]).mean(0)[None]
    grade_map = head.grade(plane)[0].softmax(0)
    grade, points = [], []
    for logits in head.points(plane)[0]:
        heat = logits.flatten().softmax(0).view(logits.shape)
        y, x = torch.meshgrid(*(torch.arange(n) for n in heat.shape), indexing="ij")
        points.append(torch.stack([(heat * x).sum(), (heat * y).sum()]))
        grade.append((grade_map * heat).sum((1, 2)))
    z = probability.argmax(0).float()
    return {"grade": torch.stack(grade), "xy": torch.stack(points), "z": z}


@pytest.mark.parametrize("decoder", ["2d", "3d"])
@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: f"{e.name}-{e.whole_model}-{e.stages}")
def test_the_network_computes_the_specified_function(encoder: EncoderConfig, decoder: str) -> None:
    network = small(encoder, decoder).eval()
    with torch.no_grad():
        output = network(images(), COUNTS)
        expected = literal(network, images(), COUNTS)
    for part, value in expected.items():
        torch.testing.assert_close(getattr(output, part), value, atol=1e-4, rtol=1e-4)
    assert output.xy.std() > 0.1, "the points must differ for this test to mean anything"


@pytest.mark.parametrize("decoder", ["2d", "3d"])
def test_outputs_are_what_the_result_type_says(decoder: str) -> None:
    network = small(ENCODERS[0], decoder)
    output = network(images(), COUNTS)
    P = 10 if decoder == "3d" else 5
    assert output.counts == tuple(COUNTS)
    assert output.grade.shape == output.log_grade.shape == (2, P, 3)
    assert output.xy.shape == (2, P, 2)
    assert output.z.shape == (2, P)
    torch.testing.assert_close(output.grade.sum(-1), torch.ones(2, P))
    torch.testing.assert_close(output.log_grade.exp(), output.grade)
    if decoder == "3d":
        assert [h.shape for h in output.volume_heatmaps] == [(P, d, 16, 16) for d in COUNTS]
        for heatmaps in output.volume_heatmaps:
            torch.testing.assert_close(heatmaps.sum((1, 2, 3)), torch.ones(P))
        assert output.plane_heatmaps is output.grade_map is output.slice_log_probs is None
    else:
        assert output.volume_heatmaps is None
        assert output.grade_map.shape == (2, 3, 16, 16)
        torch.testing.assert_close(output.plane_heatmaps.sum((2, 3)), torch.ones(2, P))
        torch.testing.assert_close(output.grade_map.exp().sum(1), torch.ones(2, 16, 16))
        for depth, log_probs in zip(COUNTS, output.slice_log_probs, strict=True):
            assert log_probs.shape == (P, depth)
            torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(P))


@pytest.mark.parametrize("decoder", ["2d", "3d"])
def test_a_volume_does_not_see_the_rest_of_the_batch(decoder: str) -> None:
    network = small(ENCODERS[0], decoder).eval()
    counts = [1, CHUNK + 3, 2]
    slices = images(counts)
    with torch.inference_mode():
        together = network(slices, counts)
        alone = [network(part, [len(part)]) for part in torch.split(slices, counts)]
    for part in ("grade", "xy", "z"):
        expected = torch.cat([getattr(a, part) for a in alone])
        torch.testing.assert_close(getattr(together, part), expected, atol=1e-4, rtol=1e-4)


def test_decoder_statistics_in_training_are_those_of_one_volume() -> None:
    network = small(EncoderConfig("pvt_v2_b0", pretrained=False), "3d").train()
    counts = [3, 6]
    slices = images(counts)
    together = network(slices, counts).xy
    alone = torch.cat([network(s, [len(s)]).xy for s in torch.split(slices, counts)])
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-3)


def test_the_averaged_plane_stays_inside_the_volume() -> None:
    network = small(ENCODERS[0], "2d", neighbours=50).eval()
    with torch.inference_mode():
        wide = network(images(), COUNTS)
        network.head.neighbours = 5  # at most six slices: already all of them
        torch.testing.assert_close(network(images(), COUNTS).grade, wide.grade)
        network.head.neighbours = 0
        assert not torch.allclose(network(images(), COUNTS).grade, wide.grade)


def test_mixed_precision_gives_fp32_results() -> None:
    for decoder in ("2d", "3d"):
        network = small(ENCODERS[0], decoder).eval()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            output = network(images(), COUNTS)
        for part in ("grade", "log_grade", "xy", "z"):
            assert getattr(output, part).dtype == torch.float32


@pytest.mark.parametrize(
    ("slices", "counts", "reason"),
    [
        (torch.zeros(3, 64, 64), [3], "uint8"),
        (torch.zeros(3, 1, 64, 64, dtype=torch.uint8), [3], "uint8"),
        (torch.zeros(3, 64, 64, dtype=torch.uint8), [2], "3 slices cannot be"),
        (torch.zeros(3, 64, 64, dtype=torch.uint8), [3, 0], "3 slices cannot be"),
        (torch.zeros(0, 64, 64, dtype=torch.uint8), [], "0 slices cannot be"),
        (torch.zeros(3, 64, 72, dtype=torch.uint8), [3], "64 x 72 pixels.*multiples of 32"),
    ],
)
def test_input_that_does_not_fit_is_refused(slices: Tensor, counts: list[int], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        small(ENCODERS[0], "2d")(slices, counts)


@pytest.mark.parametrize(
    ("encoder", "network", "reason"),
    [
        (EncoderConfig("no_such_net"), NetworkConfig(), "no_such_net"),
        (EncoderConfig("vit_tiny_patch16_224"), NetworkConfig(), r"not at \[4, 8"),
        (EncoderConfig("lcnet_050", stages=3), NetworkConfig(), "3 encoder stages need 2"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    encoder: EncoderConfig, network: NetworkConfig, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        build_network(encoder, network, 5, pretrained=False)
