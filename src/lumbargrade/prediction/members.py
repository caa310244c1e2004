"""The models that take part: found in folders, loaded, and asked about volumes."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lumbargrade.checkpoint import KEPT_FOLDER, MODEL_META, ModelMeta, load_model, read_meta
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import ModelSource
from lumbargrade.domain.vocabulary import FINDINGS, Grade, Target
from lumbargrade.scoring.local import WEIGHTS
from lumbargrade.tasks import OneStageTask, StudyTask, get_task

#: What `submit` writes for a finding that no model predicts: a probability per grade.
Constants = Mapping[Target, tuple[float, float, float]]
#: The same by column, as models and packaged files carry it.
Table = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Member:
    """One loaded model with its task.

    Attributes:
        path: the model's folder.
        meta: recipe, fold, scores and provenance.
        task: samples and decoding.
        network: in eval mode, on its device.
        flip: False leaves flip averaging out for this model.
    """

    path: Path
    meta: ModelMeta
    task: OneStageTask | StudyTask
    network: nn.Module
    flip: bool = True

    @property
    def flips(self) -> bool:
        """Whether it may be averaged with the mirrored volume: see `Task.flips`."""
        return self.flip and self.task.flips

    @property
    def source(self) -> ModelSource:
        return ModelSource(self.meta.recipe.name, self.meta.fold)


def find_models(paths: Iterable[Path | str]) -> list[Path]:
    """Model folders at or below the paths, each once however often it is reached.

    Models of single epochs that a run has kept beside its best one (``train.keep``) are taken only
    if a path is their folder or lies in it.

    Raises:
        UsageError: if a path does not exist or holds no model.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise UsageError(f"{path} does not exist")
        models = sorted(p.parent for p in path.rglob(MODEL_META))
        here = [m for m in models if KEPT_FOLDER not in m.relative_to(path).parts]
        if models and not here:
            raise UsageError(
                f"{path} holds no model but kept epochs; to use one, give its folder, such as "
                f"{models[0]}"
            )
        if not here:
            raise UsageError(f"{path} holds no model (no {MODEL_META} in it or below)")
        for folder in here:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def load_member(path: Path, device: torch.device, *, flip: bool = True) -> Member:
    """Load one model folder; without ``flip`` it is never averaged with the mirrored volume."""
    meta = read_meta(path)
    network = load_model(path).to(device).eval()
    return Member(path, meta, get_task(meta.recipe), network, flip)


def training_fill(metas: Iterable[ModelMeta]) -> Constants:
    """Constants that score best on the data the models were trained on (`scoring.fill`).

    For the rows of a submission that no model predicts; nothing else is ever filled.

    A model trained before these were recorded carries only the shares P(k) of its grades; for it
    they are w(k)P(k), normalised, which leaves the any-severe part out of account. If no model
    carries either (imported published files), those of the LSDC data are taken.
    """
    carried = [m.provenance for m in metas if {"fill", "prevalence"} & m.provenance.keys()]
    return _mean(
        [p.get("fill") or _weighted(p["prevalence"]) for p in carried] or [published_fill()]
    )


def published_fill() -> Table:
    """The constants that score best on the 1,975 LSDC training studies, by column."""
    return _packaged("lsdc_fill.csv")


def _mean(tables: Sequence[Table]) -> dict[Target, tuple[float, float, float]]:
    result = {}
    for target in FINDINGS:
        mean = np.mean([table[target.column] for table in tables], axis=0)
        a, b, c = (mean / mean.sum()).tolist()  # tables are rounded
        result[target] = (a, b, c)
    return result


def _weighted(prevalence: Table) -> dict[str, list[float]]:
    weighted = {column: np.array(shares) * WEIGHTS for column, shares in prevalence.items()}
    return {column: (w / w.sum()).tolist() for column, w in weighted.items()}


def _packaged(name: str) -> dict[str, tuple[float, ...]]:
    text = (resources.files("lumbargrade") / "prediction/data" / name).read_text()
    rows = csv.DictReader(text.splitlines())
    return {r["finding"]: tuple(float(r[g.column]) for g in Grade) for r in rows}
