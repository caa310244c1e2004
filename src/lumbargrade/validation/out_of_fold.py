"""Predict the validation fold of every model, and average models out of fold."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from lumbargrade.domain.errors import NothingDone, UsageError
from lumbargrade.domain.findings import ModelSource, StudyPrediction
from lumbargrade.domain.ids import id_number, id_order
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import Target
from lumbargrade.grading.combine import average, average_points, settle
from lumbargrade.grading.members import Member, load_member
from lumbargrade.grading.model_record import FORMAT, ModelRecord, OofRecord, record_of
from lumbargrade.inference.model_folder import ModelMeta, read_meta
from lumbargrade.lsdc.point_file import PointRow
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.registry import get_task
from lumbargrade.models.task import Row
from lumbargrade.validation.judged import FoldPredictions, JudgedRows

log = logging.getLogger(__name__)

#: Fingerprint of the fold of every study of the published training set (see `fold_fingerprint`).
PUBLISHED_FOLDS = "7469186af81fa0c6c9343ffb2d89d526c44dd00bb3ec61e1e9faa97a3ee55b3d"


def fold_fingerprint(folds: Mapping[str, int]) -> str:
    """Return the SHA-256 of the assignment of studies to folds."""
    numbers = sorted((id_number(study), fold) for study, fold in folds.items())
    return hashlib.sha256(json.dumps(numbers).encode()).hexdigest()


def refuse_seen_studies(meta: ModelMeta, store: VolumeStore, rows: Sequence[Row]) -> None:
    """Check that a model was not trained on the rows on which it will be validated.

    Raises:
        UsageError: if it was, or if its fold or its training studies are unknown.
    """
    name = f"{meta.recipe.name} fold {meta.fold}"
    if meta.fold < 0:
        raise UsageError(
            f"{meta.recipe.name}: the validation fold of this model is unknown, so it cannot be "
            "evaluated out of fold; import it again with import-weights --fold"
        )
    trained_on = meta.provenance.get("trained_on")
    if trained_on is None:
        if fold_fingerprint(store.folds) == PUBLISHED_FOLDS:
            return
        raise UsageError(
            f"{name}: the training studies of this model are unknown and the store's folds are not "
            "the published ones, so it cannot be evaluated out of fold; use a store with the "
            "published folds"
        )
    seen = sorted({row.study_id for row in rows} & set(map(str, trained_on)), key=id_order)
    if seen:
        some = ", ".join(seen[:5])
        raise UsageError(
            f"{name} was trained on {len(seen)} of the studies it would be validated on "
            f"({some}...); use the store with the folds it was trained with"
        )


def predict_out_of_fold(
    paths: Sequence[Path],
    store: VolumeStore,
    *,
    device: str,
    flip: bool,
    guides: Sequence[Path] = (),
) -> list[FoldPredictions]:
    """Predict with every model its own validation fold.

    Models of crops use the points that models and guides of whole series of the same fold predict,
    so no model that has seen a study contributes to its prediction.

    Args:
        paths: model folders.
        store: volumes and labels.
        device: device of the networks: auto, cpu, cuda or cuda:N.
        flip: also predict with flip averaging, for models that allow it.
        guides: models that only place points; their predictions are marked as guides.

    Raises:
        UsageError: if a model has seen a study of its fold, two models are the same fold of one
            recipe, or no model of the same fold places points for a model of crops.
        NothingDone: if the store has no labelled rows for any of the models.
    """
    own = {p.resolve() for p in paths}
    metas = {path: read_meta(path) for path in paths}
    only_guides = [p for p in guides if p.resolve() not in own]
    metas |= {path: read_meta(path) for path in only_guides}
    _refuse_doubles(metas)
    found = []
    points = FoldPoints(store)
    # models of whole series first: their points are the guide points of crops
    order = sorted(metas, key=lambda p: get_task(metas[p].recipe).needs_guides)
    for path in tqdm(order, desc="models", unit="model", disable=None):
        meta, member = metas[path], load_member(path, device, flip=flip)
        task = get_task(meta.recipe)
        rows = task.rows_to_judge(store, meta.fold)
        refuse_seen_studies(meta, store, rows)
        sources: tuple[ModelSource, ...] = (member.source,)
        if task.needs_guides:
            rows = task.rows_to_judge(store, meta.fold, points.guides(meta))
            sources = tuple(dict.fromkeys((*sources, *points.sources(meta.fold))))
        judged = JudgedRows.of(member, store, rows)
        if not task.needs_guides:
            points.add(member, judged, flip=flip)
        if not rows:
            log.warning("%s fold %d: no labelled rows", meta.recipe.name, meta.fold)
            continue
        found.append(FoldPredictions(meta, judged, sources, path in only_guides, path))
    if all(f.guide for f in found):
        raise NothingDone("the store has no labelled rows for any of the models")
    return found


class FoldPoints:
    """Out-of-fold points of all studies, from models of whole series, by fold."""

    def __init__(self, store: VolumeStore) -> None:
        self.store = store
        self._found: dict[int, dict[str, list[Mapping[Target, Point]]]] = {}
        self._sources: dict[int, list[ModelSource]] = {}

    def add(self, member: Member, judged: JudgedRows, *, flip: bool) -> None:
        """Add the points of a model for all series of its fold, with or without labels."""
        fold = member.meta.fold
        by_study = self._found.setdefault(fold, {})
        self._sources.setdefault(fold, []).append(member.source)
        found = list(judged.used)
        done = {row.key for row in judged.rows}
        for s in self.store.series:
            here = self.store.folds.get(s.study_id) == fold and s.kind in member.inference.kinds
            if here and (s.study_id, s.series_id) not in done:
                volume = self.store.volume(s.study_id, s.series_id)
                found += member.predict(s.study_id, [volume], flip=flip)
        for prediction in found:
            by_study.setdefault(prediction.study_id, []).append(prediction.points)

    def sources(self, fold: int) -> tuple[ModelSource, ...]:
        """Return the models behind the points of a fold."""
        return tuple(self._sources.get(fold, ()))

    def guides(self, meta: ModelMeta) -> dict[str, tuple[Point, ...]]:
        """Return study -> guide points, for a model of crops of the same fold.

        Raises:
            UsageError: if no model of the fold places points.
        """
        if meta.fold not in self._found:
            raise UsageError(
                f"{meta.recipe.name} fold {meta.fold} needs points of a first stage, and none of "
                f"the models is a first stage of fold {meta.fold}; add such models, or give them "
                "with --guides"
            )
        found = self._found[meta.fold]
        return {study: tuple(average_points(points).values()) for study, points in found.items()}


def _refuse_doubles(metas: Mapping[Path, ModelMeta]) -> None:
    seen: dict[ModelSource, Path] = {}
    for path, meta in metas.items():
        if (first := seen.setdefault(meta.source, path)) != path:
            raise UsageError(
                f"{path} and {first} are both {meta.recipe.name} fold {meta.fold}; give one of them"
            )


def out_of_fold_studies(
    folds: Sequence[FoldPredictions], store: VolumeStore
) -> list[StudyPrediction]:
    """Return one prediction per study: the mean over its fold's models, with flips if available."""
    by_study: dict[str, list[StudyPrediction]] = {}
    for fold in folds:
        if not fold.guide:
            for found in fold.judged.used:
                if found.findings:
                    found = found.with_sources(fold.sources)
                    by_study.setdefault(found.study_id, []).append(found)
    return [_settled(average(several), store) for several in by_study.values()]


def out_of_fold_points(folds: Sequence[FoldPredictions], store: VolumeStore) -> list[PointRow]:
    """Average the points that models and guides find for each study of their fold.

    Models that return their guide points as they are, such as a second stage, are skipped.
    """
    found: dict[str, list[Mapping[Target, Point]]] = {}
    sources: dict[tuple[str, Target], list[ModelSource]] = {}
    for fold in folds:
        for prediction in fold.judged.used if fold.task.places_points else ():
            study = prediction.study_id
            found.setdefault(study, []).append(prediction.points)
            for target in prediction.points:
                sources.setdefault((study, target), []).extend(fold.sources)
    rows = []
    for study, several in found.items():
        for target, point in average_points(several).items():
            if point.patient is not None:
                models = dict.fromkeys(sources[study, target])
                rows.append(PointRow(study, store.folds[study], point, tuple(models)))
    return rows


def oof_record(folds: Sequence[FoldPredictions], store: VolumeStore) -> OofRecord:
    """Record the models behind these predictions, with a digest of each."""

    def records(*, guides: bool) -> tuple[ModelRecord, ...]:
        found = [(f.path, f.meta) for f in folds if f.guide is guides]
        return tuple(record_of(path, meta) for path, meta in found if path is not None)

    flip = all(f.judged.flipped is not None or not f.task.flips for f in folds)
    models, guides = records(guides=False), records(guides=True)
    return OofRecord(FORMAT, fold_fingerprint(store.folds), flip, models, guides)


def _settled(prediction: StudyPrediction, store: VolumeStore) -> StudyPrediction:
    series = {f.point.series_id for f in prediction.findings.values() if f.point is not None}
    return settle(prediction, {s: store.volume(prediction.study_id, s) for s in series})
