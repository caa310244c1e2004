"""From series predictions to a study's findings, and from many predictions to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lumbargrade.domain.findings import Finding, ModelSource, Place, StudyPrediction
from lumbargrade.domain.reasons import joined, not_finite
from lumbargrade.domain.vocabulary import FINDINGS, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.models.inference import locate
from lumbargrade.models.task import SeriesPrediction

#: Points further apart than this mark different levels, mm: less than half of the smallest usual
#: distance from disc to disc.
AGREE = 12.0


#: If a mean of voxels in several stacks lies this far, mm, from the mean of their patient points,
#: the patient points count.
ELSEWHERE = 0.01


def study_prediction(
    prediction: SeriesPrediction,
    sources: tuple[ModelSource, ...] = (),
    *,
    grades: bool = True,
) -> StudyPrediction:
    """What one model says of one series or study, as findings of its study.

    Targets with NaN probabilities are absent; NaN voxels get no place.

    Args:
        prediction: by the model.
        sources: the model, and those whose points it started from.
        grades: False for a model that only places points: it has no findings, and none is absent
            because of it.
    """
    places = places_of(prediction)
    findings = {}
    absent = {}
    for i, target in enumerate(prediction.targets if grades else ()):
        if not np.isfinite(prediction.probabilities[i]).all():
            model = sources[0].recipe if sources else "the model"
            absent[target] = prediction.absent.get(target) or not_finite(model)
            continue
        probabilities = _triple(prediction.probabilities[i])
        findings[target] = Finding(target, probabilities, places.get(target), sources=sources)
    return StudyPrediction(prediction.study_id, findings, sources, absent=absent)


def places_of(prediction: SeriesPrediction) -> dict[Target, Place]:
    """Where a prediction puts its targets, graded or not."""
    places = {}
    for i, target in enumerate(prediction.targets):
        if np.isfinite(prediction.voxels[i]).all():
            x, y, z = prediction.voxels[i].tolist()
            places[target] = Place(
                series_id=prediction.series_of(i),
                instance_number=int(prediction.instances[i]),
                x=x,
                y=y,
                z=z,
                patient=_triple(prediction.patient[i]),
            )
    return places


def average_places(places: Sequence[Mapping[Target, Place]]) -> dict[Target, Place]:
    """One place for each target from several: see `average`."""
    found = {}
    for target in FINDINGS:
        mine = [p[target] for p in places if target in p]
        if mine:
            found[target] = _average_place(mine)
    return found


def average(predictions: Sequence[StudyPrediction]) -> StudyPrediction:
    """The mean of several predictions of one study: models, folds, flips, series of one kind.

    Probabilities are averaged target by target over the predictions that have it; where none has
    it, it is absent for the reasons of all of them. The place is
    the mean in the series that most predictions point to (the first of them on a tie), of those
    points that agree with the most others: a mean over points on different levels would lie
    between the levels. `settle` then finds its slice.

    Raises:
        ValueError: if there is no prediction, or they are of different studies.
    """
    studies = {p.study_id for p in predictions}
    if len(studies) != 1:
        raise ValueError(f"cannot average predictions of studies {sorted(studies)}")
    findings, absent = {}, {}
    for target in FINDINGS:
        members = [p.findings[target] for p in predictions if target in p.findings]
        reasons = [p.absent[target] for p in predictions if target in p.absent]
        if members:
            findings[target] = _average_finding(target, members)
        elif reasons:
            absent[target] = joined(reasons)
    return StudyPrediction(
        study_id=studies.pop(),
        findings=findings,
        sources=tuple(dict.fromkeys(s for p in predictions for s in p.sources)),
        problems=tuple(dict.fromkeys(q for p in predictions for q in p.problems)),
        absent=absent,
        points=average_places([p.points for p in predictions]),
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
        place = _settled(place, volumes[place.series_id])
        findings[target] = replace(finding, place=place)
    return replace(prediction, findings=findings)


def _settled(place: Place, volume: Volume) -> Place:
    voxels = np.array([[place.x, place.y, place.z]])
    patient, instances = locate(volume, voxels)
    mean, stacks = place.patient, {s.group for s in volume.slices}
    if len(stacks) > 1 and mean is not None and np.abs(mean - patient[0]).max() > ELSEWHERE:
        # slice coordinates of different stacks have no mean
        voxels = volume.from_patient([mean])
        patient, instances = locate(volume, voxels)
    x, y, z = _triple(voxels[0])
    return replace(
        place, instance_number=int(instances[0]), x=x, y=y, z=z, patient=_triple(patient[0])
    )


def _average_finding(target: Target, members: Sequence[Finding]) -> Finding:
    probabilities = np.mean([m.probabilities for m in members], axis=0)
    places = [m.place for m in members if m.place is not None]
    return Finding(
        target,
        _triple(probabilities / probabilities.sum()),
        _average_place(places) if places else None,
        sources=tuple(dict.fromkeys(s for m in members for s in m.sources)),
    )


def _average_place(places: Sequence[Place]) -> Place:
    votes: dict[str, list[Place]] = {}
    for place in places:
        votes.setdefault(place.series_id, []).append(place)
    chosen = _agreeing(max(votes.values(), key=len))
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


def _agreeing(places: Sequence[Place]) -> Sequence[Place]:
    """The largest set of places within ``AGREE`` of one of them; the tightest on a tie."""
    points = [p.patient for p in places]
    if len(places) < 2 or any(p is None for p in points):
        return places
    at = np.array(points)
    apart = np.linalg.norm(at[:, None] - at[None], axis=-1)
    near = apart <= AGREE
    spread = np.where(near, apart, 0.0).sum(axis=1)
    best = max(range(len(places)), key=lambda i: (near[i].sum(), -spread[i]))
    return [p for p, close in zip(places, near[best], strict=True) if close]


def _triple(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    a, b, c = (float(v) for v in values)
    return a, b, c
