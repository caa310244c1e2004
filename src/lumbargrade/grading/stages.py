"""One study through models of every kind: whole series first, then crops around what they found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import ModelSource, Place, StudyPrediction
from lumbargrade.domain.reasons import no_model, no_series
from lumbargrade.domain.views import LevelCut, find_spaces
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Level, SeriesKind, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.combine import (
    average,
    average_places,
    places_of,
    settle,
    study_prediction,
)
from lumbargrade.grading.members import Member
from lumbargrade.models.inference import predict_volumes, unlabelled_row
from lumbargrade.models.one_stage import OneStageTask
from lumbargrade.models.study_task import StudyTask
from lumbargrade.models.task import SeriesPrediction
from lumbargrade.sampling.guides import GuidePoint

Volumes = Sequence[tuple[SeriesKind, Volume]]


def predict_study(
    study_id: str,
    volumes: Volumes,
    members: Sequence[Member],
    *,
    device: torch.device,
    flip: bool = False,
    guides: Sequence[Member] = (),
) -> StudyPrediction:
    """All that the members say of a study, averaged over models and series of one kind.

    Models of whole series come first. The points that they and the guides find are what the
    others, which look at crops around each level, start from; so those need a model beside them,
    or a guide, that finds points on a sagittal series.

    Args:
        study_id: the study.
        volumes: its series with their kinds.
        members: models of any task; each sees the series of its kinds.
        device: where the networks are.
        flip: average with the mirrored volume where the model allows it (`Member.flips`).
        guides: models that place points and grade nothing here.

    Returns:
        Findings with the sources of every model behind them, guides included. What a member would
        grade and could not is absent, with the reason; what none grades is in neither: see
        `explained`.
    """
    paths = {m.path for m in members}
    guides = [g for g in guides if g.path not in paths]
    found: list[StudyPrediction] = []
    placed: list[Mapping[Target, Place]] = []
    sources: list[ModelSource] = []
    for member in (*guides, *members):
        if isinstance(member.task, OneStageTask):
            for one in predict_series(member, volumes, device, flip=flip):
                placed.append(places_of(one))
                sources.append(member.source)
                if member not in guides:
                    grades = bool(member.task.conditions)
                    found.append(study_prediction(one, (member.source,), grades=grades))
    points = average_places(placed)
    found += _around(study_id, volumes, (guides, members), points, tuple(sources), device)
    there = {kind for kind, _ in volumes}
    blind = [m for m in members if not there.intersection(m.task.kinds)]
    found += [_without_evidence(study_id, m, no_series(m.task.kinds)) for m in blind]
    prediction = replace(average(found or [StudyPrediction(study_id, {})]), points=points)
    return settle(prediction, {volume.series_id: volume for _, volume in volumes})


def explained(prediction: StudyPrediction, members: Sequence[Member]) -> StudyPrediction:
    """The prediction with each of the 25 targets either graded or absent with a reason.

    Args:
        prediction: by all models together.
        members: every model that grades.
    """
    graded = {c for m in members for c in m.task.conditions}
    unknown = [t for t in FINDINGS if t not in prediction.findings and t not in prediction.absent]
    reasons = {
        t: "the models gave no result for it" if t.condition in graded else no_model(t.condition)
        for t in unknown
    }
    return prediction.without(reasons)


def _without_evidence(study_id: str, member: Member, reason: str) -> StudyPrediction:
    """What a member that can see nothing says: all that it grades is absent."""
    targets = (t for t in FINDINGS if t.condition in member.task.conditions)
    return StudyPrediction(study_id, {}, absent=dict.fromkeys(targets, reason))


def predict_series(
    member: Member, volumes: Volumes, device: torch.device, *, flip: bool
) -> list[SeriesPrediction]:
    """What a model of whole series says of every series of its kind."""
    task = member.task
    if not isinstance(task, OneStageTask):
        return []
    both = flip and member.flips
    found = []
    for kind, volume in volumes:
        if kind is task.kind:
            pair = (unlabelled_row(task, volume), volume)
            found += predict_volumes(task, member.network, [pair], device=device, flip=both)
    return found


def guide_points(places: Mapping[Target, Place]) -> tuple[GuidePoint, ...]:
    """Places with a patient point, as what crops are cut around."""
    return tuple(
        GuidePoint(target, place.series_id, place.patient)
        for target, place in places.items()
        if place.patient is not None
    )


def _around(
    study_id: str,
    volumes: Volumes,
    models: tuple[Sequence[Member], Sequence[Member]],
    places: Mapping[Target, Place],
    sources: tuple[ModelSource, ...],
    device: torch.device,
) -> list[StudyPrediction]:
    """What the models of crops say; those that only place points come first."""
    guides, members = models
    around = [m for m in (*guides, *members) if isinstance(m.task, StudyTask)]
    if not around:
        return []
    points = guide_points(places)
    if not points:
        what = "no point of any level was found, so nothing can be cut around the levels"
        told = StudyPrediction(study_id, {}, problems=(Problem(what, study_id),))
        reason = _no_level(models, {kind for kind, _ in volumes})
        return [told, *(_without_evidence(study_id, m, reason) for m in around)]
    inside = [v for _, v in volumes]
    found = []
    for member in around:
        if not isinstance(member.task, StudyTask) or member in guides:
            continue
        one = member.task.predict_study(member.network, study_id, inside, points, device=device)
        behind = tuple(dict.fromkeys((member.source, *sources)))
        seen = study_prediction(one, behind, grades=bool(member.task.conditions))
        found.append(seen if seen.findings else replace(seen, sources=()))
    notes = coverage_notes(study_id, volumes, points, around)
    return [*found, StudyPrediction(study_id, {}, problems=notes)] if notes else found


def _no_level(models: tuple[Sequence[Member], Sequence[Member]], there: set[SeriesKind]) -> str:
    """Why there is no point to cut crops around."""
    guides, members = models
    first = [m for m in (*guides, *members) if isinstance(m.task, OneStageTask)]
    kinds = {kind for m in first for kind in m.task.kinds}
    if kinds and not kinds & there:
        return f"{no_series(kinds)} to find the levels in"
    return "no point of any level was found"


def coverage_notes(
    study_id: str, volumes: Volumes, points: Sequence[GuidePoint], around: Sequence[Member]
) -> tuple[Problem, ...]:
    """What a reader must know of the views that models of crops had, level by level.

    Missing views come with what their absence cost on the studies a model was validated on.
    """
    inside = [v for _, v in volumes]
    notes = list(find_spaces(inside).problems)
    tasks = [m.task for m in around if isinstance(m.task, StudyTask)]
    there = {v.kind for v in inside}
    wanted = {kind for task in tasks if there & set(task.kinds) for kind in task.kinds}
    for kind in SeriesKind:
        if kind in wanted - there:
            cost = _cost_of_absence(kind, around)
            notes.append(Problem(f"graded without {kind}{cost}", study=study_id, fatal=False))
    axial = [t for t in tasks if SeriesKind.AXIAL_T2 in t.kinds]
    if axial and SeriesKind.AXIAL_T2 in there:
        notes += _uncovered(study_id, axial[0].cuts(inside, points))
    return tuple(notes)


def _cost_of_absence(kind: SeriesKind, members: Sequence[Member]) -> str:
    """How much more the models lose without a view, as measured when they were trained."""
    parts = []
    for condition in Condition:
        name = condition.name.lower()
        pairs = [
            (m.meta.scores[name], m.meta.provenance["without"][kind.name.lower()][name])
            for m in members
            if name in m.meta.scores
            and name in m.meta.provenance.get("without", {}).get(kind.name.lower(), {})
        ]
        if pairs:
            whole, less = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
            parts.append(f"{condition.value.replace('_', ' ')} {less:.2f} instead of {whole:.2f}")
    if not parts:
        return ""
    return "; log loss of the models on validation studies without it: " + ", ".join(parts)


def _uncovered(study_id: str, cuts: Sequence[LevelCut | None]) -> list[Problem]:
    missing = [
        f"{level.label} ({'no point' if cut is None else cut})"
        for level, cut in zip(Level, cuts, strict=True)
        if cut is None or not cut.covered
    ]
    if not missing:
        return []
    text = "no axial slice cuts " + ", ".join(missing)
    return [Problem(text, study=study_id, fatal=False)]
