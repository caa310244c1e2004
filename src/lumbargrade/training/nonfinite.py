"""Ends a run whose loss is not finite, and records the batch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from lumbargrade.domain.errors import TrainingFailed
from lumbargrade.domain.files import write_text
from lumbargrade.tasks.base import LossTerms, TaskBatch

NONFINITE_FILE = "nonfinite.json"


def refuse_nonfinite(
    run: Path, label: str, batch: TaskBatch, terms: LossTerms, place: Mapping[str, Any]
) -> NoReturn:
    """Write the batch's studies and losses into the run's folder, and raise TrainingFailed.

    Args:
        run: the run's folder.
        label: names the run in the message.
        batch, terms: what was trained on, and its loss.
        place: recipe, fold, epoch and step, as plain JSON data.

    Raises:
        TrainingFailed: always.
    """
    path = run / NONFINITE_FILE
    record = {
        **place,
        "study_ids": [s.study_id for s in batch.samples],
        "series_ids": [s.series_id for s in batch.samples],
        "losses": {k: repr(float(v.detach())) for k, v in terms.parts.items()},
    }
    write_text(path, json.dumps(record, indent=1))
    studies = ", ".join(str(s.study_id) for s in batch.samples)
    raise TrainingFailed(
        f"{label}: the loss is not finite on studies {studies}; see {path}. "
        "Lower the learning rate, or set --train.amp bf16 or off"
    )
