"""What `submit` and `grade` ask for a study's findings: models averaged, blended, recalibrated."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.blend_file import Blend, read_blend
from lumbargrade.grading.calibration_file import LocalCalibration, read_calibration
from lumbargrade.grading.combine import combine, correct_any_severe, settle
from lumbargrade.grading.members import Member, find_models, load_member
from lumbargrade.grading.model_record import ModelRecord
from lumbargrade.grading.stages import predict_study
from lumbargrade.models.checkpoint import MODEL_WEIGHTS, ModelMeta
from lumbargrade.models.registry import AnyTask, get_task

log = logging.getLogger(__name__)


@runtime_checkable
class Predictor(Protocol):
    """Loaded models that predict a study together."""

    @property
    def members(self) -> Sequence[Member]:
        """Every model that grades, each once."""

    @property
    def kinds(self) -> set[SeriesKind]:
        """Kinds of series that are looked at."""

    @property
    def flip(self) -> bool:
        """Whether predictions are averaged with the mirrored volumes where a model allows it."""

    @property
    def calibrated(self) -> bool:
        """Whether findings carry calibrated probabilities too."""

    def predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        """What the models say of a study.

        What they would grade and cannot is absent with the reason; what none of them grades is
        neither graded nor absent (`pipeline.explained`).
        """

    def fingerprint(self) -> str:
        """Changes when the models or how they are combined do."""


@dataclass(frozen=True)
class Ensemble:
    """Models that are averaged.

    Attributes:
        members: of any task; each sees the series of its kinds.
        flip: average with the mirrored volume where the model allows it (`Member.flips`).
        guides: models that place points and grade nothing.
    """

    members: Sequence[Member]
    flip: bool = True
    guides: Sequence[Member] = ()

    calibrated = False

    @property
    def kinds(self) -> set[SeriesKind]:
        return {kind for m in (*self.members, *self.guides) for kind in m.task.kinds}

    def predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        return predict_study(study_id, volumes, self.members, flip=self.flip, guides=self.guides)

    def fingerprint(self) -> str:
        groups = (self.members, self.guides)
        parts = (files_fingerprint(m.path for m in group) for group in groups)
        flips = ",".join(str(self.flip and m.flips) for group in groups for m in group)
        return "|".join((flips, *parts))


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


@dataclass(frozen=True)
class Recalibrated:
    """Another predictor, with the calibrations of a file in place of its own (a `Predictor`).

    Attributes:
        base: the models.
        local: calibrations; a condition without one stays as ``base`` has it.
    """

    base: Predictor
    local: LocalCalibration

    @property
    def members(self) -> Sequence[Member]:
        return self.base.members

    @property
    def kinds(self) -> set[SeriesKind]:
        return self.base.kinds

    @property
    def flip(self) -> bool:
        return self.base.flip

    @property
    def calibrated(self) -> bool:
        return self.base.calibrated or bool(self.local.conditions)

    def predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        return self.local.apply(self.base.predict(study_id, volumes))

    def fingerprint(self) -> str:
        return f"{self.base.fingerprint()}\n{self.local!r}"


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


def recalibrated(base: Predictor, path: Path | None) -> Predictor:
    """The predictor with a calibration file applied, or as it is without one.

    A file that was fitted to results of other recipes is used all the same, with a warning: only
    the user knows whether one stands for the other.

    Raises:
        UsageError: if the file cannot be used.
    """
    if path is None:
        return base
    local = read_calibration(path)
    ours = tuple(sorted({m.meta.recipe.name for m in base.members}))
    if local.recipes and local.recipes != ours:
        log.warning(
            "%s was fitted to results of %s, not of %s: its calibration may not hold",
            path,
            ", ".join(local.recipes),
            ", ".join(ours),
        )
    for condition, one in local.conditions.items():
        log.info("%s calibrated on %d studies (%s)", condition.value, one.studies, path)
    return Recalibrated(base, local)


def for_submission(prediction: StudyPrediction, predictor: Predictor) -> StudyPrediction:
    """A prediction as the official score wants it, where a blend says how."""
    if isinstance(predictor, BlendedEnsembles):
        return correct_any_severe(prediction, predictor.blend.any_severe)
    return prediction


def files_fingerprint(models: Iterable[Path]) -> str:
    """Of model folders, by place, size and time of their weights."""
    parts = []
    for path in models:
        weights = (path / MODEL_WEIGHTS).resolve()
        status = weights.stat()
        parts.append(f"{weights}|{status.st_size}|{status.st_mtime_ns}")
    return hashlib.sha256(os.fsencode("\n".join(parts))).hexdigest()
