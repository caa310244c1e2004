"""What is in a data set or DICOM folder, and what is wrong with it.

A folder with the LSDC tables is described from its tables, with the images that are missing and
those that no table lists; --read decodes every image too, and lists all that cannot be used or is
odd. Any other folder (or file) is searched for DICOM series, which are always read. Exit code 1
says that something is wrong: images missing, tables that do not fit together, files that cannot be
read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade inspect`."""

    path: tyro.conf.Positional[Path]
    """data set in the LSDC layout, or any DICOM folder or file"""
    label_fixes: str | None = None
    """`published`: the canal points that the published runs corrected (./published is a file); or a
    table of corrections as `audit` writes it (column fix holds add, move or drop), which changes
    the points it names; or a complete corrected table, whose canal points replace all of ours"""
    split: Literal["auto", "train", "test"] = "auto"
    """which tables of an LSDC data set; auto takes train where there is one"""
    read: bool = False
    """decode every image of an LSDC data set too; nothing is written"""
    workers: int = 0
    """processes for --read; 0 takes one per CPU core"""
    json: bool = False
    """print one JSON object as the last line"""


def run(options: Options) -> int:
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.lsdc.tables import is_lsdc_folder

    if options.workers < 0:
        raise UsageError(f"--workers {options.workers}: give 0 or more")
    if not options.path.exists():
        raise UsageError(f"{options.path} does not exist")
    if is_lsdc_folder(options.path):
        return _inspect_lsdc(options)
    if options.label_fixes is not None or options.split != "auto":
        raise UsageError(f"{options.path} is no LSDC data set; --label-fixes and --split need one")
    return _inspect_dicom(options)


def _inspect_lsdc(options: Options) -> int:
    from lumbargrade.lsdc.corrections import corrections_file
    from lumbargrade.lsdc.inspection import excluded_text, inspect_lsdc

    fixes = corrections_file(options.label_fixes)
    summary = inspect_lsdc(
        options.path,
        split=options.split,
        label_fixes=fixes,
        read=options.read,
        workers=options.workers,
    )
    print(summary.text())
    if summary.split == "train":
        print(excluded_text())
    if options.json:
        print(json.dumps(summary.as_dict()))
    return 0 if summary.ok else 1


def _inspect_dicom(options: Options) -> int:
    from lumbargrade.dicom.inspect import summarise_folder

    summary = summarise_folder(options.path)
    print(summary.text())
    if options.json:
        print(json.dumps(summary.as_dict()))
    return 1 if any(p.fatal for p in summary.problems) else 0
