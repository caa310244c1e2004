"""All that the pins take from inside the package; everything else goes through the commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden import digest
from torch import nn

from lumbargrade import read_study
from lumbargrade.config import ViewName, load_recipe
from lumbargrade.domain.volume import Volume
from lumbargrade.inference.model_folder import ModelMeta
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.checkpoint import save_model
from lumbargrade.models.registry import get_task
from published_files import CHECKPOINTS, fill_by_rule
from small_models import small_recipe

#: Every task: name -> (task of the recipe, view of a task that places points).
TASKS: dict[str, tuple[str, ViewName]] = {
    "foraminal": ("foraminal", "sagittal_t1"),
    "canal": ("canal", "sagittal_t1"),
    "subarticular": ("subarticular", "sagittal_t1"),
    "two_stage": ("two_stage", "sagittal_t1"),
    "keypoints-t1": ("keypoints", "sagittal_t1"),
    "keypoints-t2": ("keypoints", "sagittal_t2"),
    "keypoints-axial": ("keypoints", "axial_t2"),
}

PUBLISHED = sorted(CHECKPOINTS.values())


def _normalised(network: nn.Module, forward: Callable[[], Any], share: float = 1.0) -> nn.Module:
    """Take the encoder's normalisation from one forward pass; else signals die out in it.

    Args:
        share: weight of that pass; the deepest networks explode with 1.
    """
    layers = [
        m
        for name, m in network.named_modules()
        if isinstance(m, nn.BatchNorm2d) and "encoder" in name.split(".")
    ]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = share
        layer.train()
    with torch.no_grad():
        forward()
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return network.eval()


def _filled(task: Any, store: VolumeStore, prefix: str = "") -> nn.Module:
    network = fill_by_rule(task.build_network(pretrained=False), 1.0, prefix)
    batch = task.collate([task.sample(store, row) for row in task.rows(store)[:2]])
    return _normalised(network, lambda: task.forward(network, batch))


def save_filled_model(folder: Path, name: str, fold: int, store: Path) -> Path:
    """A model folder of a small network with weights by rule, other weights for each fold."""
    opened = VolumeStore.open(store)
    task = _task(name)
    seen = [study for study, of in opened.folds.items() if of != fold]
    meta = ModelMeta(task.recipe, fold=fold, provenance={"trained_on": seen})
    save_model(folder, _filled(task, opened, f"{fold}/"), meta)
    return folder


def folds_of(store: Path) -> dict[str, int]:
    """Study -> fold."""
    return dict(VolumeStore.open(store).folds)


def _volume(volume: Volume) -> dict[str, Any]:
    planes = [s.plane for s in volume.slices]
    return {
        "kind": volume.kind.value if volume.kind else None,
        "shape": list(volume.pixels.shape),
        "sha256": digest(volume.pixels),
        "instances": [s.instance_number for s in volume.slices],
        "groups": sorted({s.group for s in volume.slices}),
        "first": [*planes[0].position],
        "last": [*planes[-1].position],
        "row": [*planes[0].row],
        "column": [*planes[0].column],
        "spacing": [*planes[0].spacing],
    }


def volumes_of_store(path: Path) -> dict[str, Any]:
    """Every volume of a store."""
    store = VolumeStore.open(path)
    return {
        f"{s.study_id}/{s.series_id}": _volume(store.volume(s.study_id, s.series_id))
        for s in store.series
    }


def volumes_of_study(path: Path) -> dict[str, Any]:
    """Every series of a study in any layout, and what was said of its files."""
    study = read_study(path)
    read = [*study.volumes, *study.other]
    # ids of parts of split series are kept; file names are not
    found: dict[str, Any] = {v.series_id: _volume(v) for v in read}
    return found | {"reasons": list(study.reasons), "problems": [p.what for p in study.problems]}


def rows(path: Path) -> dict[str, Any]:
    """The training rows of every task, the first one with its points."""
    store = VolumeStore.open(path)
    return {
        name: [_row(row, whole=i == 0) for i, row in enumerate(_task(name).rows(store))]
        for name in TASKS
    }


def _task(name: str) -> Any:
    return get_task(small_recipe(*TASKS[name]))


def _row(row: Any, *, whole: bool) -> dict[str, Any]:
    found = {"study": row.study_id, "fold": row.fold}
    if hasattr(row, "guides"):
        found["series"] = [s.series_id for s in row.series]
        found["guides"] = len(row.guides)
    else:
        found["series"] = [row.series_id]
    found["grades"] = row.grades.tolist()
    if whole:
        found["targets"] = [t.column for t in row.targets]
        found["points"] = np.asarray(row.points, float).tolist()
        if hasattr(row, "guides"):
            found["guides"] = [[g.target.column, g.series_id, *g.patient] for g in row.guides]
            found["jitter"] = list(row.jitter)
    return found


def samples(path: Path, *, augmented: bool) -> Iterator[tuple[str, Any]]:
    """For every task: a batch of its first rows, and what the filled network makes of it."""
    store = VolumeStore.open(path)
    for name in TASKS:
        task = _task(name)
        rng = np.random.default_rng(7) if augmented else None
        chosen = task.rows(store)[: 4 if augmented else 2]  # of four, some are flipped
        batch = task.collate([task.sample(store, row, rng) for row in chosen])
        found = {"batch": {k: v for k, v in vars(batch).items() if k != "samples"}}
        if not augmented:
            network = _filled(task, store)
            with torch.inference_mode():
                output = task.forward(network, batch)
                terms = task.loss(output, batch)
            found["output"] = {k: v for k, v in vars(output).items() if k != "log_grade"}
            found["loss"] = {"total": terms.total, "parts": terms.parts, "counts": terms.counts}
        yield name, found


def published_output(name: str) -> Mapping[str, Any]:
    """What a published network says of two small volumes, coarse noise of different contrast."""
    recipe = load_recipe(name)
    network = fill_by_rule(get_task(recipe).build_network(pretrained=False), 1.0)
    counts = [3, 2]
    coarse = np.random.default_rng(0).integers(0, 256, (sum(counts), 8, 8), dtype=np.uint8)
    coarse[counts[0] :] //= 2
    slices = torch.from_numpy(coarse.repeat(8, axis=1).repeat(8, axis=2))
    _normalised(network, lambda: network(slices, counts), share=0.6)
    with torch.inference_mode():
        output = network(slices, counts)
    return {k: v for k, v in vars(output).items() if k != "log_grade"}
