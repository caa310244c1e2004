"""A blend at work: its models loaded and checked, its members' predictions made one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.vocabulary import TARGETS, Condition, SeriesKind, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.blend_file import Blend, ConditionBlend, read_blend
from lumbargrade.grading.combine import average, settle
from lumbargrade.grading.members import Member, find_models, load_member
from lumbargrade.grading.model_record import ModelRecord
from lumbargrade.grading.predictor import Ensemble, Predictor
from lumbargrade.models.checkpoint import ModelMeta
from lumbargrade.models.registry import AnyTask, get_task
from lumbargrade.scoring.any_severe import AnySevere

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BlendedEnsembles:
    """Members of a blend, each an ensemble of its models (a `Predictor`).

    Attributes:
        blend: weights and calibrations.
        ensembles: member -> those of its models that are needed.
    """

    blend: Blend
    ensembles: Mapping[str, Ensemble]

    calibrated = True

    @property
    def members(self) -> list[Member]:
        return list({m.path: m for e in self.ensembles.values() for m in e.members}.values())

    @property
    def kinds(self) -> set[SeriesKind]:
        return set().union(*(e.kinds for e in self.ensembles.values()))

    @property
    def flip(self) -> bool:
        return any(e.flip for e in self.ensembles.values())

    def predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        said = {name: e.predict(study_id, volumes) for name, e in self.ensembles.items()}
        return settle(combine(self.blend, said), {v.series_id: v for v in volumes})

    def fingerprint(self) -> str:
        parts = [f"{name}|{e.fingerprint()}" for name, e in self.ensembles.items()]
        return "\n".join([repr(self.blend), *parts])


def load_blend(path: Path, device: torch.device, *, flip: bool = True) -> BlendedEnsembles:
    """A blend with its models, each loaded once; a model that no weight asks for is not loaded.

    Args:
        path: the blend file.
        device: where the networks will be.
        flip: False leaves flip averaging out also for members that were measured with it.

    Raises:
        UsageError: if the file is not a blend, or a model is missing or not the one that the blend
            was fitted with.
        BadModel: if a model is damaged.
    """
    blend = read_blend(path)
    metas: dict[str, ModelMeta] = {}
    loaded: dict[str, Member] = {}

    def task_of(record: ModelRecord) -> AnyTask:
        if record.path not in metas:
            metas[record.path] = record.require_unchanged(str(path))
        return get_task(metas[record.path].recipe)

    def load(records: Sequence[ModelRecord]) -> list[Member]:
        for record in records:
            if record.path not in loaded:
                loaded[record.path] = load_member(Path(record.path), device)
        return [loaded[record.path] for record in records]

    ensembles = {}
    for member in blend.members:
        graded = {c for c, one in blend.conditions.items() if one.needs(member.name)}
        needed = [r for r in member.models if graded & set(task_of(r).conditions)]
        if needed:
            guides = []
            if any(task_of(r).needs_guides for r in needed):
                # crops are cut around the points of all models of whole series, graded or not
                others = (r for r in (*member.models, *member.guides) if r not in needed)
                guides = [r for r in others if not task_of(r).needs_guides]
            on = member.flip and flip
            ensembles[member.name] = Ensemble(load(needed), on, load(guides))
    if not ensembles:
        raise UsageError(f"{path}: no member has a weight")
    return BlendedEnsembles(blend, ensembles)


def open_predictor(
    models: Sequence[Path],
    blend: Path | None,
    device: torch.device,
    *,
    flip: bool,
    guides: Sequence[Path] = (),
    unflipped: Sequence[Path] = (),
) -> Predictor:
    """The models of a blend file, or those of model and run folders, averaged, beside guides.

    Args:
        models: model and run folders.
        blend: a blend file, instead of models.
        device: where the networks will be.
        flip: average with the mirrored volume where a model allows it.
        guides: models that only place points; those that grade too do so once.
        unflipped: further model and run folders, whose models are used without flip averaging;
            takes priority for a model that ``models`` contains too.

    Raises:
        UsageError: if both or neither are given, or models cannot be used (see `load_blend`).
    """
    if bool(models or unflipped) == (blend is not None):
        raise UsageError("give either --models, the folders of the models to use, or --blend FILE")
    if blend is not None:
        if guides:
            raise UsageError("a blend file names its guides; leave --guides out")
        blended = load_blend(blend, device, flip=flip)
        _log([m for e in blended.ensembles.values() for m in (*e.members, *e.guides)])
        return blended
    still = {path.resolve() for path in find_models(unflipped)}
    members = [
        load_member(path, device, flip=path.resolve() not in still)
        for path in find_models([*models, *unflipped])
    ]
    own = {member.path.resolve() for member in members}
    beside = [load_member(p, device) for p in find_models(guides) if p.resolve() not in own]
    _log([*members, *beside])
    return Ensemble(members, flip, beside)


def _log(members: Iterable[Member]) -> None:
    for member in {m.path: m for m in members}.values():
        note = ", without flip averaging" if member.task.mirrors and not member.flips else ""
        log.info("model %s fold %d%s", member.meta.recipe.name, member.meta.fold, note)


def combine(blend: Blend, said: Mapping[str, StudyPrediction]) -> StudyPrediction:
    """One prediction of a study from those of a blend's members.

    Probabilities are weighted means over the members that predict a finding (equal ones where none
    of these has a weight); calibrated ones stand beside them. The place is that of the heaviest
    member that has one. A condition that the blend does not know is absent.

    Args:
        blend: weights and calibrations.
        said: member -> its prediction.
    """
    base = average(list(said.values()))
    unweighted = {
        t: f"the blend has no weights for {t.condition.value.replace('_', ' ')}"
        for t in (*base.findings, *base.absent)
        if t.condition not in blend.conditions
    }
    base = base.without(unweighted)
    findings = {}
    for target in base.findings:
        one = blend.conditions[target.condition]
        mine = [(name, p.findings[target]) for name, p in said.items() if target in p.findings]
        weights = _shares(one, [name for name, _ in mine])
        p = weights @ np.array([f.probabilities for _, f in mine])
        heavy_first = [mine[i][1] for i in np.argsort(-weights, kind="stable")]
        placed = [f.point for f in heavy_first if f.point is not None]
        used = [f for (_, f), w in zip(mine, weights, strict=True) if w > 0]
        findings[target] = Finding(
            target,
            _triple(p / p.sum()),
            placed[0] if placed else None,
            sources=tuple(dict.fromkeys(s for f in used for s in f.sources)),
            calibrated=_triple(one.calibration.apply(p)),
        )
    return replace(base, findings=findings)


def correct_any_severe(prediction: StudyPrediction, correction: AnySevere) -> StudyPrediction:
    """Canal probabilities as the any-severe part of the official score wants them.

    Only for a submission: calibrated probabilities stay as they are.
    """
    targets: Sequence[Target] = TARGETS[Condition.CANAL]
    missing = (np.nan,) * 3
    known = prediction.findings
    canal = [known[t].probabilities if t in known else missing for t in targets]
    corrected = correction.apply(np.array([canal]))[0]
    changed = {
        t: replace(known[t], probabilities=_triple(p))
        for t, p in zip(targets, corrected, strict=True)
        if t in known
    }
    return replace(prediction, findings={**known, **changed})


def for_submission(prediction: StudyPrediction, predictor: Predictor) -> StudyPrediction:
    """A prediction as the official score wants it, where a blend says how."""
    if isinstance(predictor, BlendedEnsembles):
        return correct_any_severe(prediction, predictor.blend.any_severe)
    return prediction


def _shares(one: ConditionBlend, names: Sequence[str]) -> np.ndarray:
    weights = np.array([one.weights.get(name, 0.0) for name in names])
    if weights.sum() <= 0:
        weights = np.ones(len(names))
    return np.asarray(weights / weights.sum())


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    a, b, c = (float(v) for v in values)
    return a, b, c
