"""DICOM to a volume store with training tables; resumable.

A second run does only what is missing or changed, so an interrupted run is simply started again.
Everything that could not be used stands in STORE/problems.csv and makes the exit code 1.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

log = logging.getLogger(__name__)

_Kind = Literal["sagittal-t1", "sagittal-t2", "axial-t2"]


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade prepare`."""

    data: tyro.conf.Positional[Path]
    """data set in the LSDC layout"""
    out: Path
    """the store; a new folder, or the store of an earlier run"""
    label_fixes: str | None = None
    """`published`: the canal points that the published runs corrected (./published is a file); or a
    table of corrections as `audit` writes it (column fix holds add, move or drop), which changes
    the points it names; or a complete corrected table, whose canal points replace all of ours"""
    workers: int = 0
    """processes; 0 takes one per CPU core"""
    kinds: tuple[_Kind, ...] = ("sagittal-t1", "sagittal-t2", "axial-t2")
    """kinds of series to prepare; the published networks need the sagittal ones"""
    split: Literal["auto", "train", "test"] = "auto"
    """which tables and images; auto takes train where there is one"""
    json: bool = False
    """print one JSON object as the last line"""


def run(options: Options) -> int:
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.domain.vocabulary import SeriesKind
    from lumbargrade.lsdc.corrections import corrections_file
    from lumbargrade.lsdc.prepare import prepare

    if options.workers < 0:
        raise UsageError(f"--workers {options.workers}: give 0 or more")
    if not options.kinds:
        raise UsageError("--kinds: give at least one")
    names = {k.name.lower().replace("_", "-"): k for k in SeriesKind}
    summary = prepare(
        options.data,
        options.out,
        label_fixes=corrections_file(options.label_fixes),
        workers=options.workers,
        kinds=[names[k] for k in dict.fromkeys(options.kinds)],
        split=options.split,
    )
    log.info("%s", summary.text())
    if options.json:
        print(json.dumps(summary.as_dict()))
    return 1 if any(p.fatal for p in summary.problems) else 0
