"""`train --processes 2` trains as one process does, and either resumes what the other began."""

from __future__ import annotations

from pathlib import Path

import pytest

from lumbargrade.cli.main import main
from lumbargrade.models.checkpoint import load_model
from small_runs import metrics_of

SMALL = (
    *("--data.size", "64", "--encoder.name", "lcnet_050", "--encoder.stages", "3"),
    *("--network.widths", "16", "8", "--pictures", "0", "--train.batch-size", "4"),
    *("--train.schedule", "constant", "--train.validate-every", "1", "--folds", "4"),
    # so that rounding does not grow from step to step
    *("--train.phases.0.lr", "1e-4"),
)


def test_two_processes_train_as_one_and_one_resumes_their_run(
    small_store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def line(out: str, epochs: int) -> list[str]:
        where = ("--store", str(small_store), "--out", str(tmp_path / out))
        return ["train", "cpu-small/canal", *where, *SMALL, "--train.epochs", str(epochs)]

    folders = [tmp_path / out / "cpu-small" / "canal" / "fold4" for out in ("two", "one")]
    assert main([*line("two", 2), "--processes", "2"]) == 0
    said = capfd.readouterr().err
    assert said.count("epoch 2/2") == 1
    assert main(line("two", 3)) == 0
    assert main(line("one", 3)) == 0
    shared, alone = map(metrics_of, folders)
    assert [row.keys() for row in shared] == [row.keys() for row in alone]
    for ours, theirs in zip(shared, alone, strict=True):
        for name, value in ours.items():
            assert float(value) == pytest.approx(float(theirs[name]), rel=1e-3, abs=1e-3), name
    ours, theirs = (load_model(f / "model") for f in folders)
    assert ours.meta.provenance["trained_on"] == theirs.meta.provenance["trained_on"]


def test_more_processes_than_items_of_a_batch_are_refused(
    small_store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "cpu-small/canal", "--store", str(small_store), "--out", str(tmp_path)]
    assert main([*line, "--folds", "4", "--train.batch-size", "1", "--processes", "2"]) == 2
    assert "each process needs an item of every batch" in capfd.readouterr().err
    assert main([*line, "--folds", "4", "--processes", "0"]) == 2
    assert "--processes 0: give 1 or more" in capfd.readouterr().err
