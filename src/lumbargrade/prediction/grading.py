"""One study of any origin through the models: all 25 findings, predicted or marked as filled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from lumbargrade.dataset.rows import KIND_OF
from lumbargrade.dicom.study import Study, read_study
from lumbargrade.domain.errors import NothingDone, Problem, UsageError
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import FINDINGS, SeriesKind
from lumbargrade.prediction.members import (
    Member,
    complete,
    find_models,
    load_member,
    training_prevalence,
)
from lumbargrade.prediction.predictor import Ensemble, Predictor


def grade_study(
    study: Study | Path | str,
    models: Iterable[Member | Path | str] | Predictor,
    *,
    flip: bool = True,
    device: torch.device | str | None = None,
    guides: Iterable[Member | Path | str] = (),
) -> StudyPrediction:
    """Grade a study: models and several series of one kind are averaged.

    A finding that no model predicts, or whose kind of series the study lacks, is there too, at
    training prevalence; it has no place, and its ``filled`` is True.

    Args:
        study: from `read_study`, or where its DICOM files are.
        models: model or run folders (every model below them takes part), or loaded members; or a
            predictor such as a loaded blend, which brings its own guides, device and flips.
        flip: average with the mirrored volume where the model allows it (`Member.flips`).
        guides: models or their folders that only place points, for models of crops to start from.
        device: where models are loaded and run; CUDA where there is one, when None. Loaded
            members must be there already.

    Returns:
        25 findings, the models that took part, and what was wrong with the images.

    Raises:
        BadDicom: if a path holds no usable series, or several studies.
        BadModel: if a model is damaged.
        NothingDone: if the study has no series of a kind that the models look at, or none of its
            findings could be graded.
        UsageError: if there are no models, or a path holds none.
    """
    study = study if isinstance(study, Study) else read_study(study)
    if not isinstance(models, Predictor):
        given = [models] if isinstance(models, Member | Path | str) else models
        members = _members(given, device)
        place = next(members[0].network.parameters()).device
        models = Ensemble(members, place, flip, _members(guides, device, needed=False))
    kinds = models.kinds
    volumes = [(kind, v) for kind in SeriesKind for v in study.series.get(kind, ())]
    if not kinds & set(study.series):
        raise NothingDone(
            f"study {study.study_id}: no usable {_listed(kinds)} series, which the models look at"
            f" (it has {_content(study)})"
        )
    found = models.predict(study.study_id, volumes)
    if not found.findings:
        reasons = "; ".join(p.what for p in found.problems) or "the models found nothing in it"
        raise NothingDone(f"study {study.study_id}: no finding could be graded: {reasons}")
    prevalence = training_prevalence([m.meta for m in models.members])
    missing = [
        _missing(study, kind, filled=_any_filled(kind, found))
        for kind in SeriesKind
        if kind in kinds - set(study.series)
    ]
    return replace(
        found,
        findings=complete(found, prevalence),
        problems=(*found.problems, *study.problems, *missing),
    )


def _members(
    models: Iterable[Member | Path | str],
    device: torch.device | str | None,
    *,
    needed: bool = True,
) -> list[Member]:
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    given = list(models)
    members = [m for m in given if isinstance(m, Member)]
    paths = find_models(m for m in given if not isinstance(m, Member))
    members += [load_member(path, torch.device(device)) for path in paths]
    if needed and not members:
        raise UsageError("no models to grade with")
    return members


def _any_filled(kind: SeriesKind, found: StudyPrediction) -> bool:
    """Whether a finding that is seen in a kind of series was not predicted from other series."""
    seen = [t for t in FINDINGS if KIND_OF[t.condition] is kind]
    return any(t not in found.findings for t in seen)


def _missing(study: Study, kind: SeriesKind, *, filled: bool) -> Problem:
    rest = (
        "what is seen in it is filled with training prevalence"
        if filled
        else "what is seen in it is graded from the others"
    )
    return Problem(
        f"no usable {kind} series; {rest}",
        study=study.study_id,
        advice="`lumbargrade inspect` tells the kind of every series, and why",
        fatal=False,
    )


def _listed(kinds: Iterable[SeriesKind]) -> str:
    return " or ".join(k.value for k in SeriesKind if k in set(kinds))


def _content(study: Study) -> str:
    parts = [f"{len(vs)} {kind}" for kind, vs in study.series.items()]
    if study.other:
        reasons = "; ".join(dict.fromkeys(study.reasons))
        parts.append(f"{len(study.other)} that cannot be used: {reasons}")
    return ", ".join(parts)
