"""One job of a table of experiments: a `lumbargrade train` command for one recipe and fold."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lumbargrade.launch.signals import LAUNCHED

#: Output of a job, in the folder of its run.
LOG_FILE = "train.log"

#: Exit codes of a command that would fail again in the same way: wrong usage, nothing done.
HOPELESS = (2, 3)


@dataclass(frozen=True)
class Job:
    """A recipe and fold to train.

    Two jobs are equal if they train the same; what they need for it may differ.

    Attributes:
        run: name of the run.
        fold: the validation fold.
        arguments: what follows `lumbargrade` on the command line.
        folder: the run's folder, seen from the folder of runs.
        data: digest of the store and of all files that the recipe names.
        out: the folder of runs, absolute.
        directory: working directory, absolute.
        gpus: number of GPUs; 0: whatever the machine shows.
        cpus: number of CPU cores.
        memory: bytes; 0: no demand.
    """

    run: str
    fold: int
    arguments: tuple[str, ...]
    folder: str
    data: str
    out: str = field(default="", compare=False)
    directory: str = field(default="", compare=False)
    gpus: int = field(default=0, compare=False)
    cpus: int = field(default=1, compare=False)
    memory: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.run} fold {self.fold}"

    @property
    def path(self) -> Path:
        """The run's folder."""
        return Path(self.out, self.folder)

    def command(self, python: str = sys.executable) -> list[str]:
        """The command line that trains."""
        return [python, "-m", "lumbargrade", *self.arguments]


def start(job: Job, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start the command of a job; its output is appended to the log in the run's folder.

    If this process dies, the command ends at once (`signals.leave_with_launcher`).

    Args:
        job: the job.
        environment: environment variables beside those of this process.

    Raises:
        OSError: if the log cannot be written.
    """
    job.path.mkdir(parents=True, exist_ok=True)
    with (job.path / LOG_FILE).open("ab") as log:
        return subprocess.Popen(
            job.command(),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=job.directory or None,
            env={**os.environ, LAUNCHED: "1", **(environment or {})},
        )
