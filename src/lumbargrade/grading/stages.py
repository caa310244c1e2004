"""One study through models of every kind: whole series first, then crops around what they found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lumbargrade.domain.errors import Problem
from lumbargrade.domain.findings import ModelSource, StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.reasons import no_model, no_series
from lumbargrade.domain.views import LevelCut, find_spaces
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Level, SeriesKind
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
    """All that the members say of a study, averaged over models and series of one kind.

    Models of whole series come first. The points that they and the guides find are what the
    others, which look at crops around each level, start from; so those need a model beside them,
    or a guide, that finds points on a sagittal series.

    Args:
        study_id: the study.
        volumes: its series.
        members: models of any task; each sees the series of its kinds.
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
    placed: list[StudyPrediction] = []
    sources: list[ModelSource] = []
    for member in (*guides, *members):
        if not member.task.needs_guides:
            mine = member.predict(study_id, volumes, flip=flip)
            placed += mine
            sources += [member.source] if mine else []
            found += [one.with_sources([member.source]) for one in mine if member not in guides]
    points = average_points([one.points for one in placed])
    found += _around(study_id, volumes, (guides, members), tuple(points.values()), sources)
    there = {volume.kind for volume in volumes}
    blind = [m for m in members if not there.intersection(m.task.kinds)]
    found += [_without_evidence(study_id, m, no_series(m.task.kinds)) for m in blind]
    prediction = replace(average(found or [StudyPrediction(study_id, {})]), points=points)
    return settle(prediction, {volume.series_id: volume for volume in volumes})


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


def _around(
    study_id: str,
    volumes: Sequence[Volume],
    models: tuple[Sequence[Member], Sequence[Member]],
    points: Sequence[Point],
    sources: Sequence[ModelSource],
) -> list[StudyPrediction]:
    """What the models of crops say."""
    guides, members = models
    around = [m for m in (*guides, *members) if m.task.needs_guides]
    if not around:
        return []
    if not points:
        what = "no point of any level was found, so nothing can be cut around the levels"
        told = StudyPrediction(study_id, {}, problems=(Problem(what, study_id),))
        reason = _no_level(models, {volume.kind for volume in volumes})
        return [told, *(_without_evidence(study_id, m, reason) for m in around)]
    found = [
        one.with_sources([member.source, *sources] if one.findings else ())
        for member in around
        if member not in guides
        for one in member.predict(study_id, volumes, points)
    ]
    notes = coverage_notes(study_id, volumes, points, around)
    return [*found, StudyPrediction(study_id, {}, problems=notes)] if notes else found


def _no_level(
    models: tuple[Sequence[Member], Sequence[Member]], there: set[SeriesKind | None]
) -> str:
    """Why there is no point to cut crops around."""
    guides, members = models
    first = [m for m in (*guides, *members) if not m.task.needs_guides]
    kinds = {kind for m in first for kind in m.task.kinds}
    if kinds and not kinds & there:
        return f"{no_series(kinds)} to find the levels in"
    return "no point of any level was found"


def coverage_notes(
    study_id: str, volumes: Sequence[Volume], points: Sequence[Point], around: Sequence[Member]
) -> tuple[Problem, ...]:
    """What a reader must know of the views that models of crops had, level by level.

    Missing views come with what their absence cost on the studies a model was validated on.
    """
    notes = list(find_spaces(volumes).problems)
    tasks = [m.task for m in around]
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
