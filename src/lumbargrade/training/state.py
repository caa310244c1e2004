"""The state from which a run resumes, and the models of epochs that it keeps."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from lumbargrade.config import DATA_FILES, Published, Recipe, recipe_to_dict
from lumbargrade.domain.errors import BadModel
from lumbargrade.files.structures import structured
from lumbargrade.inference.model_folder import KEPT_FOLDER, ModelMeta
from lumbargrade.models.checkpoint import load_model
from lumbargrade.models.task import LossTerms
from lumbargrade.networks.weights import UNREADABLE, first_line, write_torch
from lumbargrade.training.schedule import Plan, Position

log = logging.getLogger(__name__)

STATE_FILE = "state.pt"

ProgressT = TypeVar("ProgressT")


@dataclass
class Progress:
    """Progress of a run.

    Attributes:
        epoch: current epoch, counted from 0; a restart (``train.restart_from``) sets it back.
        step: number of finished batches of the current epoch.
        sums: sums of loss parts and counts over these batches.
        seconds: wall-clock time of the current epoch so far.
        best: best validation score so far.
        best_epoch: epoch of the best score, counted from 1; 0 if there is none yet.
        best_phase: phase of the best score, counted from 1; 0 if there is only one.
        restarted: whether the last phase has restarted from an earlier epoch's weights.
        history: metrics row of each finished epoch.
        finished: whether the run has reached its end.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    best: float = float("inf")
    best_epoch: int = 0
    best_phase: int = 0
    restarted: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = False

    @property
    def at(self) -> Position:
        return Position(self.epoch, self.restarted)

    def add(self, terms: LossTerms) -> None:
        """Add the losses and counts of a batch to the sums."""
        for key, value in {"loss": terms.total, **terms.parts}.items():
            self.sums[key] = self.sums.get(key, 0.0) + float(value.detach())
        for key, count in terms.counts.items():
            self.sums[f"n_{key}"] = self.sums.get(f"n_{key}", 0.0) + count

    def means(self) -> dict[str, float]:
        """Return each loss part's mean over the epoch's batches, and sums of counts (``n_``)."""
        steps = max(self.step, 1)
        return {k: v if k.startswith("n_") else v / steps for k, v in self.sums.items()}


def stamp_of(recipe: Recipe, files: Mapping[str, str], fold: int, data: str) -> str:
    """Return the SHA-256 of all that must not change when a run is resumed.

    The number of epochs, the epochs to keep, the number of processes and the memory may change.

    Args:
        recipe: the recipe.
        files: key of ``recipe.data`` that names a file -> digest of the content, which is compared
            instead of the path.
        fold: the validation fold.
        data: fingerprint of the store.
    """
    settings = replace(
        recipe,
        summary="",
        published=Published(),
        data=replace(recipe.data, **files),  # type: ignore[arg-type]  # keys are str
        train=replace(recipe.train, workers=0, threads=0, epochs=0, keep=(), keep_every=0),
    )
    plain = recipe_to_dict(settings)
    # runs of versions without these keys are resumed too
    del plain["train"]["max_memory"]
    if not recipe.init:
        del plain["init"]
    text = json.dumps([plain, fold, data])
    return hashlib.sha256(text.encode()).hexdigest()


def save_state(folder: Path, progress: object, parts: dict[str, Any], stamp: str) -> None:
    """Write the state atomically.

    Args:
        folder: the run's folder.
        progress: progress of the run, a dataclass.
        parts: objects with ``state_dict`` (network, averaged network, optimiser, scaler).
        stamp: identifies recipe, fold and data (:func:`stamp_of`); a run is resumed only if its
            stamp is the same.

    Raises:
        OSError: if the state cannot be written.
    """
    state = {
        "stamp": stamp,
        "progress": vars(progress),
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    write_torch(folder / STATE_FILE, state)


def load_state(
    folder: Path, parts: dict[str, Any], stamp: str, kind: type[ProgressT]
) -> ProgressT | None:
    """Restore a saved state into ``parts``.

    Args:
        folder: the run's folder.
        parts: objects with ``load_state_dict``, as in :func:`save_state`.
        stamp: stamp of the run.
        kind: type of the progress.

    Returns:
        The progress of the run, or None if the folder holds no state.

    Raises:
        BadModel: if the state is damaged or belongs to another recipe, fold or data set.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["stamp"] == stamp:
            return _restore(state, parts, kind)
    except (*UNREADABLE, BadModel) as error:
        raise BadModel(
            f"{path} is damaged ({first_line(error)}); use --restart to start the run again"
        ) from None
    raise BadModel(
        f"{folder} holds a run with other settings or data, or the content of a file of "
        f"{', '.join(f'data.{k}' for k in DATA_FILES)} has changed; "
        "use another --out, or --restart to delete the run and start again"
    )


def _restore(state: dict[str, Any], parts: dict[str, Any], kind: type[ProgressT]) -> ProgressT:
    progress = structured(state["progress"], kind, STATE_FILE, "progress", BadModel)
    for name, part in parts.items():
        saved = state["parts"][name]
        if saved:  # an unused scaler (on a CPU) has no state
            part.load_state_dict(saved)
    torch.set_rng_state(state["rng"])
    torch.cuda.set_rng_state_all(state["cuda_rng"][: torch.cuda.device_count()])
    return progress


def kept_folder(run: Path, plan: Plan, after: Position) -> Path:
    """Return the folder for the weights after an epoch.

    If there are several phases, the name contains the phase, so that epochs with the same number
    before and after a restart (``train.restart_from``) are both kept.
    """
    name = f"epoch-{after.epoch:03d}"
    if phase := plan.recorded_phase(after._replace(epoch=after.epoch - 1)):
        name = f"phase-{phase}-{name}"
    return run / KEPT_FOLDER / name


def restart_weights(
    run: Path, plan: Plan, same_run: Callable[[ModelMeta], bool]
) -> dict[str, Tensor]:
    """Load the averaged weights from which the last phase starts (``train.restart_from``).

    Args:
        run: the run's folder.
        plan: the run's plan.
        same_run: returns whether a model has the settings and data of the run.

    Raises:
        BadModel: if the weights are missing, damaged, or of another run or epoch.
    """
    folder = kept_folder(run, plan, Position(plan.restart))
    if not folder.is_dir():
        raise BadModel(
            f"{folder}: the weights for the last phase (train.restart_from) are missing; use "
            "--restart to start the run again"
        )
    try:
        model = load_model(folder)
    except BadModel as error:
        raise BadModel(f"{error}; use --restart to start the run again") from None
    epoch = model.meta.provenance.get("epoch")
    if epoch != plan.restart or not same_run(model.meta):
        raise BadModel(
            f"{folder}: not the weights for the last phase (train.restart_from), but epoch {epoch} "
            f"of {model.meta.recipe.name} fold {model.meta.fold} of another run; put the right "
            "model there, or use --restart to start the run again"
        )
    return model.network.state_dict()


def warn_of_unkept(run: Path, plan: Plan, progress: Progress, label: str) -> None:
    """Warn about epochs in ``train.keep`` that are after the end or were trained but not kept."""
    last = max(plan.end(False), plan.end(True) if plan.reaches_restart else 0)
    beyond = [k for k in plan.keep if k > last]
    if beyond:
        listed = ", ".join(map(str, beyond))
        log.warning("%s ends at epoch %d: train.keep %s is not reached", label, last, listed)
    past = progress.epoch
    if plan.reaches_restart and not progress.restarted:
        past = min(past, plan.restart)  # later epochs will be trained again
    gone = [
        k for k in plan.keep if k <= past and not any((run / KEPT_FOLDER).glob(f"*epoch-{k:03d}"))
    ]
    if gone:
        log.warning(
            "%s: epoch %s of train.keep was already trained and its weights were not kept; use "
            "--restart to start the run again",
            label,
            ", ".join(map(str, gone)),
        )
