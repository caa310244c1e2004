"""From series predictions to a study's findings, and from many predictions to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lumbargrade.domain.findings import Finding, ModelSource, Place, StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.tasks.inference import SeriesPrediction, locate


def study_prediction(
    prediction: SeriesPrediction, sources: tuple[ModelSource, ...] = ()
) -> StudyPrediction:
    """What one model says of one series, as findings of its study."""
    findings = {}
    for i, target in enumerate(prediction.targets):
        x, y, z = prediction.voxels[i]
        place = Place(
            series_id=prediction.series_id,
            instance_number=int(prediction.instances[i]),
            x=float(x),
            y=float(y),
            z=float(z),
            patient=_triple(prediction.patient[i]),
        )
        probabilities = _triple(prediction.probabilities[i])
        findings[target] = Finding(target, probabilities, place, sources=sources)
    return StudyPrediction(prediction.study_id, findings, sources)


def average(predictions: Sequence[StudyPrediction]) -> StudyPrediction:
    """The mean of several predictions of one study: models, folds, flips, series of one kind.

    Probabilities are averaged target by target over the predictions that have it. The place is
    the mean in the series that most predictions point to (the first of them on a tie); `settle`
    then finds its slice.

    Raises:
        ValueError: if there is no prediction, or they are of different studies.
    """
    studies = {p.study_id for p in predictions}
    if len(studies) != 1:
        raise ValueError(f"cannot average predictions of studies {sorted(studies)}")
    findings = {}
    for target in FINDINGS:
        members = [p.findings[target] for p in predictions if target in p.findings]
        if members:
            findings[target] = _average_finding(target, members)
    return StudyPrediction(
        study_id=studies.pop(),
        findings=findings,
        sources=tuple(dict.fromkeys(s for p in predictions for s in p.sources)),
        problems=tuple(dict.fromkeys(q for p in predictions for q in p.problems)),
    )


def settle(prediction: StudyPrediction, volumes: Mapping[str, Volume]) -> StudyPrediction:
    """Places as their own volumes have them: the slice nearest to the voxel, its patient point.

    A mean of places knows the slices of its members only, and may lie nearest to another.

    Args:
        prediction: of a study, averaged.
        volumes: series id -> volume; a place in any other series is left as it is.
    """
    findings = dict(prediction.findings)
    for target, finding in findings.items():
        place = finding.place
        if place is None or place.series_id not in volumes:
            continue
        voxels = np.array([[place.x, place.y, place.z]])
        patient, instances = locate(volumes[place.series_id], voxels)
        place = replace(place, instance_number=int(instances[0]), patient=_triple(patient[0]))
        findings[target] = replace(finding, place=place)
    return replace(prediction, findings=findings)


def _average_finding(target: Target, members: Sequence[Finding]) -> Finding:
    probabilities = np.mean([m.probabilities for m in members], axis=0)
    places = [m.place for m in members if m.place is not None]
    return Finding(
        target,
        _triple(probabilities / probabilities.sum()),
        _average_place(places) if places else None,
        filled=all(m.filled for m in members),
        sources=tuple(dict.fromkeys(s for m in members for s in m.sources)),
    )


def _average_place(places: Sequence[Place]) -> Place:
    votes: dict[str, list[Place]] = {}
    for place in places:
        votes.setdefault(place.series_id, []).append(place)
    chosen = max(votes.values(), key=len)
    x, y, z = np.mean([(p.x, p.y, p.z) for p in chosen], axis=0)
    nearest = min(chosen, key=lambda p: abs(p.z - z))
    patients = [p.patient for p in chosen if p.patient is not None]
    return Place(
        series_id=chosen[0].series_id,
        instance_number=nearest.instance_number,
        x=float(x),
        y=float(y),
        z=float(z),
        patient=_triple(np.mean(patients, axis=0)) if patients else None,
    )


def _triple(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    a, b, c = (float(v) for v in values)
    return a, b, c
