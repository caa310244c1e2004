"""Run jobs as a Slurm array: write its script and the list of jobs, and submit it."""

from __future__ import annotations

import math
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.domain.errors import LumbargradeError, UsageError
from lumbargrade.files.writing import write_text
from lumbargrade.launch.jobs import LOG_FILE, Job
from lumbargrade.launch.run_status import update_run_status
from lumbargrade.launch.table import JobTable, Record

#: Folder of scripts, lists of jobs and output of Slurm, in the folder of runs.
SLURM_FOLDER = "slurm"

_SCRIPT = """\
#!/bin/bash
{directives}

# Element n of the array runs line n + 1 of the list of jobs, which trains one recipe and fold.
cd {directory} || exit 3
{setup}job=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {jobs})
eval "$job" &
training=$!

# USR1: the time of the job is nearly over. The training saves its state, and the element is queued
# again. TERM (scancel, preemption): the training saves its state.
again=
trap 'again=1; kill -TERM "$training"' USR1
trap 'kill -TERM "$training"' TERM
wait "$training"
code=$?
while kill -0 "$training" 2> /dev/null; do
    wait "$training"
    code=$?
done
if [ -n "$again" ] && [ "$code" -ne 0 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


@dataclass(frozen=True)
class SlurmSettings:
    """What the array asks of Slurm beside the demands of the jobs.

    Attributes:
        at_a_time: largest number of jobs that run at the same time; 0: no limit.
        time: time limit of a job, as Slurm writes it; a job that needs more is queued again.
        warning: seconds before this limit at which the training is told to save.
        options: further options of sbatch, such as ``partition=gpu``.
        setup: shell command to run before the training, such as ``module load cuda``.
    """

    at_a_time: int = 0
    time: str = "24:00:00"
    warning: int = 300
    options: tuple[str, ...] = ()
    setup: str = ""


def array_script(jobs: Sequence[Job], listed: Path, settings: SlurmSettings) -> str:
    """The script of an array with one element per job.

    Args:
        jobs: the jobs; the array asks for the most that one of them needs.
        listed: file with the list of jobs, see `job_list`.
        settings: further settings.
    """
    limit = f"%{settings.at_a_time}" if settings.at_a_time else ""
    output = listed.parent / "%A_%a.log"
    options = {
        "job-name": "lumbargrade",
        "array": f"0-{len(jobs) - 1}{limit}",
        "output": str(output),
        "open-mode": "append",
        "requeue": "",
        "signal": f"B:USR1@{settings.warning}",
        "time": settings.time,
        "cpus-per-task": str(max(job.cpus for job in jobs)),
    }
    if memory := max(job.memory for job in jobs):
        options["mem"] = f"{math.ceil(memory / 2**20)}M"
    if gpus := max(job.gpus for job in jobs):
        options["gres"] = f"gpu:{gpus}"
    for option in settings.options:
        key, _, value = option.removeprefix("--").partition("=")
        options[key] = value
    lines = [f"#SBATCH --{key}" + (f"={value}" if value else "") for key, value in options.items()]
    return _SCRIPT.format(
        directives="\n".join(lines),
        directory=shlex.quote(jobs[0].directory),
        setup=f"{settings.setup}\n" if settings.setup else "",
        jobs=shlex.quote(str(listed)),
    )


def job_list(jobs: Sequence[Job]) -> str:
    """One shell command per line; its output goes to the log in the run's folder."""
    lines = []
    for job in jobs:
        log = shlex.quote(str(job.path / LOG_FILE))
        lines.append(f"exec {shlex.join(job.command())} >> {log} 2>&1 < /dev/null\n")
    return "".join(lines)


def submit(table: JobTable, records: Sequence[Record], settings: SlurmSettings) -> str:
    """Write the script and the list of jobs, and submit them.

    Args:
        table: all jobs; the id of the array is kept with those that are submitted.
        records: the jobs to submit.
        settings: further settings.

    Returns:
        The id of the array.

    Raises:
        UsageError: if sbatch is not installed, or jobs are still queued by an earlier call.
        LumbargradeError: if sbatch refuses the script.
    """
    if shutil.which("sbatch") is None:
        raise UsageError(
            "--launcher slurm: sbatch is not installed here; run this command on a machine of the "
            "cluster, or use --dry-run to see the script"
        )
    queued = queued_arrays({record.slurm for record in records} - {""})
    if queued:
        raise UsageError(
            f"the jobs are still queued as {', '.join(sorted(queued))}; wait for their end, or "
            "cancel them with scancel"
        )
    jobs = [record.job for record in records]
    script, listed = script_paths(table.path.parent)
    write_text(listed, job_list(jobs))
    write_text(script, array_script(jobs, listed, settings))
    for record in records:
        record.tries, record.slurm = 1, ""
        update_run_status(record.job.path, state="waiting", node="", error="")
    done = subprocess.run(
        ["sbatch", "--parsable", str(script)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LumbargradeError(f"sbatch refused {script}: {done.stderr.strip()}")
    number = done.stdout.strip().partition(";")[0]
    for record in records:
        record.slurm = number
    table.save()
    return number


def script_paths(out: Path) -> tuple[Path, Path]:
    """New paths of the script and of the list of jobs, which no earlier submission uses."""
    folder = out.absolute() / SLURM_FOLDER
    number = 1
    while (folder / f"jobs-{number}.sh").exists():
        number += 1
    return folder / f"jobs-{number}.sh", folder / f"jobs-{number}.txt"


def queued_arrays(numbers: set[str]) -> set[str]:
    """Those of the given arrays of which something runs or waits."""
    if not numbers or shutil.which("squeue") is None:
        return set()
    done = subprocess.run(
        ["squeue", "--noheader", "--me", "--format=%F"], capture_output=True, text=True, check=False
    )
    return numbers & set(done.stdout.split())
