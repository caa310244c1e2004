"""Model folders that take a moment to make and to run: untrained networks at a small size."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lumbargrade.config import (
    CropConfig,
    DataConfig,
    EncoderConfig,
    NetworkConfig,
    Recipe,
    ViewName,
)
from lumbargrade.grading.study import grade_study
from lumbargrade.inference.model_folder import ModelMeta
from lumbargrade.models.checkpoint import save_model
from lumbargrade.models.registry import get_task

SEEDS = {"foraminal": 10, "canal": 5, "subarticular": 20, "two_stage": 30, "keypoints": 40}

#: Grading by such models: nothing taught them where to place points, so points are not checked.
grade_unchecked = partial(grade_study, check_points=False)

#: Crops that take a moment to cut and to read.
SMALL_CROPS = CropConfig(
    axial_size=32, axial_mm=64.0, sagittal_size=32, sagittal_mm=64.0, neighbours=1
)


def small_recipe(task: str, view: ViewName = "sagittal_t1", points: str = "") -> Recipe:
    """A recipe of any task; those of whole series at 64 pixels, those of crops at 32."""
    name = f"small/{task}-{view}" if task == "keypoints" else f"small/{task}"
    if task in ("subarticular", "two_stage", "keypoints"):
        encoder = EncoderConfig("lcnet_050", pretrained=False, stages=3)
        network = NetworkConfig("3d", (16, 8), (1, 1), features=8)
    else:
        decoder: Any = "3d" if task == "foraminal" else "2d"
        encoder = EncoderConfig("regnetx_002", pretrained=False)
        network = NetworkConfig(decoder, (16, 16, 8), (1, 1, 1), features=8, hidden=8)
    data = DataConfig(64, view=view, points=points)
    return Recipe(
        name,
        task,  # type: ignore[arg-type]
        encoder=encoder,
        network=network,
        data=data,
        crop=SMALL_CROPS,
    )


def save_small_model(
    folder: Path,
    task: str,
    fold: int = 0,
    *,
    view: ViewName = "sagittal_t1",
    points: str = "",
    scores: Mapping[str, float] | None = None,
    **provenance: Any,
) -> Path:
    """Write an untrained model; weights follow from task and fold. Returns the folder.

    Args:
        view: of a keypoints model.
        points: what the recipe says it was trained around.
        scores: what its metadata says of validation.
    """
    recipe = small_recipe(task, view, points)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEEDS[task] + fold)
        network = get_task(recipe).build_network(pretrained=False).eval()
    meta = ModelMeta(recipe, fold=fold, scores=scores or {}, provenance=provenance)
    save_model(folder, network, meta)
    return folder
