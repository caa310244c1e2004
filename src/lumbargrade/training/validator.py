"""Score networks on the validation fold and save them as models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.ids import id_order
from lumbargrade.inference.model_folder import ModelMeta
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.checkpoint import save_model
from lumbargrade.models.registry import AnyTask
from lumbargrade.models.task import Json, Row, device_of
from lumbargrade.models.torch_engine import TorchEngine
from lumbargrade.networks import joint
from lumbargrade.scoring.fill import fill_constants


class Validator:
    """Score the networks of one fold.

    Args:
        task: predicts and scores.
        fold: the validation fold.
        store: volumes and labels.
        training_rows, validation_rows: rows of the other folds, and of this fold.
    """

    def __init__(
        self,
        task: AnyTask,
        fold: int,
        store: VolumeStore,
        training_rows: Sequence[Row],
        validation_rows: Sequence[Row],
    ) -> None:
        self.task, self.fold, self.store = task, fold, store
        self.rows = validation_rows
        self.trained_on = sorted({r.study_id for r in training_rows}, key=id_order)

    def judge(self, network: nn.Module) -> Judged:
        """Predict the fold with a network in eval mode and score the predictions.

        Several processes predict a part each; all get all predictions.
        """
        engine = TorchEngine(self.task, network)
        own = self.rows[joint.rank() :: joint.processes()]
        predictions = joint.interleaved(self.task.predict_rows(engine, self.store, own))
        return Judged(self, network, predictions, self.task.evaluate(self.rows, predictions))


@dataclass
class Judged:
    """A network with its predictions and scores on the fold.

    Attributes:
        validator: the validator that scored it.
        network: the network in eval mode.
        predictions: one per row of the fold.
        scores: scores by name; the epoch with the lowest ``score`` is kept.
    """

    validator: Validator
    network: nn.Module
    predictions: Sequence[StudyPrediction]
    scores: dict[str, float]
    _notes: dict[str, Json] | None = field(default=None, repr=False)

    def save(self, folder: Path, **place: int) -> None:
        """Write the network as a model folder.

        Args:
            folder: the model folder.
            place: epoch and phase of the weights, for the provenance.
        """
        judge = self.validator
        meta = ModelMeta(
            recipe=judge.task.recipe,
            fold=judge.fold,
            data=judge.store.fingerprint,
            scores={k: v for k, v in self.scores.items() if math.isfinite(v)},
            provenance={
                **place,
                "trained_on": judge.trained_on,
                "device": device_of(self.network).type,
                **self.notes,
                "prevalence": {t.column: p for t, p in judge.store.prevalence().items()},
                "fill": {t.column: p for t, p in fill_constants(judge.store.grades).items()},
            },
        )
        save_model(folder, self.network, meta)

    @property
    def notes(self) -> dict[str, Json]:
        """The task's notes for a model; computed only once, even if it is saved several times."""
        if self._notes is None:
            judge = self.validator
            engine = TorchEngine(judge.task, self.network)
            self._notes = judge.task.notes(engine, judge.store, judge.rows)
        return self._notes
