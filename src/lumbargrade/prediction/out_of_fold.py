"""What models of all folds say together: one prediction and one set of points per study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lumbargrade.dataset.point_file import PlacedPoint
from lumbargrade.dataset.store import VolumeStore
from lumbargrade.domain.findings import ModelSource, Place, StudyPrediction
from lumbargrade.domain.vocabulary import Target
from lumbargrade.prediction.ensemble import (
    average,
    average_places,
    places_of,
    settle,
    study_prediction,
)
from lumbargrade.prediction.origin import FORMAT, ModelRecord, OofRecord, record_of
from lumbargrade.prediction.validation import FoldPredictions, fold_fingerprint
from lumbargrade.tasks import OneStageTask, get_task


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
