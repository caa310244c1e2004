"""Trained models that predict together: averaged, or blended by the weights of a file."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.findings import EngineUse, ModelSource, StudyPrediction
from lumbargrade.domain.vocabulary import Condition, SeriesKind
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.blend_file import Blend, named_records, read_blend
from lumbargrade.grading.combine import combine, correct_any_severe, settle
from lumbargrade.grading.members import EngineChoice, Member, find_models, load_member
from lumbargrade.grading.model_record import ModelRecord
from lumbargrade.grading.predictor import SubmissionModels
from lumbargrade.grading.stages import predict_study
from lumbargrade.grading.two_stage import TwoStageUse, open_two_stage, require_use, split
from lumbargrade.inference.base import Inference
from lumbargrade.inference.model_folder import ModelMeta, changing_files
from lumbargrade.inference.registry import get_inference
from lumbargrade.scoring.fill import training_fill
from lumbargrade.team_two_stage.predictor import TwoStage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ensemble:
    """Models whose predictions are averaged (a `Predictor`).

    Attributes:
        members: models of any task; each uses the series of its kinds.
        flip: average with the mirrored volume if the model allows it (`Member.flips`).
        guides: models that only place points.
    """

    members: Sequence[Member]
    flip: bool = True
    guides: Sequence[Member] = ()

    calibrated = False
    about = ""

    @property
    def sources(self) -> list[ModelSource]:
        return [m.source for m in self.members]

    @property
    def conditions(self) -> set[Condition]:
        return {c for m in self.members for c in m.inference.conditions}

    @property
    def kinds(self) -> set[SeriesKind]:
        return {kind for m in (*self.members, *self.guides) for kind in m.inference.kinds}

    @property
    def flips(self) -> bool:
        return self.flip and any(m.flips for m in self.members)

    def predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        found = predict_study(study_id, volumes, self.members, flip=self.flip, guides=self.guides)
        return replace(found, engines=uses((*self.members, *self.guides)))

    def fingerprint(self) -> str:
        groups = (self.members, self.guides)
        parts = (files_fingerprint(m.path for m in group) for group in groups)
        flips = ",".join(str(self.flip and m.flips) for group in groups for m in group)
        engines = ",".join(str(m.use) for group in groups for m in group)
        return "|".join((flips, engines, *parts))


@dataclass(frozen=True)
class BlendedEnsembles:
    """The members of a blend, each an ensemble of its models (a `Predictor`).

    Attributes:
        blend: weights and calibrations.
        ensembles: member -> the models that it needs.
    """

    blend: Blend
    ensembles: Mapping[str, Ensemble | TwoStage]

    @property
    def calibrated(self) -> bool:
        return self.blend.calibrated

    @property
    def about(self) -> str:
        return self.blend.about

    @property
    def members(self) -> list[Member]:
        """The models of all ensembles; the two-stage networks are not among them."""
        parts = [e for e in self.ensembles.values() if isinstance(e, Ensemble)]
        return list({m.path: m for e in parts for m in e.members}.values())

    @property
    def kinds(self) -> set[SeriesKind]:
        return set().union(*(e.kinds for e in self.ensembles.values()))

    @property
    def sources(self) -> list[ModelSource]:
        return list(dict.fromkeys(s for e in self.ensembles.values() for s in e.sources))

    @property
    def conditions(self) -> set[Condition]:
        return set().union(*(e.conditions for e in self.ensembles.values()))

    @property
    def flips(self) -> bool:
        return any(e.flips for e in self.ensembles.values())

    def predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        found = {name: e.predict(study_id, volumes) for name, e in self.ensembles.items()}
        whole = settle(combine(self.blend, found), {v.series_id: v for v in volumes})
        engines = (use for prediction in found.values() for use in prediction.engines)
        return replace(whole, engines=tuple(dict.fromkeys(engines)))

    def fingerprint(self) -> str:
        parts = [f"{name}|{e.fingerprint()}" for name, e in self.ensembles.items()]
        return "\n".join([repr(self.blend), *parts])


def open_ensembles(
    models: Sequence[Path],
    blend: Path | None,
    device: str = "auto",
    *,
    engine: EngineChoice = "auto",
    flip: bool,
    guides: Sequence[Path] = (),
    unflipped: Sequence[Path] = (),
    two_stage: TwoStageUse | None = None,
) -> Ensemble | BlendedEnsembles | TwoStage:
    """Load the models of a blend file, or those of model and run folders with guides.

    Args:
        models: model and run folders, whose models are averaged; or those of a blend that names
            its models by recipe.
        blend: a blend file, instead of ``models``.
        device: device of the networks: auto, cpu, cuda or cuda:N.
        engine: what runs the models (see `load_member`).
        flip: average with the mirrored volume if a model allows it.
        guides: models that only place points; models that are also in ``models`` are loaded once.
        unflipped: further model and run folders, whose models are used without flip averaging,
            even if ``models`` contains them too.
        two_stage: how released two-stage networks among the models are used.

    Raises:
        UsageError: if both or neither are given, or models cannot be used (see `load_blend`).
    """
    use = two_stage or TwoStageUse()
    if blend is not None:
        if guides or unflipped:
            option = "--guides" if guides else "--unflipped"
            raise UsageError(
                f"{option} cannot be used with --blend, which names its guides and models; omit it"
            )
        blended = load_blend(blend, device, engine=engine, flip=flip, models=models, two_stage=use)
        require_use(use, blended)
        parts = [e for e in blended.ensembles.values() if isinstance(e, Ensemble)]
        _log([m for e in parts for m in (*e.members, *e.guides)])
        return blended
    if not (models or unflipped):
        raise UsageError("give either --models with model folders, or --blend with a blend file")
    still = {path.resolve() for path in find_models(unflipped)}
    released, paths = split(find_models([*models, *unflipped]))
    if released and paths:
        raise UsageError(
            f"{released[0]} is one of the released two-stage networks and {paths[0]} is not; "
            "give --blend as-submitted or another blend, which says how they are joined"
        )
    if released:
        if guides:
            raise UsageError("--guides cannot be used with the two-stage networks; omit it")
        return open_two_stage(released, device, use)
    members = [
        load_member(path, device, engine=engine, flip=path.resolve() not in still) for path in paths
    ]
    own = {member.path.resolve() for member in members}
    others = [p for p in find_models(guides) if p.resolve() not in own]
    beside = [load_member(p, device, engine=engine) for p in others]
    _log([*members, *beside])
    ensemble = Ensemble(members, flip, beside)
    require_use(use, ensemble)
    return ensemble


def uses(members: Iterable[Member]) -> tuple[EngineUse, ...]:
    """Return what runs each of some members, each once."""
    return tuple(dict.fromkeys(member.use for member in members))


def _log(members: Iterable[Member]) -> None:
    for member in {m.path: m for m in members}.values():
        still = member.inference.mirrors and not member.flips
        note = ", without flip averaging" if still else ""
        log.info(
            "model %s fold %d%s, %s", member.meta.recipe.name, member.meta.fold, note, member.use
        )


def ensemble_of(
    models: Iterable[Member | Path | str] | Member | Path | str,
    guides: Iterable[Member | Path | str] = (),
    *,
    flip: bool = True,
    device: str = "auto",
    engine: EngineChoice = "auto",
) -> Ensemble:
    """Load the models of folders, for programs; members that are loaded already may be among them.

    Args:
        models: model or run folders (all models below them are used), or members.
        guides: the same for models that only place points.
        flip: average with the mirrored volume if a model allows it.
        device: device of the models: auto, cpu, cuda or cuda:N.
        engine: what runs the models (see `load_member`).

    Raises:
        UsageError: if there are no models, or a path holds none.
        BadModel: if a model is damaged.
    """
    given = [models] if isinstance(models, Member | Path | str) else list(models)
    if not given:
        raise UsageError("no models given; name at least one model folder")

    def loaded(some: Iterable[Member | Path | str]) -> list[Member]:
        listed = list(some)
        paths = find_models(m for m in listed if not isinstance(m, Member))
        members = [m for m in listed if isinstance(m, Member)]
        return [*members, *(load_member(path, device, engine=engine) for path in paths)]

    return Ensemble(loaded(given), flip, loaded(guides))


def load_blend(
    path: Path,
    device: str = "auto",
    *,
    engine: EngineChoice = "auto",
    flip: bool = True,
    models: Sequence[Path] = (),
    two_stage: TwoStageUse | None = None,
) -> BlendedEnsembles:
    """Load a blend and its models; models that no weight needs are not loaded.

    Args:
        path: the blend file.
        device: device of the networks: auto, cpu, cuda or cuda:N.
        engine: what runs the models (see `load_member`).
        flip: if False, members are not averaged with flips, even if they were measured with them.
        models: model and run folders, for members that name their models by recipe.
        two_stage: how released two-stage networks are used, where it differs from the file.

    Raises:
        UsageError: if the file is not a blend, if a model is missing or has changed since the
            blend was fitted, or if models are given but not needed, or needed but not given.
        BadModel: if a model is damaged.
    """
    blend = read_blend(path)
    if blend.takes_models != bool(models):
        need = (
            "names its models by recipe; give" if blend.takes_models else "names its models; omit"
        )
        raise UsageError(f"{path}: the blend {need} --models")
    released, trained = split(find_models(models))
    metas: dict[str, ModelMeta] = {}
    loaded: dict[str, Member] = {}

    def inference_of(record: ModelRecord) -> Inference:
        if record.path not in metas:
            metas[record.path] = record.require_unchanged(str(path))
        return get_inference(metas[record.path].recipe)

    def load(records: Sequence[ModelRecord]) -> list[Member]:
        for record in records:
            if record.path not in loaded:
                loaded[record.path] = load_member(Path(record.path), device, engine=engine)
        return [loaded[record.path] for record in records]

    ensembles: dict[str, Ensemble | TwoStage] = {}
    for member in blend.members:
        graded = {c for c, entry in blend.conditions.items() if entry.needs(member.name)}
        if not graded:
            continue
        if member.two_stage is not None:
            base = TwoStageUse(**vars(member.two_stage))
            use = (two_stage or TwoStageUse()).over(base)
            ensembles[member.name] = open_two_stage(released, device, use, graded)
            continue
        if member.named:
            found = named_records(member, trained, str(path))
            member = replace(member, models=found, named=())
        needed = [r for r in member.models if graded & set(inference_of(r).conditions)]
        if needed:
            guides = []
            if any(inference_of(r).needs_guides for r in needed):
                # crops are cut around the points of all models of whole series, with weight or not
                others = (r for r in (*member.models, *member.guides) if r not in needed)
                guides = [r for r in others if not inference_of(r).needs_guides]
            on = member.flip and flip
            ensembles[member.name] = Ensemble(load(needed), on, load(guides))
    if not ensembles:
        raise UsageError(f"{path}: no member has a weight; fit the blend again")
    return BlendedEnsembles(blend, ensembles)


def opened_for_submission(
    open_models: Callable[[], Ensemble | BlendedEnsembles | TwoStage], place: int
) -> SubmissionModels:
    """Open models for a submission, with a blend's any-severe correction for the official score.

    Args:
        open_models: opens them.
        place: see `use_gpu`.

    Raises:
        UsageError, BadModel: like ``open_models``.
    """
    use_gpu(place)
    models = open_models()

    def corrected(prediction: StudyPrediction) -> StudyPrediction:
        if isinstance(models, BlendedEnsembles):
            return correct_any_severe(prediction, models.blend.any_severe)
        return prediction

    trained = () if isinstance(models, TwoStage) else models.members
    constants = training_fill(m.meta.provenance for m in trained)
    return SubmissionModels(models, constants, corrected)


def use_gpu(place: int) -> None:
    """Choose the GPU of this process, if there are several and torch is installed.

    Args:
        place: of the process among those of this machine, from 0; they use the GPUs in turn.
    """
    if not place:
        return
    try:
        import torch
    except ModuleNotFoundError:  # then all models are exported ones, which run on the CPU
        return
    if (count := torch.cuda.device_count()) > 1:
        torch.cuda.set_device(place % count)


def files_fingerprint(models: Iterable[Path]) -> str:
    """Return a digest of the paths, sizes and modification times of the models' files."""
    parts = []
    for path in models:
        for file in changing_files(path.resolve()):
            status = file.stat()
            parts.append(f"{file}|{status.st_size}|{status.st_mtime_ns}")
    return hashlib.sha256(os.fsencode("\n".join(parts))).hexdigest()
