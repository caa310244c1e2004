"""Combine several predictions of a study into one, by averaging or by a blend's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.geometry import triple
from lumbargrade.domain.point import Point
from lumbargrade.domain.reasons import joined
from lumbargrade.domain.vocabulary import FINDINGS, TARGETS, Condition, Target, plain_name
from lumbargrade.domain.volume import Volume, locate
from lumbargrade.grading.blend_file import Blend, ConditionBlend
from lumbargrade.scoring.any_severe import AnySevere

#: Points further apart than this, mm, mark different levels: it is less than half of the smallest
#: usual distance between discs.
AGREE = 12.0


#: If the mean voxel of points in several stacks is further than this, mm, from the mean of their
#: patient points, the patient points are used.
STACK_TOLERANCE = 0.01


def average_points(points: Sequence[Mapping[Target, Point]]) -> dict[Target, Point]:
    """Average the points of each target: see `average`."""
    found = {}
    for target in FINDINGS:
        candidates = [p[target] for p in points if target in p]
        if candidates:
            found[target] = _average_point(candidates)
    return found


def average(predictions: Sequence[StudyPrediction]) -> StudyPrediction:
    """Average several predictions of one study: of models, folds, flips, or series of one kind.

    The probabilities of a target are averaged over the predictions that have it. If none has it,
    it is absent, with all their reasons. Its point is a mean in the series with most points (the
    first on a tie). Only the largest group of points that agree is used, because a mean of points
    on different levels would lie between the levels. `settle` then finds the slice.

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
        points=average_points([p.points for p in predictions]),
    )


def settle(prediction: StudyPrediction, volumes: Mapping[str, Volume]) -> StudyPrediction:
    """Recompute the nearest slice and the patient mm of averaged points from their volumes.

    An averaged point carries the slice of one averaged point, but may be nearest to another slice.

    Args:
        prediction: averaged prediction of a study.
        volumes: series id -> volume; points in other series are left unchanged.
    """
    settled = {
        target: replace(finding, point=_settled(point, volumes[point.series_id]))
        for target, finding in prediction.findings.items()
        if (point := finding.point) is not None and point.series_id in volumes
    }
    return replace(prediction, findings={**prediction.findings, **settled})


def _settled(point: Point, volume: Volume) -> Point:
    settled = locate(volume, [point.target], np.array([point.voxel]))[point.target]
    mean, stacks = point.patient, {s.group for s in volume.slices}
    if len(stacks) == 1 or mean is None:
        return settled
    if np.abs(np.subtract(mean, settled.patient or mean)).max() <= STACK_TOLERANCE:
        return settled
    # a mean of slice coordinates from different stacks has no meaning
    return locate(volume, [point.target], volume.from_patient([mean]))[point.target]


def _average_finding(target: Target, members: Sequence[Finding]) -> Finding:
    probabilities = np.mean([m.probabilities for m in members], axis=0)
    points = [m.point for m in members if m.point is not None]
    return Finding(
        target,
        triple(probabilities / probabilities.sum()),
        _average_point(points) if points else None,
        sources=tuple(dict.fromkeys(s for m in members for s in m.sources)),
    )


def _average_point(points: Sequence[Point]) -> Point:
    votes: dict[str, list[Point]] = {}
    for point in points:
        votes.setdefault(point.series_id, []).append(point)
    chosen = _agreeing(max(votes.values(), key=len))
    voxel = np.mean([p.voxel for p in chosen], axis=0)
    nearest = min(chosen, key=lambda p: abs(p.z - voxel[2]))
    patients = [p.patient for p in chosen if p.patient is not None]
    return replace(
        chosen[0],
        instance_number=nearest.instance_number,
        voxel=triple(voxel),
        patient=triple(np.mean(patients, axis=0)) if patients else None,
    )


def _agreeing(points: Sequence[Point]) -> Sequence[Point]:
    """Return the largest set of points within ``AGREE`` of one of them; the tightest on a tie."""
    patients = [p.patient for p in points]
    if len(points) < 2 or any(p is None for p in patients):
        return points
    at = np.array(patients)
    apart = np.linalg.norm(at[:, None] - at[None], axis=-1)
    near = apart <= AGREE
    spread = np.where(near, apart, 0.0).sum(axis=1)
    best = max(range(len(points)), key=lambda i: (near[i].sum(), -spread[i]))
    return [p for p, close in zip(points, near[best], strict=True) if close]


def combine(blend: Blend, predictions: Mapping[str, StudyPrediction]) -> StudyPrediction:
    """Combine the predictions of a blend's members.

    Probabilities are weighted means over the members that predict a finding (equal weights if none
    of these members has a weight), and calibrated probabilities are added if a calibration was
    fitted. The point is that of the member with the largest weight that has one. Conditions that
    the blend lacks are absent.

    Args:
        blend: weights and calibrations.
        predictions: member -> its prediction.
    """
    base = average(list(predictions.values()))
    unweighted = {
        t: f"the blend has no weights for {plain_name(t.condition)}"
        for t in (*base.findings, *base.absent)
        if t.condition not in blend.conditions
    }
    base = base.without(unweighted)
    findings = {}
    for target in base.findings:
        condition = blend.conditions[target.condition]
        graded = {n: p.findings[target] for n, p in predictions.items() if target in p.findings}
        members = list(graded.values())
        weights = _shares(condition, list(graded))
        p = weights @ np.array([f.probabilities for f in members])
        heavy_first = [members[i] for i in np.argsort(-weights, kind="stable")]
        placed = [f.point for f in heavy_first if f.point is not None]
        used = [f for f, w in zip(members, weights, strict=True) if w > 0]
        findings[target] = Finding(
            target,
            triple(p / p.sum()),
            placed[0] if placed else None,
            sources=tuple(dict.fromkeys(s for f in used for s in f.sources)),
            calibrated=triple(condition.calibration.apply(p)) if condition.measured else None,
        )
    return replace(base, findings=findings)


def correct_any_severe(prediction: StudyPrediction, correction: AnySevere) -> StudyPrediction:
    """Correct the canal probabilities for the any-severe part of the official score.

    This is only for submissions. Calibrated probabilities are left unchanged.
    """
    targets: Sequence[Target] = TARGETS[Condition.CANAL]
    missing = (np.nan,) * 3
    known = prediction.findings
    canal = [known[t].probabilities if t in known else missing for t in targets]
    corrected = correction.apply(np.array([canal]))[0]
    changed = {
        t: replace(known[t], probabilities=triple(p))
        for t, p in zip(targets, corrected, strict=True)
        if t in known
    }
    return replace(prediction, findings={**known, **changed})


def _shares(condition: ConditionBlend, names: Sequence[str]) -> np.ndarray:
    weights = np.array([condition.weights.get(name, 0.0) for name in names])
    if weights.sum() <= 0:
        weights = np.ones(len(names))
    return np.asarray(weights / weights.sum())
