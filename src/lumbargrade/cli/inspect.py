"""Describe a data set or DICOM folder, and list what is wrong with it.

A folder with the LSDC tables is described from its tables; images that are missing and images that
no table lists are named. --read also decodes every image and lists those that cannot be used or are
unusual. Any other folder or file is searched for DICOM series, which are always read. The exit code
is 1 if something is wrong: missing images, contradictory tables, unreadable files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from lumbargrade.cli.reading_options import ReadingOptions


@dataclass(frozen=True, kw_only=True)
class Options(ReadingOptions):
    """Options of `lumbargrade inspect`."""

    path: tyro.conf.Positional[Path]
    """data set in the LSDC layout, or any DICOM folder or file"""
    label_fixes: str | None = None
    """corrections of point labels: `published`, the canal points that the published runs corrected
    (./published is a file of that name); a table as `audit` writes it, with add, move or drop in
    column fix; or a complete corrected table, whose canal points replace those of the data set"""
    split: Literal["auto", "train", "test"] = "auto"
    """which tables of an LSDC data set to read; auto: train if there are train tables, else test"""
    read: bool = False
    """also decode every image of an LSDC data set"""
    workers: int = 0
    """number of processes for --read; 0: one per CPU core"""
    json: bool = False
    """also print the results as one JSON object, in the last line, for scripts"""


def run(options: Options) -> int:
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.lsdc.tables import is_lsdc_folder

    if options.workers < 0:
        raise UsageError(f"--workers {options.workers}: give 0 or more")
    if not options.path.exists():
        raise UsageError(f"no such file or folder: {options.path}")
    if is_lsdc_folder(options.path):
        return _inspect_lsdc(options)
    if options.label_fixes is not None or options.split != "auto":
        raise UsageError(
            f"{options.path} is not an LSDC data set; leave out --label-fixes and --split"
        )
    return _inspect_dicom(options)


def _inspect_lsdc(options: Options) -> int:
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.lsdc.corrections import corrections_file
    from lumbargrade.lsdc.inspection import excluded_text, inspect_lsdc

    if options.series or options.header_values:
        raise UsageError(f"{options.path} is an LSDC data set; leave out --series and --set")
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
    from lumbargrade.bids.inspect import summarise_bids
    from lumbargrade.dicom.inspect import summarise_folder
    from lumbargrade.dicom.listing import image_places
    from lumbargrade.report.inspected import inspected_text

    niftis = image_places(options.path).niftis
    if niftis:
        summary = summarise_bids(options.path, niftis, options.request())
    else:
        summary = summarise_folder(options.path, request=options.request())
    print(inspected_text(summary))
    if options.json:
        print(json.dumps(summary.as_dict()))
    return 1 if any(p.fatal for p in summary.problems) else 0
