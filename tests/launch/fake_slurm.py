"""Stands in for sbatch, scontrol and squeue, called by one of these names.

`sbatch` runs the elements of an array one after another, as Slurm would on one node, and writes
what they print to the file of --output. If the file ``warn-when`` names a file that exists, the
running element gets SIGUSR1, as near the end of its time.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path


def sbatch(script: Path) -> None:
    text = script.read_text()
    said = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", text, re.MULTILINE))
    first, last = map(int, said["array"].partition("%")[0].split("-"))
    print("77")
    queue = list(range(first, last + 1))
    while queue:
        element = queue.pop(0)
        output = said["output"].replace("%A", "77").replace("%a", str(element))
        run(script, element, Path(output))
        if REQUEUED.exists():
            REQUEUED.unlink()
            queue.append(element)


def run(script: Path, element: int, output: Path) -> None:
    numbers = {"SLURM_ARRAY_TASK_ID": str(element), "SLURM_JOB_ID": str(100 + element)}
    with output.open("ab") as log:
        job = subprocess.Popen(
            ["bash", str(script)], stdout=log, stderr=log, env={**os.environ, **numbers}
        )
        warning = Path(os.environ["FAKE_SLURM"]) / "warn-when"
        while job.poll() is None:
            if warning.exists() and Path(warning.read_text()).exists():
                job.send_signal(signal.SIGUSR1)
                warning.unlink()
            time.sleep(0.02)


REQUEUED = Path(os.environ["FAKE_SLURM"]) / "requeued"

if Path(sys.argv[0]).name == "sbatch":
    sbatch(Path(sys.argv[-1]))
elif Path(sys.argv[0]).name == "scontrol":
    REQUEUED.write_text(sys.argv[-1])
else:
    queue = Path(os.environ["FAKE_SLURM"]) / "queue"
    print(queue.read_text() if queue.exists() else "")
