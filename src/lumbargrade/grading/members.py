"""Find and load models, and predict studies with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import ModelSource, StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.volume import Volume
from lumbargrade.files.folders import walk
from lumbargrade.models.checkpoint import KEPT_FOLDER, MODEL_META, ModelMeta, load_model, read_meta
from lumbargrade.models.registry import AnyTask, get_task


@dataclass(frozen=True)
class Member:
    """One loaded model with its task.

    Attributes:
        path: the model's folder.
        meta: recipe, fold, scores and provenance.
        task: the model's task.
        network: the network in eval mode, on its device.
        flip: if False, the model is never averaged with flips.
    """

    path: Path
    meta: ModelMeta
    task: AnyTask
    network: nn.Module
    flip: bool = True

    @property
    def flips(self) -> bool:
        """Whether predictions may be averaged with the mirrored volume: see `Task.flips`."""
        return self.flip and self.task.flips

    @property
    def source(self) -> ModelSource:
        return self.meta.source

    def predict(
        self,
        study_id: str,
        volumes: Sequence[Volume],
        guide_points: Sequence[Point] = (),
        *,
        flip: bool = False,
    ) -> list[StudyPrediction]:
        """Predict a study: see `Task.predict`."""
        both = flip and self.flips
        return self.task.predict(self.network, study_id, volumes, guide_points, flip=both)


def find_models(paths: Iterable[Path | str]) -> list[Path]:
    """Find the model folders at or below the paths, without duplicates.

    Kept epochs of a run (``train.keep``) are included only if a path is the folder of one, or the
    folder of all of them. Links to folders are followed.

    Raises:
        UsageError: if a path does not exist or holds no model.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise UsageError(f"{path} does not exist")
        models = sorted(_below(path))
        here = [m for m in models if KEPT_FOLDER not in m.relative_to(path).parts]
        if models and not here:
            raise UsageError(
                f"{path} holds no model except kept epochs; to use one, give its folder, for "
                f"example {models[0]}"
            )
        if not here:
            raise UsageError(
                f"{path} holds no model; give a folder that has {MODEL_META} in it or below it"
            )
        for folder in here:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _below(path: Path) -> Iterator[Path]:
    """Yield model folders at or below a path."""
    for folder, _, files in walk(path) if path.is_dir() else ():
        if MODEL_META in files:
            yield folder


def load_member(path: Path, device: torch.device, *, flip: bool = True) -> Member:
    """Load a model folder; if ``flip`` is False, it is never averaged with the mirrored volume."""
    meta = read_meta(path)
    network = load_model(path).to(device).eval()
    return Member(path, meta, get_task(meta.recipe), network, flip)
