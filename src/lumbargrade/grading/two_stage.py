"""The released two-stage networks among the models that are given."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.files.extras import needs_extra
from lumbargrade.grading.predictor import Predictor, Recalibrated
from lumbargrade.team_two_stage.choice import Choice
from lumbargrade.team_two_stage.faults import Faults
from lumbargrade.team_two_stage.folders import (
    TorchNetworks,
    checkpoints,
    is_released,
    require_complete,
)
from lumbargrade.team_two_stage.predictor import TwoStage, Unread
from lumbargrade.team_two_stage.progress import Progress

log = logging.getLogger(__name__)

#: Name of a set on the command line; empty for that of the blend file, or the default.
SetChoice = Literal["", "8620", "666"]


@dataclass(frozen=True)
class TwoStageUse:
    """How the two-stage networks are used.

    Attributes:
        set_name: which set.
        networks: see `Choice.networks`.
        as_published: see `Faults.of`.
        logits: folder that keeps what the networks say of each study; None to keep nothing.
    """

    set_name: SetChoice = ""
    networks: tuple[str, ...] = ()
    as_published: tuple[str, ...] = ()
    logits: Path | None = None

    @property
    def given(self) -> bool:
        """Whether anything differs from the default."""
        return self != TwoStageUse()

    def over(self, base: TwoStageUse) -> TwoStageUse:
        """Return this use, with what is not given taken from another."""
        return TwoStageUse(
            self.set_name or base.set_name,
            self.networks or base.networks,
            self.as_published or base.as_published,
            self.logits or base.logits,
        )

    def choice(self, conditions: Iterable[Condition] = Condition) -> Choice:
        """Return which networks are used.

        Raises:
            UsageError: if a fault is unknown.
        """
        faults = Faults.of(self.as_published)
        return Choice(self.set_name or "8620", self.networks, faults, tuple(conditions))


def split(folders: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the model folders of released two-stage networks, and the others."""
    released = [folder for folder in folders if is_released(folder)]
    return released, [folder for folder in folders if folder not in released]


def open_two_stage(
    folders: Sequence[Path],
    device: str,
    use: TwoStageUse,
    conditions: Iterable[Condition] = Condition,
) -> TwoStage:
    """Open the two-stage networks of model folders; each is loaded when it is needed.

    Args:
        folders: of released networks; those that are not chosen are not used.
        device: device of torch: auto, cpu, cuda or cuda:N.
        use: which of them are used, and how.
        conditions: what is graded.

    Raises:
        UsageError: if a chosen network is missing, a name is unknown, or torch is not installed.
    """
    found, choice = checkpoints(folders), use.choice(conditions)
    require_complete(found, choice)
    with needs_extra(f"the networks in {folders[0]}"):
        from lumbargrade.models.device import choose_device

        networks = TorchNetworks(found, choose_device(device))
    progress = None if use.logits is None else Progress(use.logits)
    system = TwoStage(networks, choice, progress)
    if progress is None:
        log.info("each study loads all two-stage networks; --logits loads them once for several")
    log.info(
        "%d two-stage networks of set %s, %s; published faults: %s",
        *(len(system.members), choice.set_name, networks.engine, choice.faults),
    )
    return system


#: Share of the time for a run that networks may take, before studies are predicted one by one.
_SWEEP = 0.8


def sweep(predictor: Predictor, studies: Iterable[Unread], end: float | None = None) -> None:
    """Run two-stage networks over all studies, one network after the other, if they keep logits.

    Args:
        predictor: the models; nothing happens if no two-stage networks are among them.
        studies: id of each study, and what reads its series.
        end: when the run must end, by `time.monotonic`; the last fifth of the time is left for what
            follows. None for no limit.
    """
    until = None if end is None else time.monotonic() + _SWEEP * (end - time.monotonic())
    systems = [s for s in two_stage_parts(predictor) if s.progress is not None]
    unread = list(studies) if systems else []
    for system in systems:
        system.sweep(unread, until)


def two_stage_parts(predictor: Predictor) -> list[TwoStage]:
    """Return the two-stage systems in a predictor."""
    if isinstance(predictor, Recalibrated):
        return two_stage_parts(predictor.base)
    if isinstance(predictor, TwoStage):
        return [predictor]
    parts = getattr(predictor, "ensembles", {}).values()
    return [part for part in parts if isinstance(part, TwoStage)]


def require_use(use: TwoStageUse, predictor: Predictor) -> None:
    """Check that options of two-stage networks are not given without such networks.

    Raises:
        UsageError: if they are.
    """
    if use.given and not two_stage_parts(predictor):
        raise UsageError(
            "--two-stage-set, --networks, --as-published and --logits are for the released "
            "two-stage networks, and none are given; omit them"
        )
