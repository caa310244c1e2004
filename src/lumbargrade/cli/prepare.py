"""Convert a DICOM data set to a volume store with training tables.

A second run converts only what is missing or changed. If interrupted, rerun it to resume. Images
and rows that could not be used are listed in STORE/problems.csv, and the exit code is then 1.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Literal

import tyro

from lumbargrade.cli.places import PlaceOption
from lumbargrade.files.urls import Url

log = logging.getLogger(__name__)

_Kind = Literal["sagittal-t1", "sagittal-t2", "axial-t2"]


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade prepare`."""

    data: tyro.conf.Positional[PlaceOption]
    """data set in the LSDC layout; one at a URL is copied to this machine first"""
    out: PlaceOption
    """folder or URL of the store: new, or the store of an earlier run"""
    label_fixes: str | None = None
    """corrections of point labels: `published`, the canal points that the published runs corrected
    (./published is a file of that name); a table as `audit` writes it, with add, move or drop in
    column fix; or a complete corrected table, whose canal points replace those of the data set"""
    workers: int = 0
    """number of processes; 0: one per CPU core"""
    kinds: tuple[_Kind, ...] = ("sagittal-t1", "sagittal-t2", "axial-t2")
    """kinds of series to prepare; the published networks need the sagittal ones"""
    split: Literal["auto", "train", "test"] = "auto"
    """which tables and images to read; auto: train if there are train tables, else test"""
    json: bool = False
    """also print the results as one JSON object, in the last line, for scripts"""


def run(options: Options) -> int:
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.domain.vocabulary import SeriesKind
    from lumbargrade.files.mirror import local_copy, publish_copy
    from lumbargrade.files.urls import require_writable_url
    from lumbargrade.lsdc.corrections import corrections_file
    from lumbargrade.lsdc.prepare import prepare
    from lumbargrade.lsdc.store import INDEX

    if options.workers < 0:
        raise UsageError(f"--workers {options.workers}: give 0 or more")
    if not options.kinds:
        raise UsageError("--kinds is empty; give at least one kind of series")
    names = {k.name.lower().replace("_", "-"): k for k in SeriesKind}
    remote = options.out if isinstance(options.out, Url) else None
    if remote is not None:
        require_writable_url(remote)
    summary = prepare(
        local_copy(options.data),
        local_copy(options.out, new=True),
        label_fixes=corrections_file(options.label_fixes),
        workers=options.workers,
        kinds=[names[k] for k in dict.fromkeys(options.kinds)],
        split=options.split,
    )
    if remote is not None:
        publish_copy(remote, last=INDEX)
    log.info("%s", summary.text())
    if options.json:
        print(json.dumps(summary.as_dict()))
    return 1 if any(p.fatal for p in summary.problems) else 0
