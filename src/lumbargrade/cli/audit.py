"""Find labels that are probably wrong, rank them, and propose corrections.

The tables alone show: points that do not fit the other points of their series, levels out of order
or named one level too high or too low, left and right exchanged, points on the wrong slice, and
missing points, for which a place is proposed. With --store, pictures show the slices, and points
are also compared with the image bounds and, in patient millimetres, with other series. With --oof,
grades that the out-of-fold predictions of every file contradict are listed.

OUT gets a page (index.html), suspects.csv, corrections.csv and contradicted.csv. Review the page,
delete the rows of corrections.csv that you do not agree with, and give the file to
`prepare --label-fixes`. Training can give contradicted.csv a lower weight (recipe keys
data.suspects and data.suspect_weight). The exit code is 1 if something could not be checked.
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
    """folder with train.csv, train_series_descriptions.csv and train_label_coordinates.csv; images
    are not needed"""
    out: Path = Path("audit")
    """folder for the page, the tables and the pictures"""
    label_fixes: str | None = None
    """corrections to apply before the audit; same values as for `prepare`"""
    store: Path | None = None
    """volume store made from the same labels; give it to see slices and to use all checks"""
    oof: tuple[Path, ...] = ()
    """oof.csv files of `validate`; a grade is flagged if all of these files contradict it"""
    json: bool = False
    """also print the results as one JSON object, in the last line, for scripts"""


def run(options: Options) -> int:
    from lumbargrade.audit.page import write_audit
    from lumbargrade.audit.run import audit
    from lumbargrade.domain.errors import NothingDone
    from lumbargrade.files.writing import require_writable
    from lumbargrade.grading.predictions_file import read_predictions
    from lumbargrade.lsdc.corrections import corrections_file
    from lumbargrade.lsdc.store import VolumeStore
    from lumbargrade.lsdc.tables import read_tables
    from lumbargrade.report.text import json_line, log_problems

    fixes = corrections_file(options.label_fixes)
    tables = read_tables(options.data, split="train", label_fixes=fixes)
    if not tables.points:
        raise NothingDone(
            f"{options.data}: no labelled point in the tables; give a folder with point labels"
        )
    store = VolumeStore.open(options.store) if options.store is not None else None
    predictions = {path: read_predictions(path) for path in options.oof}
    require_writable(options.out / "index.html")
    found = audit(tables, store, predictions)
    log_problems(log, found.problems)
    write_audit(options.out, found, tables, store)
    print(found.text())
    log.info("wrote the page %s", options.out / "index.html")
    if options.json:
        print(json_line(found.as_dict()))
    return 1 if any(p.fatal for p in found.problems) else 0
