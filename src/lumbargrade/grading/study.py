"""Grade one study of any origin: each of the 25 findings is graded or absent with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lumbargrade.dicom.study import Study, read_study
from lumbargrade.domain.errors import NothingDone, Problem, in_short
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.plausible import judge
from lumbargrade.domain.reasons import by_reason, named, no_series
from lumbargrade.domain.vocabulary import FINDINGS, KIND_OF, SeriesKind
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.ensembles import ensemble_of
from lumbargrade.grading.members import find_models
from lumbargrade.grading.predictor import Predictor, explained
from lumbargrade.grading.two_stage import TwoStageUse, open_two_stage, split
from lumbargrade.starter.model import open_starter

if TYPE_CHECKING:
    from lumbargrade.grading.members import Member


def grade_study(
    study: Study | Path | str,
    models: Predictor | Iterable[Member | Path | str] | None = None,
    *,
    flip: bool = True,
    device: str = "auto",
    guides: Iterable[Member | Path | str] = (),
    check_points: bool = True,
) -> StudyPrediction:
    """Grade a study; predictions are averaged over models. Of several series of one kind, the
    best is used (`Study.used`).

    A finding that no model predicts from the study's images is never filled: the result has it in
    ``absent``, with the reason.

    Args:
        study: a study from `read_study`, or the path of its DICOM files.
        models: model or run folders (all models below them are used), or loaded members; or the
            folder of the released two-stage networks; or a predictor such as the starter or a
            loaded blend, which has its own guides, device and flips; None for the starter.
        flip: average with the mirrored volume if the model allows it (`Member.flips`).
        guides: models (or their folders) that only place points, as guide points for crop models.
        device: device of torch: auto, cpu, cuda or cuda:N. Loaded members stay where they are.
        check_points: skip findings whose points cannot belong to a lumbar spine
            (`domain.plausible`); use False for models that were not trained to place points.

    Returns:
        The findings, the reasons for absent targets, the models used, and the problems of the
        images.

    Raises:
        BadDicom: if a path holds no usable series, or several studies.
        BadModel: if a model is damaged.
        NothingDone: if the study has no series of a kind that the models use, or if no finding
            could be graded, for example because the points do not form a lumbar spine.
        UsageError: if the list of models is empty, or a path holds none.

    Examples:
        The models of this example are untrained, so their points are not checked.

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
        models = _opened(models, guides, flip=flip, device=device)
    kinds = models.kinds
    present = {v.kind for v in study.used}
    if not kinds & present:
        raise NothingDone(
            f"study {study.study_id}: {no_series(kinds)}, which the models need"
            f" (it has {_content(study)}){_lost(study)}"
        )
    found = models.predict(study.study_id, study.used)
    if check_points:
        found = only_plausible(found, study.used)
    found = explained(found, models.conditions)
    if not found.findings:
        why = [p.what for p in found.problems]
        why += [f"{named(targets)}: {r}" for r, targets in by_reason(found.absent).items()]
        raise NothingDone(
            f"study {study.study_id}: no finding could be graded: {'; '.join(why)}{_lost(study)}"
        )
    missing = [_missing(found, kind) for kind in SeriesKind if kind in kinds - present]
    cautions = [
        Problem(
            f"grades are less certain: {', '.join(c.cautions)}",
            study.study_id,
            c.series_id,
            fatal=False,
        )
        for c in study.choices
        if c.cautions
    ]
    return replace(found, problems=(*found.problems, *study.problems, *cautions, *missing))


def only_plausible(prediction: StudyPrediction, volumes: Sequence[Volume]) -> StudyPrediction:
    """Make findings absent if their points cannot be right, and add notes about this.

    Points of models of whole series are checked if there are any, otherwise the points of the
    findings. If the points of a study do not form a lumbar spine, all its findings become absent.

    Args:
        prediction: the prediction of a study.
        volumes: its series.
    """
    own = {t: f.point for t, f in prediction.findings.items() if f.point is not None}
    verdict = judge({**own, **prediction.points}, volumes)
    absent = {t: verdict.refused or verdict.absent.get(t, "") for t in prediction.findings}
    notes = tuple(Problem(n, study=prediction.study_id, fatal=False) for n in verdict.notes)
    kept = prediction.without({t: why for t, why in absent.items() if why})
    return replace(kept, problems=(*kept.problems, *notes))


def _opened(
    models: Iterable[Member | Path | str] | None,
    guides: Iterable[Member | Path | str],
    *,
    flip: bool,
    device: str,
) -> Predictor:
    if models is None:
        return open_starter()
    given = [models] if isinstance(models, Path | str) else list(models)
    others = list(guides)
    if given and not others and all(isinstance(m, Path | str) for m in given):
        released, trained = split(find_models(m for m in given if isinstance(m, Path | str)))
        if released and not trained:
            return open_two_stage(released, device, TwoStageUse())
    return ensemble_of(given, others, flip=flip, device=device)


def _missing(found: StudyPrediction, kind: SeriesKind) -> Problem:
    seen = [t for t in FINDINGS if KIND_OF[t.condition] is kind]
    absent = any(t in found.absent for t in seen)
    rest = "is not graded" if absent else "is graded from the other series"
    return Problem(
        f"{no_series([kind])}; what it shows {rest}",
        study=found.study_id,
        advice="`lumbargrade inspect` shows the kind of every series and why",
        fatal=False,
    )


def _lost(study: Study) -> str:
    """What of the study could not be used; it may be why nothing is graded."""
    lost = [p for p in study.problems if p.fatal]
    if not lost:
        return ""
    example = next((f", such as {p.file}" for p in lost if p.file), "")
    return f"; not used: {in_short(lost)}{example}"


def _content(study: Study) -> str:
    counts = Counter(str(v.kind) for v in study.volumes)
    parts = [f"{count} {kind}" for kind, count in counts.items()]
    if study.other:
        reasons = "; ".join(dict.fromkeys(study.reasons))
        parts.append(f"{len(study.other)} that cannot be used: {reasons}")
    return ", ".join(parts)
