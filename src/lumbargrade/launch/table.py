"""The jobs of a folder of runs, with their tries; kept in one file beside the runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lumbargrade.domain.errors import BadInput
from lumbargrade.files.structures import plain, read_plain, structured
from lumbargrade.files.writing import write_text
from lumbargrade.launch.jobs import Job
from lumbargrade.launch.run_status import RunStatus, read_run_status

JOBS_FILE = "jobs.json"


@dataclass
class Record:
    """A job and what happened to it.

    Attributes:
        job: the job.
        tries: how often the last launcher started it.
        slurm: id of the Slurm array that it was submitted in; empty if it was not.
        status: status of its run when the file was last written; the run's folder has the newest.
    """

    job: Job
    tries: int = 0
    slurm: str = ""
    status: RunStatus = field(default_factory=RunStatus)

    def refresh(self) -> bool:
        """Read the run's status; return whether it has changed."""
        before, self.status = self.status, read_run_status(self.job.path)
        return before != self.status

    @property
    def complete(self) -> bool:
        return self.status.state == "finished"


@dataclass
class _Content:
    format: int
    jobs: list[Record]


class JobTable:
    """All jobs of a folder of runs.

    Args:
        folder: the folder of runs.

    Raises:
        BadInput: if the file of jobs is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOBS_FILE
        self.records: list[Record] = []
        if self.path.exists():
            data = read_plain(self.path, BadInput)
            self.records = structured(data, _Content, self.path, "jobs", BadInput).jobs
            for record in self.records:  # the folder may have been moved
                record.job = replace(record.job, out=str(folder.absolute()))

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def add(self, jobs: Sequence[Job]) -> list[Record]:
        """Add jobs, or replace those of the same run, and return their records.

        A job that has changed since it was finished is not complete.
        """
        known = {record.job.folder: record for record in self.records}
        for job in jobs:
            record = known.get(job.folder)
            if record is None or record.job != job:
                known[job.folder] = Record(job)
            else:
                record.job = job  # its demands may differ
                record.refresh()
        self.records = list(known.values())
        return [known[job.folder] for job in jobs]

    def refresh(self) -> list[Record]:
        """Read the status of all runs and return the records that have changed."""
        return [record for record in self.records if record.refresh()]

    def save(self) -> None:
        """Write the file of jobs atomically."""
        write_text(self.path, json.dumps(plain(_Content(1, self.records)), indent=1) + "\n")

    def rows(self) -> list[dict[str, object]]:
        """One row per job, for people and programs."""
        return [
            {
                "job": str(record.job),
                "state": record.status.state,
                "node": record.status.node,
                "epoch": record.status.epoch,
                "epochs": record.status.epochs,
                "best": record.status.best,
                "tries": record.tries,
                "updated": record.status.updated,
                "error": record.status.error,
            }
            for record in self.records
        ]
