"""The starter's networks and losses: shapes, what a pixel can see, and what the losses ask for."""

from __future__ import annotations

import pytest
import torch

from lumbargrade.config import StarterNetworkConfig, StarterRecipe, load_any_recipe
from lumbargrade.models.starter_weights import build_starter
from lumbargrade.networks.starter import AxialNetwork, SagittalNetwork
from lumbargrade.networks.starter_losses import IGNORED, heat_loss, segment_loss, structure_loss

SMALL = StarterNetworkConfig((4, 4, 4, 4), (0, 0, 0), 1, 3)


def shipped(name: str) -> torch.nn.Module:
    recipe = load_any_recipe(name)
    assert isinstance(recipe, StarterRecipe)
    return build_starter(recipe)


def test_outputs_have_their_strides() -> None:
    found = SagittalNetwork(SMALL)(torch.rand(2, 3, 64, 96))
    assert found.structures.shape == (2, 6, 64, 96)
    assert found.segments.shape == (2, 11, 16, 24)
    assert found.marks.shape == (2, 4, 32, 48)
    axial = AxialNetwork(SMALL)(torch.rand(2, 1, 64, 64))
    assert axial.structures.shape == (2, 5, 64, 64)
    assert axial.recesses.shape == (2, 2, 32, 32)


@pytest.mark.parametrize(("name", "megabytes"), [("starter/sagittal", 6), ("starter/axial", 3)])
def test_weights_in_half_precision_are_small(name: str, megabytes: float) -> None:
    assert 2 * sum(p.numel() for p in shipped(name).parameters()) < megabytes * 1e6


def test_the_upper_end_of_the_spine_sees_the_sacrum() -> None:
    network = shipped("starter/sagittal").eval()
    image = torch.rand(1, 3, 224, 160, requires_grad=True)
    network(image).segments[0, :, 4, 20].sum().backward()
    assert image.grad is not None
    assert image.grad[0, :, -24:].abs().max() > 0


def test_heat_begins_low() -> None:
    torch.manual_seed(0)
    network = shipped("starter/axial").eval()
    assert network(torch.rand(1, 1, 128, 128)).recesses.sigmoid().mean() < 0.05


def test_structures_are_best_where_they_are_right() -> None:
    truth = torch.tensor([[[0, 1], [2, 1]]])
    right = torch.nn.functional.one_hot(truth, 3).permute(0, 3, 1, 2) * 20.0
    weights = torch.ones(3)
    assert structure_loss(right, truth, weights) < 1e-3
    assert structure_loss(right.flip(1), truth, weights) > 1


def test_ignored_pixels_change_nothing() -> None:
    torch.manual_seed(0)
    truth = torch.randint(0, 3, (1, 6, 6))
    truth[:, 3:] = IGNORED
    logits = torch.randn(1, 3, 6, 6)
    other = logits.clone()
    other[:, :, 3:] = torch.randn(1, 3, 3, 6)
    weights = torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(
        structure_loss(logits, truth, weights), structure_loss(other, truth, weights)
    )
    assert torch.equal(segment_loss(logits, truth, 0.5, 0.1), segment_loss(other, truth, 0.5, 0.1))
    heat = torch.zeros(1, 3, 6, 6)
    heat[0, 0, 1, 1] = 1
    counts = truth != IGNORED
    assert torch.equal(heat_loss(logits, heat, counts), heat_loss(other, heat, counts))


def test_thin_structures_weigh_more() -> None:
    truth = torch.tensor([[[0, 1]]])
    misses = torch.zeros(1, 2, 1, 2)
    misses[0, 0] = 5.0  # the second pixel is wrong
    light = structure_loss(misses, truth, torch.tensor([1.0, 1.0]))
    assert structure_loss(misses, truth, torch.tensor([1.0, 4.0])) > light + 1


def test_pixels_off_the_spine_weigh_less() -> None:
    truth = torch.tensor([[[0, 1]]])
    logits = torch.zeros(1, 2, 1, 2)
    logits[0, 1] = 5.0  # the first pixel, off the spine, is wrong
    assert segment_loss(logits, truth, 0.25, 0.0) < segment_loss(logits, truth, 1.0, 0.0) / 2


@pytest.mark.parametrize("height", [0.0, 0.3, 1.0])
def test_heat_loss_is_least_at_the_true_height(height: float) -> None:
    truth = torch.full((1, 1, 1, 1), height)
    counts = torch.ones(1, 1, 1, dtype=torch.bool)
    heights = torch.linspace(0.001, 0.999, 999)
    losses = [heat_loss(h.logit().view(1, 1, 1, 1), truth, counts) for h in heights]
    assert heights[int(torch.stack(losses).argmin())] == pytest.approx(height, abs=2e-3)
