"""Train a table of recipes and folds, one job each, on this machine or on a cluster."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
from dataclasses import replace
from pathlib import Path

import tyro

from lumbargrade.cli.train_options import (
    Options,
    StatusOptions,
    TableOptions,
    defaults,
    parse_folds,
    passed_on,
    recipe_of,
    run_folder,
)
from lumbargrade.config import DATA_FILES, Recipe, bytes_of, load_any_recipe
from lumbargrade.domain.errors import NothingDone, UsageError
from lumbargrade.files.writing import locked_folder, sha256_of
from lumbargrade.launch.drive import Drive
from lumbargrade.launch.jobs import LOG_FILE, Job
from lumbargrade.launch.slurm import (
    SlurmSettings,
    array_script,
    job_list,
    queued_arrays,
    script_paths,
    submit,
)
from lumbargrade.launch.table import JOBS_FILE, JobTable, Record

log = logging.getLogger(__name__)


def run(options: TableOptions) -> int:
    """Run all jobs that are not complete; the exit code is 0 if all are in the end."""
    jobs = jobs_of(options)
    if options.dry_run:
        records = JobTable(options.out).add(jobs)
        return _show_plan(options, [record for record in records if not record.complete])
    options.out.mkdir(parents=True, exist_ok=True)
    busy = f"another launcher runs the jobs of {options.out}; wait for its end or use another --out"
    with locked_folder(options.out, busy):
        table = JobTable(options.out)
        records = table.add(jobs)
        left = [record for record in records if not record.complete]
        table.save()
        if left and options.launcher == "slurm":
            number = submit(table, left, _slurm(options))
            log.info("submitted %d jobs as array %s", len(left), number)
        elif left:
            (_ray if options.launcher == "ray" else _local)(options, table, left)
    _print(table, records, options.json)
    submitted = options.launcher == "slurm"
    return 0 if submitted or all(record.complete for record in records) else 1


def show(options: StatusOptions) -> int:
    """Print how far all jobs of a folder of runs are."""
    table = JobTable(options.out)
    if not table.records:
        raise NothingDone(
            f"{options.out / JOBS_FILE}: no jobs; start some with `lumbargrade train --recipes`"
        )
    table.refresh()
    queued = queued_arrays({record.slurm for record in table} - {""})
    for record in table:
        open_ = record.status.state in ("waiting", "running")
        if record.slurm and open_ and record.slurm not in queued:
            error = f"no longer in the queue; see {LOG_FILE} and slurm/ in {options.out}"
            record.status = replace(record.status, error=error)
    _print(table, table.records, options.json)
    return 0


def jobs_of(options: TableOptions) -> list[Job]:
    """The jobs of a command: each recipe with each fold.

    Raises:
        UsageError: if an option is wrong for one of the recipes, or two jobs have one folder.
        BadInput: if the store, or a file that a recipe names, cannot be read.
    """
    from lumbargrade.lsdc.store import VolumeStore

    folds, rest = parse_folds(options.folds), passed_on(options)
    data = VolumeStore.open(options.store).fingerprint
    memory = _memory(options)
    if options.retries < 0 or options.cpus < 0:
        raise UsageError("--retries and --cpus: give 0 or more")
    if options.jobs < 1:  # --jobs is not passed on to the jobs, which would refuse it
        raise UsageError(f"--jobs {options.jobs}: give 1 or more")
    jobs: dict[str, Job] = {}
    for name in options.recipes:
        for fold in folds:
            arguments = (name, "--folds", str(fold), *rest)
            recipe = _recipe(arguments)
            folder = run_folder(Path(), recipe, fold).as_posix()
            if folder in jobs:
                raise UsageError(f"--recipes: two jobs would train in {folder}; give each once")
            jobs[folder] = Job(
                run=recipe.name,
                fold=fold,
                arguments=("train", *arguments),
                folder=folder,
                data=_digest(recipe, data),
                out=str(options.out.absolute()),
                directory=str(Path.cwd()),
                gpus=_gpus(options),
                cpus=options.cpus or recipe.train.workers + 1,
                memory=memory,
            )
    return list(jobs.values())


def _recipe(arguments: tuple[str, ...]) -> Recipe:
    """The recipe of a job, whose arguments are checked as `lumbargrade train` checks them."""
    from lumbargrade.training.schedule import plan_of

    default = defaults(arguments)
    if not isinstance(default, Options):
        load_any_recipe(arguments[0])
        raise UsageError(f"--recipes {arguments[0]}: this recipe has no folds; train it alone")
    options = tyro.cli(Options, args=arguments, default=default, prog="lumbargrade train")
    recipe = recipe_of(options)
    for fold in parse_folds(options.folds):
        plan_of(recipe.train, fold)
    return recipe


def _digest(recipe: Recipe, store: str) -> str:
    files = [getattr(recipe.data, key) for key in DATA_FILES]
    return hashlib.sha256(
        json.dumps([store, *(f and sha256_of(f) for f in files)]).encode()
    ).hexdigest()


def _gpus(options: TableOptions) -> int:
    """GPUs of a job.

    Raises:
        UsageError: if there are not enough for the jobs on this machine, as far as is known.
    """
    local = options.launcher == "local"
    if options.gpus < 0:
        return 0 if local else options.processes
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if local and options.gpus and seen and len(seen.split(",")) < options.gpus * options.jobs:
        raise UsageError(
            f"--jobs {options.jobs} with --gpus {options.gpus} each: CUDA_VISIBLE_DEVICES has only "
            f"{seen}; use fewer --jobs"
        )
    return options.gpus


def _memory(options: TableOptions) -> int:
    """Bytes of memory of a job; 0 for no demand."""
    try:
        return bytes_of(options.memory) if options.memory else 0
    except UsageError as error:
        raise UsageError(f"--memory {error}") from None


def _local(options: TableOptions, table: JobTable, records: list[Record]) -> None:
    from lumbargrade.launch.local import LocalRunner

    Drive(table, LocalRunner(options.jobs), options.retries).run(records)


def _ray(options: TableOptions, table: JobTable, records: list[Record]) -> None:
    from lumbargrade.launch.ray_cluster import ray_cluster
    from lumbargrade.launch.ray_jobs import RayRunner

    with ray_cluster(options.ray_address) as ray:
        Drive(table, RayRunner(ray), options.retries).run(records)


def _slurm(options: TableOptions) -> SlurmSettings:
    return SlurmSettings(
        at_a_time=options.jobs if options.jobs > 1 else 0,
        time=options.slurm_time,
        options=options.slurm_options,
        setup=options.slurm_setup,
    )


def _show_plan(options: TableOptions, records: list[Record]) -> int:
    jobs = [record.job for record in records]
    if options.launcher == "slurm" and jobs:
        script, listed = script_paths(options.out)
        print(f"# {script}\n{array_script(jobs, listed, _slurm(options))}\n# {listed}")
        print(job_list(jobs), end="")
    else:
        for job in jobs:
            print(shlex.join(["lumbargrade", *job.arguments]))
    return 0


def _print(table: JobTable, records: list[Record], as_json: bool) -> None:
    from lumbargrade.report.text import json_line, text_table

    rows = [row for record, row in zip(table, table.rows(), strict=True) if record in records]
    columns = ["job", "state", "epoch", "best", "tries", "node", "updated", "error"]
    shown = [{**row, "epoch": f"{row['epoch']}/{row['epochs'] or '?'}"} for row in rows]
    print(text_table(columns, [[row[c] for c in columns] for row in shown]))
    if as_json:
        print(json_line({"jobs": rows}))
