"""Which labels are wrong: suspects ranked, pictured on a page, with proposed corrections.

From the tables alone: points that do not fit the others of their series, levels out of order or
one disc off, left against right, stray slices, missing points with a place for each. OUT gets
index.html to work through, suspects.csv, and corrections.csv: rows that `prepare --label-fixes`
reads once those that you do not agree with are deleted. With a store: pictures of the slices, image
bounds, axial against sagittal in patient millimetres. With out-of-fold predictions: grades that
every file contradicts, also in contradicted.csv, which training can weigh less (recipe keys
data.suspects and data.suspect_weight). Exit code 1 says that something could not be checked.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import tyro

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade audit`."""

    data: tyro.conf.Positional[Path]
    """folder with train.csv, train_series_descriptions.csv and train_label_coordinates.csv; no
    images are needed"""
    out: Path = Path("audit")
    """folder for the page, the tables and the pictures"""
    label_fixes: str | None = None
    """corrections that are applied before the audit; takes the same values as for `prepare`"""
    store: Path | None = None
    """volume store of the same labels: slices behind the points, image bounds, patient mm"""
    oof: tuple[Path, ...] = ()
    """oof.csv files that `validate` wrote; a grade is contradicted where all of them agree on it"""
    json: bool = False
    """print one JSON object as the last line"""


def run(options: Options) -> int:
    from lumbargrade.audit.page import write_audit
    from lumbargrade.audit.run import audit
    from lumbargrade.domain.errors import NothingDone
    from lumbargrade.files.writing import require_writable
    from lumbargrade.grading.predictions_file import read_predictions
    from lumbargrade.lsdc.corrections import corrections_file
    from lumbargrade.lsdc.store import VolumeStore
    from lumbargrade.lsdc.tables import read_tables
    from lumbargrade.report.problems import log_problems
    from lumbargrade.report.text import json_line

    fixes = corrections_file(options.label_fixes)
    tables = read_tables(options.data, split="train", label_fixes=fixes)
    if not tables.points:
        raise NothingDone(f"{options.data}: the tables hold no labelled point")
    store = VolumeStore.open(options.store) if options.store is not None else None
    predictions = {path: read_predictions(path) for path in options.oof}
    require_writable(options.out / "index.html")
    found = audit(tables, store, predictions)
    log_problems(log, found.problems)
    write_audit(options.out, found, tables, store)
    print(found.text())
    log.info("page in %s", options.out / "index.html")
    if options.json:
        print(json_line(found.as_dict()))
    return 1 if any(p.fatal for p in found.problems) else 0
