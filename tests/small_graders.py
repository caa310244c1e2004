"""Untrained networks of the second stage that tell one crop from another, at a small size."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from lumbargrade.config import EncoderConfig, NetworkConfig
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.networks.level_network import LevelNetwork, build_level_network
from small_models import SMALL_CROPS

CROPS = SMALL_CROPS
ENCODER = EncoderConfig("lcnet_050", pretrained=False, stages=3)
NETWORK = NetworkConfig("3d", (16, 8), features=8)


def level_network(network: NetworkConfig = NETWORK, *, shared: bool = False) -> LevelNetwork:
    """A network in evaluation mode, with the statistics of random crops."""
    torch.manual_seed(0)
    built = build_level_network(ENCODER, replace(network, shared_encoder=shared))
    for module in built.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 1.0
    shape = (1, 10, 3, CROPS.axial_size, CROPS.axial_size)
    with torch.no_grad():
        built.train()(
            {k.name: torch.randint(0, 256, shape, dtype=torch.uint8) for k in SeriesKind},
            {k.name: torch.ones(shape[:3], dtype=torch.bool) for k in SeriesKind},
        )
    return built.eval()
