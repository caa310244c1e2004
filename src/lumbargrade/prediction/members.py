"""The models that take part: found in folders, loaded, and asked about volumes."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lumbargrade.checkpoint import KEPT_FOLDER, MODEL_META, ModelMeta, load_model, read_meta
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import Finding, ModelSource, StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, Grade, Target
from lumbargrade.tasks import OneStageTask, StudyTask, get_task


@dataclass(frozen=True)
class Member:
    """One loaded model with its task.

    Attributes:
        path: the model's folder.
        meta: recipe, fold, scores and provenance.
        task: samples and decoding.
        network: in eval mode, on its device.
    """

    path: Path
    meta: ModelMeta
    task: OneStageTask | StudyTask
    network: nn.Module

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


def load_member(path: Path, device: torch.device) -> Member:
    """Load one model folder."""
    meta = read_meta(path)
    network = load_model(path).to(device).eval()
    return Member(path, meta, get_task(meta.recipe), network)


def training_prevalence(metas: Iterable[ModelMeta]) -> dict[Target, tuple[float, float, float]]:
    """Share of each grade in the data the models were trained on, for findings nothing predicts.

    Models that do not carry it (imported published files) count as trained on the LSDC data.
    """
    carried = [m.provenance["prevalence"] for m in metas if "prevalence" in m.provenance]
    tables = carried or [published_prevalence()]
    mean = {t: np.mean([table[t.column] for table in tables], axis=0) for t in FINDINGS}
    result = {}
    for target, shares in mean.items():
        a, b, c = (shares / shares.sum()).tolist()  # tables are rounded
        result[target] = (a, b, c)
    return result


def published_prevalence() -> dict[str, tuple[float, ...]]:
    """Share of each grade in the 1,975 LSDC training studies, by column."""
    text = (resources.files("lumbargrade") / "prediction/data/lsdc_prevalence.csv").read_text()
    rows = csv.DictReader(text.splitlines())
    return {r["finding"]: tuple(float(r[g.column]) for g in Grade) for r in rows}


def complete(
    prediction: StudyPrediction, prevalence: Mapping[Target, tuple[float, float, float]]
) -> dict[Target, Finding]:
    """All 25 findings of a study; absent ones stand at training prevalence, marked as filled."""
    return {
        t: prediction.findings.get(t) or Finding(t, prevalence[t], filled=True) for t in FINDINGS
    }
