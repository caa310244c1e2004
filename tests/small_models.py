"""Model folders that take a moment to make and to run: untrained networks at a small size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lumbargrade.checkpoint import ModelMeta, save_model
from lumbargrade.config import DataConfig, EncoderConfig, NetworkConfig, Recipe
from lumbargrade.networks.one_stage import build_network

TARGETS = {"foraminal": 10, "canal": 5}


def save_small_model(folder: Path, task: str, fold: int = 0, **provenance: Any) -> Path:
    """Write an untrained model; weights follow from task and fold. Returns the folder."""
    recipe = Recipe(
        name=f"small/{task}",
        task=task,  # type: ignore[arg-type]
        encoder=EncoderConfig("regnetx_002", pretrained=False),
        network=NetworkConfig(
            "3d" if task == "foraminal" else "2d", (16, 16, 8), (1, 1, 1), features=8, hidden=8
        ),
        data=DataConfig(64),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(TARGETS[task] + fold)
        network = build_network(
            recipe.encoder, recipe.network, TARGETS[task], pretrained=False
        ).eval()
    save_model(folder, network, ModelMeta(recipe, fold=fold, provenance=provenance))
    return folder
