"""One study through models of every kind: whole series first, then crops around what they found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch

from lumbargrade.dataset.guides import GuidePoint
from lumbargrade.domain.crossing import LevelCut
from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import ModelSource, Place, StudyPrediction
from lumbargrade.domain.space import find_spaces
from lumbargrade.domain.vocabulary import Level, SeriesKind, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.prediction.ensemble import (
    average,
    average_places,
    places_of,
    settle,
    study_prediction,
)
from lumbargrade.prediction.members import Member
from lumbargrade.tasks import OneStageTask, StudyTask
from lumbargrade.tasks.base import SeriesPrediction
from lumbargrade.tasks.inference import predict_volumes, unlabelled_row

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
        flip: average with the mirrored volume where that can change anything.
        guides: models that place points and grade nothing here.

    Returns:
        Findings with the sources of every model behind them, guides included.
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
                    found.append(study_prediction(one, (member.source,)))
    found += _around(
        study_id, volumes, (guides, members), average_places(placed), tuple(sources), device
    )
    if not found:
        return StudyPrediction(study_id, {})
    prediction = average(found)
    return settle(prediction, {volume.series_id: volume for _, volume in volumes})


def predict_series(
    member: Member, volumes: Volumes, device: torch.device, *, flip: bool
) -> list[SeriesPrediction]:
    """What a model of whole series says of every series of its kind."""
    task = member.task
    if not isinstance(task, OneStageTask):
        return []
    both = flip and task.flips
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
    found = []
    known = dict(places)
    inside = [v for _, v in volumes]
    around = [m for m in (*guides, *members) if isinstance(m.task, StudyTask)]
    around.sort(key=lambda m: len(m.task.targets))
    points = guide_points(known)
    for member in around:
        if not points or not isinstance(member.task, StudyTask):
            continue
        one = member.task.predict_study(member.network, study_id, inside, points, device=device)
        by = tuple(dict.fromkeys((member.source, *sources)))
        seen = study_prediction(one, by)
        if len(member.task.shown) == 1:
            known |= places_of(one)
        else:
            seen = _with_places(seen, known)
        if member not in guides and seen.findings:
            found.append(seen)
    if around and not found and any(m in members for m in around):
        reason = "no point of the study was found, so nothing can be cut around its levels"
        if not points:
            found.append(StudyPrediction(study_id, {}, problems=(Problem(reason, study_id),)))
    notes = coverage_notes(study_id, volumes, points, around)
    if notes:
        found.append(StudyPrediction(study_id, {}, problems=notes))
    return found


def _with_places(prediction: StudyPrediction, places: Mapping[Target, Place]) -> StudyPrediction:
    """Findings at the points that a first stage put them at, rather than in a crop's middle."""
    findings = {t: replace(f, place=places.get(t, f.place)) for t, f in prediction.findings.items()}
    return replace(prediction, findings=findings)


def coverage_notes(
    study_id: str, volumes: Volumes, points: Sequence[GuidePoint], around: Iterable[Member]
) -> tuple[Problem, ...]:
    """What a reader must know of the views that models of crops had, level by level."""
    members = [m for m in around if isinstance(m.task, StudyTask)]
    axial = [m for m in members if SeriesKind.AXIAL_T2 in m.task.kinds]
    if not axial or not points:
        return ()
    inside = [v for _, v in volumes]
    notes = list(find_spaces(inside).problems)
    if any(v.kind is SeriesKind.AXIAL_T2 for v in inside):
        task = axial[0].task
        assert isinstance(task, StudyTask)
        cuts = task.cuts(inside, points)
        notes += _uncovered(study_id, cuts)
    return tuple(notes)


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
