"""Predict a study in two stages: models of whole series, then models of crops around points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import ModelSource, StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.reasons import no_series
from lumbargrade.domain.views import LevelCut, find_spaces
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Level, SeriesKind, plain_name
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.combine import average, average_points, settle
from lumbargrade.grading.members import Member
from lumbargrade.sampling.study import cut_study


def predict_study(
    study_id: str,
    volumes: Sequence[Volume],
    members: Sequence[Member],
    *,
    flip: bool = False,
    guides: Sequence[Member] = (),
) -> StudyPrediction:
    """Predict a study with all members and average over models and series of one kind.

    Models of whole series run first. Models of crops then use the points that these and the guides
    found, so they need at least one model or guide that finds points on a sagittal series.

    Args:
        study_id: the study.
        volumes: its series.
        members: models of any task; each uses the series of its kinds.
        flip: average with the mirrored volume if the model allows it (`Member.flips`).
        guides: models that only place points here.

    Returns:
        Findings with all their models as sources, guides included. Targets that a member should
        grade but could not are absent with a reason. Targets that no member grades are in neither:
        see `predictor.explained`.
    """
    paths = {m.path for m in members}
    guides = [g for g in guides if g.path not in paths]
    found: list[StudyPrediction] = []
    placed: list[StudyPrediction] = []
    sources: list[ModelSource] = []
    for member in (*guides, *members):
        if not member.inference.needs_guides:
            results = member.predict(study_id, volumes, flip=flip)
            placed += results
            sources += [member.source] if results else []
            if member not in guides:
                found += [result.with_sources([member.source]) for result in results]
    points = average_points([result.points for result in placed])
    found += _around(study_id, volumes, (guides, members), tuple(points.values()), sources)
    there = {volume.kind for volume in volumes}
    blind = [m for m in members if not there.intersection(m.inference.kinds)]
    found += [_without_evidence(study_id, m, no_series(m.inference.kinds)) for m in blind]
    prediction = replace(average(found or [StudyPrediction(study_id, {})]), points=points)
    return settle(prediction, {volume.series_id: volume for volume in volumes})


def _without_evidence(study_id: str, member: Member, reason: str) -> StudyPrediction:
    """Return a prediction in which everything that a member grades is absent."""
    targets = (t for t in FINDINGS if t.condition in member.inference.conditions)
    return StudyPrediction(study_id, {}, absent=dict.fromkeys(targets, reason))


def _around(
    study_id: str,
    volumes: Sequence[Volume],
    models: tuple[Sequence[Member], Sequence[Member]],
    points: Sequence[Point],
    sources: Sequence[ModelSource],
) -> list[StudyPrediction]:
    """Predict a study with the models of crops."""
    guides, members = models
    around = [m for m in (*guides, *members) if m.inference.needs_guides]
    if not around:
        return []
    if not points:
        what = "no point of any level was found, so no crops can be cut"
        note = StudyPrediction(study_id, {}, problems=(Problem(what, study_id),))
        reason = _no_level(models, {volume.kind for volume in volumes})
        return [note, *(_without_evidence(study_id, m, reason) for m in around)]
    found = [
        result.with_sources([member.source, *sources] if result.findings else ())
        for member in around
        if member not in guides
        for result in member.predict(study_id, volumes, points)
    ]
    notes = coverage_notes(study_id, volumes, points, around)
    return [*found, StudyPrediction(study_id, {}, problems=notes)] if notes else found


def _no_level(
    models: tuple[Sequence[Member], Sequence[Member]], there: set[SeriesKind | None]
) -> str:
    """Return why there is no point to cut crops around."""
    guides, members = models
    first = [m for m in (*guides, *members) if not m.inference.needs_guides]
    kinds = {kind for m in first for kind in m.inference.kinds}
    if kinds and not kinds & there:
        return f"{no_series(kinds)} to find the levels in"
    return "no point of any level was found"


def coverage_notes(
    study_id: str, volumes: Sequence[Volume], points: Sequence[Point], around: Sequence[Member]
) -> tuple[Problem, ...]:
    """Note the views and levels that the crops do not show.

    Notes on missing views include their cost: the models' losses without them in validation.
    """
    notes = list(find_spaces(volumes).problems)
    tasks = [m.inference for m in around]
    there = {v.kind for v in volumes}
    wanted = {kind for task in tasks if there & set(task.kinds) for kind in task.kinds}
    for kind in SeriesKind:
        if kind in wanted - there:
            cost = _cost_of_absence(kind, around)
            notes.append(Problem(f"graded without {kind}{cost}", study=study_id, fatal=False))
    axial = [t for t in tasks if SeriesKind.AXIAL_T2 in t.kinds]
    if axial and SeriesKind.AXIAL_T2 in there:
        crop = axial[0].recipe.crop
        cuts = cut_study(volumes, points, crop, kinds=(SeriesKind.AXIAL_T2,)).cuts
        notes += _uncovered(study_id, cuts)
    return tuple(notes)


def _cost_of_absence(kind: SeriesKind, members: Sequence[Member]) -> str:
    """Word how much higher the models' log loss is without a view, as measured in training."""
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
            parts.append(f"{plain_name(condition)} {less:.2f} instead of {whole:.2f}")
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
