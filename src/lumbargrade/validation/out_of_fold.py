"""What models of all folds say together: one prediction and one set of points per study."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lumbargrade.domain.errors import NothingDone, UsageError
from lumbargrade.domain.findings import ModelSource, Place, StudyPrediction
from lumbargrade.domain.vocabulary import Target
from lumbargrade.grading.combine import (
    average,
    average_places,
    places_of,
    settle,
    study_prediction,
)
from lumbargrade.grading.members import Member, load_member
from lumbargrade.grading.model_record import FORMAT, ModelRecord, OofRecord, record_of
from lumbargrade.grading.stages import guide_points, predict_series
from lumbargrade.lsdc.point_file import PlacedPoint
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.checkpoint import ModelMeta, read_meta
from lumbargrade.models.one_stage import OneStageTask
from lumbargrade.models.registry import get_task
from lumbargrade.models.study_task import StudyTask
from lumbargrade.models.task import Row, SeriesPrediction, Task
from lumbargrade.sampling.study_rows import StudyRow

log = logging.getLogger(__name__)

#: Fingerprint of the fold of every study of the published training set (see `fold_fingerprint`).
PUBLISHED_FOLDS = "7469186af81fa0c6c9343ffb2d89d526c44dd00bb3ec61e1e9faa97a3ee55b3d"


@dataclass(frozen=True)
class FoldPredictions:
    """What one model says of the series of its validation fold.

    Attributes:
        meta: the model.
        rows: series with their labels.
        plain: one prediction per row.
        flipped: the same averaged with the mirrored volume; None if flips were not asked for, or
            the model is never averaged with them.
        sources: every model behind the predictions, those that placed the points included.
        guide: whether the model only places points here.
        path: the model's folder, where it has one.
    """

    meta: ModelMeta
    rows: Sequence[Any]
    plain: Sequence[SeriesPrediction]
    flipped: Sequence[SeriesPrediction] | None
    sources: tuple[ModelSource, ...] = ()
    guide: bool = False
    path: Path | None = None

    @property
    def used(self) -> Sequence[SeriesPrediction]:
        """The predictions that findings, points, their tables and pictures are taken from."""
        return self.plain if self.flipped is None else self.flipped


def fold_fingerprint(folds: Mapping[int, int]) -> str:
    """SHA-256 of which study is in which fold."""
    return hashlib.sha256(json.dumps(sorted(folds.items())).encode()).hexdigest()


def refuse_seen_studies(meta: ModelMeta, store: VolumeStore, rows: Sequence[Row]) -> None:
    """Make sure that a model was not trained on what it is about to be judged on.

    Raises:
        UsageError: if it was, or if nothing is known of its fold or of what it was trained on.
    """
    name = f"{meta.recipe.name} fold {meta.fold}"
    if meta.fold < 0:
        raise UsageError(
            f"{meta.recipe.name}: it is not known which fold this model was validated on "
            "(import-weights --fold says so); it cannot be evaluated out of fold"
        )
    trained_on = meta.provenance.get("trained_on")
    if trained_on is None:
        if fold_fingerprint(store.folds) == PUBLISHED_FOLDS:
            return
        raise UsageError(
            f"{name}: it is not known which studies this model was trained on, and the store's "
            "folds are not the published ones; it cannot be evaluated out of fold here"
        )
    seen = sorted({row.study_id for row in rows} & set(trained_on))
    if seen:
        some = ", ".join(map(str, seen[:5]))
        raise UsageError(
            f"{name} was trained on {len(seen)} of the studies it would be judged on ({some}...); "
            "its folds are not the store's"
        )


def predict_out_of_fold(
    paths: Sequence[Path],
    store: VolumeStore,
    *,
    device: torch.device,
    flip: bool,
    guides: Sequence[Path] = (),
) -> list[FoldPredictions]:
    """Every model on its own validation fold.

    Models of crops start from the points that the models and guides of whole series of the same
    fold predict; so nothing that has seen a study takes part in what is said of it.

    Args:
        paths: model folders.
        store: volumes and labels.
        device: where networks run.
        flip: also predict with flip averaging, where that can change anything.
        guides: models that only place points; their predictions are marked as guides.

    Raises:
        UsageError: if a model has seen a study of its fold, two models are the same fold of one
            recipe, or a model of crops has no model of its fold that places points.
        NothingDone: if the store has no labelled rows for any of the models.
    """
    own = {p.resolve() for p in paths}
    metas = {path: read_meta(path) for path in paths}
    only_guides = [p for p in guides if p.resolve() not in own]
    metas |= {path: read_meta(path) for path in only_guides}
    _refuse_doubles(metas)
    found = []
    points = FoldPoints(store)
    order = sorted(metas, key=lambda p: _stage(metas[p]))
    for path in tqdm(order, desc="models", unit="model", disable=None):
        meta, member = metas[path], load_member(path, device, flip=flip)
        task: Task = member.task
        if isinstance(member.task, StudyTask):
            # the points that it was trained with may be elsewhere, and are not needed
            rows = member.task.labelled_rows(store, {meta.fold})
        else:
            rows = task.rows(store, {meta.fold})
        refuse_seen_studies(meta, store, rows)
        if isinstance(member.task, StudyTask):
            rows = points.guided(meta, rows)
        if not rows:
            if not isinstance(member.task, StudyTask):
                points.add(member, [], device, flip=flip)
            log.warning("%s fold %d: no labelled rows", meta.recipe.name, meta.fold)
            continue
        plain = task.predict_rows(member.network, store, rows, device=device)
        flipped = (
            task.predict_rows(member.network, store, rows, device=device, flip=True)
            if member.flips
            else None
        )
        sources: tuple[ModelSource, ...] = (member.source,)
        if isinstance(member.task, StudyTask):
            sources = tuple(dict.fromkeys((*sources, *points.sources(meta.fold))))
        else:
            points.add(member, flipped or plain, device, flip=flip)
        guide = path in only_guides
        found.append(FoldPredictions(meta, rows, plain, flipped, sources, guide, path))
    if all(f.guide for f in found):
        raise NothingDone("the store has no labelled rows for any of the models")
    return found


def _stage(meta: ModelMeta) -> int:
    """Whole series first, then the crops around what was found in them."""
    return int(isinstance(get_task(meta.recipe), StudyTask))


class FoldPoints:
    """Out-of-fold points of every study, from models of whole series, fold by fold."""

    def __init__(self, store: VolumeStore) -> None:
        self.store = store
        self._places: dict[int, dict[int, list[Mapping[Target, Place]]]] = {}
        self._sources: dict[int, list[ModelSource]] = {}

    def add(
        self,
        member: Member,
        predictions: Sequence[SeriesPrediction],
        device: torch.device,
        *,
        flip: bool,
    ) -> None:
        """Take the points of a model for all series of its fold, labelled in full or not."""
        fold = member.meta.fold
        mine = self._places.setdefault(fold, {})
        self._sources.setdefault(fold, []).append(member.source)
        done = {p.series_id for p in predictions}
        rest = [
            (s.kind, self.store.volume(s.study_id, s.series_id))
            for s in self.store.series
            if self.store.folds.get(s.study_id) == fold
            and s.kind in member.task.kinds
            and str(s.series_id) not in done
        ]
        for one in (*predictions, *predict_series(member, rest, device, flip=flip)):
            mine.setdefault(int(one.study_id), []).append(places_of(one))

    def sources(self, fold: int) -> tuple[ModelSource, ...]:
        """The models behind the points of a fold."""
        return tuple(self._sources.get(fold, ()))

    def guided(self, meta: ModelMeta, rows: Sequence[StudyRow]) -> list[StudyRow]:
        """Rows whose crops are cut around predicted points alone, never around labels.

        Raises:
            UsageError: if no model of the fold places points.
        """
        if meta.fold not in self._places:
            raise UsageError(
                f"{meta.recipe.name} fold {meta.fold} reads crops around points that a first stage "
                f"finds, and none of the models is a fold {meta.fold} of one; give such models "
                "too, or name them with --guides"
            )
        mine = self._places[meta.fold]
        found = []
        for row in rows:
            guides = guide_points(average_places(mine.get(row.study_id, [])))
            found.append(replace(row, guides=guides, guided_by_labels=False))
        return found


def _refuse_doubles(metas: Mapping[Path, ModelMeta]) -> None:
    seen: dict[tuple[str, int], Path] = {}
    for path, meta in metas.items():
        key = (meta.recipe.name, meta.fold)
        if key in seen:
            raise UsageError(
                f"{path} and {seen[key]} are both {key[0]} fold {key[1]}; give one of them"
            )
        seen[key] = path


def mean_of(members: Sequence[Sequence[SeriesPrediction]]) -> list[SeriesPrediction]:
    """Mean over models, series by series; places are averaged as in `ensemble.average`.

    Only series that every model predicted are kept; a target that a model does not grade or place
    is the mean of the others.
    """
    by_series = [{(p.study_id, p.series_id): p for p in member} for member in members]
    common = [s for s in by_series[0] if all(s in other for other in by_series)]
    return [_mean([member[series] for member in by_series]) for series in common]


def _mean(same: Sequence[SeriesPrediction]) -> SeriesPrediction:
    first = same[0]
    places = average_places([places_of(p) for p in same])
    voxels = np.full((len(first.targets), 3), np.nan)
    patient = np.full((len(first.targets), 3), np.nan)
    instances = np.full(len(first.targets), -1, np.int64)
    series = list(first.series)
    for i, target in enumerate(first.targets):
        if (place := places.get(target)) is None:
            continue
        voxels[i] = place.x, place.y, place.z
        patient[i] = np.nan if place.patient is None else place.patient
        instances[i] = place.instance_number
        if series:
            series[i] = place.series_id
    probabilities = _known_mean([p.probabilities for p in same])
    return replace(
        first,
        probabilities=probabilities,
        voxels=voxels,
        patient=patient,
        instances=instances,
        series=tuple(series),
    )


def _known_mean(values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean over members of what each knows; NaN where none knows it."""
    stacked = np.array(values)
    known = np.isfinite(stacked)
    count = known.sum(axis=0)
    total = np.where(known, stacked, 0.0).sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def out_of_fold_studies(
    folds: Sequence[FoldPredictions], store: VolumeStore
) -> list[StudyPrediction]:
    """One prediction per study: the mean over its fold's models, flip-averaged where that is."""
    by_study: dict[str, list[StudyPrediction]] = {}
    for fold in folds:
        if not fold.guide:
            for one in fold.used:
                found = study_prediction(one, fold.sources)
                if found.findings:
                    by_study.setdefault(found.study_id, []).append(found)
    return [_settled(average(same), store) for same in by_study.values()]


def out_of_fold_points(folds: Sequence[FoldPredictions], store: VolumeStore) -> list[PlacedPoint]:
    """Where the models, guides included, put each target of a study of their fold.

    Points of models that look at crops count only where they find them themselves: a second stage
    gives back those of the first.
    """
    places: dict[int, list[Mapping[Target, Place]]] = {}
    sources: dict[tuple[int, Target], list[ModelSource]] = {}
    for fold in folds:
        task = get_task(fold.meta.recipe)
        if not isinstance(task, OneStageTask) and len(task.shown) > 1:
            continue
        for one in fold.used:
            found = places_of(one)
            study = int(one.study_id)
            places.setdefault(study, []).append(found)
            for target in found:
                sources.setdefault((study, target), []).extend(fold.sources)
    points = []
    for study, several in places.items():
        for target, place in average_places(several).items():
            if place.patient is not None:
                models = dict.fromkeys((s.recipe, s.fold) for s in sources[study, target])
                points.append(
                    PlacedPoint(
                        study,
                        store.folds[study],
                        target,
                        place.series_id,
                        place.instance_number,
                        (place.x, place.y, place.z),
                        place.patient,
                        tuple(models),
                    )
                )
    return points


def origin_of(folds: Sequence[FoldPredictions], store: VolumeStore) -> OofRecord:
    """Which models these predictions come from, with a digest of each."""

    def records(*, guides: bool) -> tuple[ModelRecord, ...]:
        found = [(f.path, f.meta) for f in folds if f.guide is guides]
        return tuple(record_of(path, meta) for path, meta in found if path is not None)

    flip = all(f.flipped is not None or not get_task(f.meta.recipe).flips for f in folds)
    models, guides = records(guides=False), records(guides=True)
    return OofRecord(FORMAT, fold_fingerprint(store.folds), flip, models, guides)


def _settled(prediction: StudyPrediction, store: VolumeStore) -> StudyPrediction:
    series = {f.place.series_id for f in prediction.findings.values() if f.place is not None}
    return settle(prediction, {s: store.volume(prediction.study_id, s) for s in series})
