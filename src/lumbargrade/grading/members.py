"""The models that take part: found in folders, loaded, and asked about volumes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import ModelSource, Probabilities, StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import FINDINGS, Grade, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.files.tables import finite, parse_table
from lumbargrade.models.checkpoint import KEPT_FOLDER, MODEL_META, ModelMeta, load_model, read_meta
from lumbargrade.models.registry import AnyTask, get_task
from lumbargrade.scoring.local import WEIGHTS

#: What `submit` writes for a finding that no model predicts.
Constants = Mapping[Target, Probabilities]
#: Column name of a finding -> the same, as models and packaged files hold it.
ConstantsByColumn = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Member:
    """One loaded model with its task.

    Attributes:
        path: the model's folder.
        meta: recipe, fold, scores and provenance.
        task: samples and decoding.
        network: in eval mode, on its device.
        flip: False: this model is never averaged with flips.
    """

    path: Path
    meta: ModelMeta
    task: AnyTask
    network: nn.Module
    flip: bool = True

    @property
    def flips(self) -> bool:
        """Whether it may be averaged with the mirrored volume: see `Task.flips`."""
        return self.flip and self.task.flips

    @property
    def source(self) -> ModelSource:
        return self.meta.source

    def predict(
        self,
        study_id: str,
        volumes: Sequence[Volume],
        guides: Sequence[Point] = (),
        *,
        flip: bool = False,
    ) -> list[StudyPrediction]:
        """What it finds in a study: see `Task.predict`."""
        both = flip and self.flips
        return self.task.predict(self.network, study_id, volumes, guides, flip=both)


def find_models(paths: Iterable[Path | str]) -> list[Path]:
    """Model folders at or below the paths, each once however often it is reached.

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
                f"{path} holds no model but kept epochs; to use one, give its folder, such as "
                f"{models[0]}"
            )
        if not here:
            raise UsageError(f"{path} holds no model (no {MODEL_META} in it or below)")
        for folder in here:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _below(path: Path) -> Iterator[Path]:
    """Model folders at or below a path. Runs may lie on other disks, so links are followed."""
    seen = set()
    for folder, inside, files in os.walk(path, followlinks=True):
        real = Path(folder).resolve()
        if real in seen:  # a link to a folder above it, or to one that was met before
            inside.clear()
            continue
        seen.add(real)
        inside.sort()
        if MODEL_META in files:
            yield Path(folder)


def load_member(path: Path, device: torch.device, *, flip: bool = True) -> Member:
    """Load one model folder; without ``flip`` it is never averaged with the mirrored volume."""
    meta = read_meta(path)
    network = load_model(path).to(device).eval()
    return Member(path, meta, get_task(meta.recipe), network, flip)


def training_fill(metas: Iterable[ModelMeta]) -> Constants:
    """Constants that minimise the official score on the data the models were trained on.

    For the rows of a submission that no model predicts; nothing else is ever filled.

    They are computed in training (`scoring.fill`) and averaged over the models. A model that was
    trained before they were recorded carries only the shares P(k) of its grades; w(k)P(k),
    normalised, is used instead, which neglects the any-severe part. If no model carries either
    (imported published files), the constants of the LSDC data are used.
    """
    carried = [m.provenance for m in metas if {"fill", "prevalence"} & m.provenance.keys()]
    return _mean_by_target(
        [p.get("fill") or _weighted(p["prevalence"]) for p in carried] or [published_fill()]
    )


def published_fill() -> ConstantsByColumn:
    """Constants that minimise the official score on the 1,975 LSDC training studies, by column."""
    return _packaged("lsdc_fill.csv")


def _mean_by_target(tables: Sequence[ConstantsByColumn]) -> dict[Target, Probabilities]:
    result = {}
    for target in FINDINGS:
        mean = np.mean([table[target.column] for table in tables], axis=0)
        a, b, c = (mean / mean.sum()).tolist()  # tables are rounded
        result[target] = (a, b, c)
    return result


def _weighted(prevalence: ConstantsByColumn) -> dict[str, list[float]]:
    weighted = {column: np.array(shares) * WEIGHTS for column, shares in prevalence.items()}
    return {column: (w / w.sum()).tolist() for column, w in weighted.items()}


def _packaged(name: str) -> dict[str, tuple[float, ...]]:
    text = (resources.files("lumbargrade") / "scoring/data" / name).read_text("utf-8")
    columns = [g.column for g in Grade]
    return {
        row["finding"]: tuple(row.read(finite, c) for c in columns)
        for row in parse_table(text, ("finding", *columns), name)
    }
