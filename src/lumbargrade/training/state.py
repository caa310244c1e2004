"""All that a run must remember to go on as if it had never stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lumbargrade.config import DATA_FILES
from lumbargrade.domain.errors import BadModel
from lumbargrade.networks.weights import UNREADABLE, first_line, write_torch

STATE_FILE = "state.pt"


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: epoch in work, counted from 0; a restart sets it back.
        step: batches of that epoch that are done.
        sums: running sums of loss parts and counts over those batches.
        seconds: wall-clock time spent on that epoch so far.
        best: best validation score so far.
        best_epoch: the epoch it belongs to, counted from 1; 0 while there is none.
        best_phase: the phase it belongs to, counted from 1; 0 where there is only one.
        restarted: whether the last phase has restarted from an earlier epoch's weights.
        history: metrics row of each finished epoch.
        finished: True when the run has reached its end.
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


def save_state(folder: Path, progress: Progress, parts: dict[str, Any], stamp: str) -> None:
    """Write the state atomically.

    Args:
        folder: the run's folder.
        progress: where the run stands.
        parts: objects with ``state_dict`` (network, averaged network, optimiser, scaler).
        stamp: identifies recipe, fold and data; a state is only resumed under the same stamp.

    Raises:
        OSError: if it cannot be written.
    """
    state = {
        "stamp": stamp,
        "progress": vars(progress),
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    write_torch(folder / STATE_FILE, state)


def load_state(folder: Path, parts: dict[str, Any], stamp: str) -> Progress | None:
    """Put a saved state back into ``parts`` and return where the run stood; None where none is.

    Raises:
        BadModel: if the state is damaged or belongs to another recipe, fold or data set.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["stamp"] == stamp:
            return _restore(state, parts)
    except UNREADABLE as error:
        raise BadModel(
            f"{path} is damaged ({first_line(error)}); --restart begins the run anew"
        ) from None
    raise BadModel(
        f"{folder} holds a run with other settings or data, or the content of a file of "
        f"{', '.join(f'data.{k}' for k in DATA_FILES)} has changed; "
        "give another --out, or --restart to begin anew"
    )


def _restore(state: dict[str, Any], parts: dict[str, Any]) -> Progress:
    progress = Progress(**state["progress"])
    for name, part in parts.items():
        saved = state["parts"][name]
        if saved:  # a scaler that was not in use (on a CPU) has no state
            part.load_state_dict(saved)
    torch.set_rng_state(state["rng"])
    torch.cuda.set_rng_state_all(state["cuda_rng"][: torch.cuda.device_count()])
    return progress
