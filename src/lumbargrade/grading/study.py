"""One study of any origin through the models: 25 findings, each graded or absent with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from lumbargrade.dicom.study import Study, read_study
from lumbargrade.domain.errors import NothingDone, Problem, UsageError
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.plausible import judge
from lumbargrade.domain.reasons import by_reason, named, no_series
from lumbargrade.domain.vocabulary import FINDINGS, KIND_OF, SeriesKind
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.members import Member, find_models, load_member
from lumbargrade.grading.predictor import Ensemble, Predictor
from lumbargrade.grading.stages import explained


def grade_study(
    study: Study | Path | str,
    models: Iterable[Member | Path | str] | Predictor,
    *,
    flip: bool = True,
    device: torch.device | str | None = None,
    guides: Iterable[Member | Path | str] = (),
    check_points: bool = True,
) -> StudyPrediction:
    """Grade a study: models and several series of one kind are averaged.

    A finding that no model predicts from the study's images is never filled: it is in ``absent``
    of the result, with the reason.

    Args:
        study: from `read_study`, or where its DICOM files are.
        models: model or run folders (every model below them takes part), or loaded members; or a
            predictor such as a loaded blend, which brings its own guides, device and flips.
        flip: average with the mirrored volume where the model allows it (`Member.flips`).
        guides: models or their folders that only place points, for models of crops to start from.
        device: where models are loaded and run; CUDA where there is one, when None. Loaded
            members must be there already.
        check_points: leave out findings whose points cannot be those of a lumbar spine
            (`domain.plausible`); False is for models that were not trained to place points.

    Returns:
        The findings, why the rest of the 25 are absent, the models that took part, and what was
        wrong with the images.

    Raises:
        BadDicom: if a path holds no usable series, or several studies.
        BadModel: if a model is damaged.
        NothingDone: if the study has no series of a kind that the models look at, or none of its
            findings could be graded, as where the points found are not those of a lumbar spine.
        UsageError: if there are no models, or a path holds none.

    Examples:
        The models of this example are untrained, so that their points are not checked.

        >>> found = grade_study("STUDY", "MODELS", check_points=False)
        >>> len(found.findings), len(found.absent)
        (15, 10)
        >>> set(found.absent.values())
        {'none of the models grades subarticular stenosis'}
        >>> from lumbargrade.domain.vocabulary import target_from_column
        >>> finding = found.findings[target_from_column("spinal_canal_stenosis_l4_l5")]
        >>> finding.grade.label in ("Normal/Mild", "Moderate", "Severe")
        True
    """
    study = study if isinstance(study, Study) else read_study(study)
    if not isinstance(models, Predictor):
        given = [models] if isinstance(models, Member | Path | str) else models
        members = _members(given, device)
        models = Ensemble(members, flip, _members(guides, device, needed=False))
    kinds = models.kinds
    present = {v.kind for v in study.volumes}
    if not kinds & present:
        raise NothingDone(
            f"study {study.study_id}: {no_series(kinds)}, which the models look at"
            f" (it has {_content(study)})"
        )
    found = models.predict(study.study_id, study.volumes)
    if check_points:
        found = only_plausible(found, study.volumes)
    found = explained(found, models.members)
    if not found.findings:
        told = [p.what for p in found.problems]
        told += [f"{named(targets)}: {why}" for why, targets in by_reason(found.absent).items()]
        raise NothingDone(f"study {study.study_id}: no finding could be graded: {'; '.join(told)}")
    missing = [_missing(found, kind) for kind in SeriesKind if kind in kinds - present]
    return replace(found, problems=(*found.problems, *study.problems, *missing))


def only_plausible(prediction: StudyPrediction, volumes: Sequence[Volume]) -> StudyPrediction:
    """A prediction without the findings whose points cannot be right, and with what that means.

    Points of models of whole series are judged where there are any, otherwise those that the
    findings have; a study whose points are no lumbar spine loses all its findings.

    Args:
        prediction: of a study.
        volumes: its series.
    """
    own = {t: f.point for t, f in prediction.findings.items() if f.point is not None}
    verdict = judge({**own, **prediction.points}, volumes)
    absent = {t: verdict.refused or verdict.absent.get(t, "") for t in prediction.findings}
    notes = tuple(Problem(n, study=prediction.study_id, fatal=False) for n in verdict.notes)
    kept = prediction.without({t: why for t, why in absent.items() if why})
    return replace(kept, problems=(*kept.problems, *notes))


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


def _missing(found: StudyPrediction, kind: SeriesKind) -> Problem:
    seen = [t for t in FINDINGS if KIND_OF[t.condition] is kind]
    absent = any(t in found.absent for t in seen)
    rest = "is not graded" if absent else "is graded from the others"
    return Problem(
        f"{no_series([kind])}; what is seen in it {rest}",
        study=found.study_id,
        advice="`lumbargrade inspect` tells the kind of every series, and why",
        fatal=False,
    )


def _content(study: Study) -> str:
    counts = Counter(str(v.kind) for v in study.volumes)
    parts = [f"{count} {kind}" for kind, count in counts.items()]
    if study.other:
        reasons = "; ".join(dict.fromkeys(study.reasons))
        parts.append(f"{len(study.other)} that cannot be used: {reasons}")
    return ", ".join(parts)
