"""Try the models of a kit on a phantom study, in the layout of the hidden test."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.domain.errors import LumbargradeError
from lumbargrade.phantom.dataset import Settings, make_dataset


@dataclass(frozen=True)
class Trial:
    """What the models of a kit did with a phantom study.

    Attributes:
        models: the models that graded.
        findings: how many of the 25 findings they predict.
        seconds: how long it took, with reading; on the machine where the kit is built.
    """

    models: Sequence[str]
    findings: int
    seconds: float


def try_models(dataset: Path, options: Sequence[str], folder: Path) -> Trial:
    """Run `submit` as the notebook will, on the CPU.

    Args:
        dataset: the kit's dataset.
        options: of `submit`, with ``@kit`` for the dataset.
        folder: an empty folder for the study and the submission.

    Raises:
        LumbargradeError: if `submit` fails, or predicts nothing; the text has its last lines.
    """
    data, out = folder / "data", folder / "submission.csv"
    make_dataset(data, Settings(1, 1, 7, "test", "explicit"))
    command = [sys.executable, "-m", "lumbargrade.cli.main", "submit", str(data), "--json"]
    command += ["--out", str(out), "--device", "cpu"]
    command += [word.replace("@kit", str(dataset)) for word in options]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        said = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise LumbargradeError(f"`submit` fails with these models on a phantom study:\n{said}")
    result = json.loads(done.stdout.splitlines()[-1])
    findings = result["rows"] - result["filled"]
    return Trial(result["models"], findings, time.monotonic() - began)
