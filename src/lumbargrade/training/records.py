"""Records of a run: a log line per epoch, a CSV file and TensorBoard events."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from lumbargrade.files.tables import write_table

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.csv"
BOARD_FOLDER = "tensorboard"


@dataclass(frozen=True)
class EpochRecord:
    """Result of one epoch.

    Attributes:
        epoch: number of the epoch, counted from 1; numbers repeat after a restart
            (``train.restart_from``).
        lr: learning rate of the last step.
        seconds: wall-clock time of training and validation.
        train: mean of each loss part, and counts such as matched points.
        validation: scores on the fold; empty if the epoch was not validated.
        phase: number of its phase, from 1; 0 if there is only one.
    """

    epoch: int
    lr: float
    seconds: float
    train: Mapping[str, float]
    validation: Mapping[str, float] = field(default_factory=dict)
    phase: int = 0

    def flat(self) -> dict[str, float]:
        """Return the CSV columns and values: ``train_loss``, ``val_score`` and so on."""
        row: dict[str, float] = {"epoch": self.epoch}
        if self.phase:
            row["phase"] = self.phase
        row |= {"lr": self.lr, "seconds": self.seconds}
        row |= {f"train_{k}": v for k, v in self.train.items()}
        row |= {f"val_{k}": v for k, v in self.validation.items()}
        return row


class RunRecords:
    """Write the records of one fold.

    The whole CSV file is rewritten each time, so that a resumed run has no gaps. TensorBoard's step
    is the row number, because epoch numbers may repeat.

    Args:
        folder: the run's folder.
        label: name of the run in the log.
        history: rows of earlier epochs.
        writes: whether this process writes; if not, it only keeps the rows.
    """

    def __init__(
        self, folder: Path, label: str, history: Sequence[dict[str, Any]], *, writes: bool = True
    ) -> None:
        self.folder = folder
        self.label = label
        self.history = [dict(row) for row in history]
        self.board: SummaryWriter | None = None
        if writes:
            start = len(self.history) + 1
            self.board = SummaryWriter(str(folder / BOARD_FOLDER), purge_step=start)

    def add(self, record: EpochRecord, end: int) -> None:
        """Record an epoch; ``end`` is the last epoch of the plan, for the log line."""
        row = record.flat()
        self.history.append(row)
        if self.board is None:
            return
        self._write_csv()
        for key, value in row.items():
            if key != "epoch":
                self.board.add_scalar(key.replace("_", "/", 1), value, len(self.history))
        self.board.flush()
        log.info(self._line(record, end))

    def close(self) -> None:
        if self.board is not None:
            self.board.close()

    def _line(self, record: EpochRecord, end: int) -> str:
        def listed(values: Mapping[str, float]) -> str:
            return " ".join(f"{k} {v:.3f}" for k, v in values.items())

        phase = f"phase {record.phase} " if record.phase else ""
        text = (
            f"{self.label} {phase}epoch {record.epoch}/{end} lr {record.lr:.2e} "
            f"{listed(record.train)}"
        )
        if record.validation:
            text += f" | {listed(record.validation)}"
        return f"{text} | {record.seconds:.0f} s"

    def _write_csv(self) -> None:
        columns = list(dict.fromkeys(key for row in self.history for key in row))
        rows = ([row.get(c) for c in columns] for row in self.history)
        write_table(self.folder / METRICS_FILE, columns, rows)
