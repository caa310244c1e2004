"""Models of chosen epochs that a run keeps beside its best model (``train.keep``)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from lumbargrade.domain.errors import BadModel
from lumbargrade.models.checkpoint import KEPT_FOLDER, ModelMeta, load_model
from lumbargrade.training.schedule import Plan
from lumbargrade.training.state import Progress

log = logging.getLogger(__name__)


def kept_folder(run: Path, plan: Plan, number: int, restarted: bool) -> Path:
    """The folder of the weights after an epoch (from 1).

    If there are several phases, the name contains the phase, so that epochs with the same number
    before and after a restart (``train.restart_from``) are both kept.
    """
    name = f"epoch-{number:03d}"
    if phase := plan.recorded_phase(number - 1, restarted):
        name = f"phase-{phase}-{name}"
    return run / KEPT_FOLDER / name


def restart_weights(
    run: Path, plan: Plan, is_mine: Callable[[ModelMeta], bool]
) -> dict[str, Tensor]:
    """The averaged weights that the last phase starts from (``train.restart_from``).

    Args:
        run: the run's folder.
        plan: its epochs.
        is_mine: whether a model has the settings and data of the run.

    Raises:
        BadModel: if they are gone, damaged, or of another run or epoch.
    """
    folder = kept_folder(run, plan, plan.restart, restarted=False)
    if not folder.is_dir():
        raise BadModel(
            f"{folder}: the weights that the last phase starts from (train.restart_from) are gone; "
            "--restart begins the run anew"
        )
    try:
        model = load_model(folder)
    except BadModel as error:
        raise BadModel(f"{error}; --restart begins the run anew") from None
    epoch = model.meta.provenance.get("epoch")
    if epoch != plan.restart or not is_mine(model.meta):
        raise BadModel(
            f"{folder}: not the weights that the last phase starts from (train.restart_from), but "
            f"epoch {epoch} of {model.meta.recipe.name} fold {model.meta.fold} of another run; put "
            "back the right ones, or --restart to begin the run anew"
        )
    return model.network.state_dict()


def warn_of_unkept(run: Path, plan: Plan, progress: Progress, label: str) -> None:
    """Warn of epochs in ``train.keep`` that are beyond the end of this fold or already trained."""
    last = max(plan.end(False), plan.end(True) if plan.reaches_restart else 0)
    beyond = [k for k in plan.keep if k > last]
    if beyond:
        listed = ", ".join(map(str, beyond))
        log.warning("%s ends at epoch %d: train.keep %s is not reached", label, last, listed)
    past = progress.epoch
    if plan.reaches_restart and not progress.restarted:
        past = min(past, plan.restart)  # later epochs are trained again
    gone = [
        k for k in plan.keep if k <= past and not any((run / KEPT_FOLDER).glob(f"*epoch-{k:03d}"))
    ]
    if gone:
        log.warning(
            "%s: epoch %s of train.keep was trained before it was asked for, and is not kept; "
            "--restart begins the run anew",
            label,
            ", ".join(map(str, gone)),
        )
