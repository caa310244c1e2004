"""Writes a synthetic data set in the LSDC layout.

Sagittal T1, sagittal T2/STIR and axial T2 series of random spines, with grades that follow from
the geometry, points, and the same things missing as in the real tables. The same seed and study
number give the same study, whatever the number of workers.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade phantom`."""

    out: tyro.conf.Positional[Path]
    """folder to write: new, empty, or an unfinished phantom data set with the same settings"""
    studies: int = 12
    """how many studies"""
    seed: int = 1
    """seed of the data set"""
    first: int = 0
    """number of the first study; studies of other numbers share nothing"""
    split: Literal["train", "test"] = "train"
    """train: with grades and points; test: without, the truth beside in solution.csv"""
    transfer_syntax: Literal["explicit", "rle"] = "explicit"
    """how pixels are stored; the LSDC files are RLE"""
    workers: int = 0
    """processes; 0 for one per processor"""


def run(options: Options) -> int:
    """Make the data set."""
    from lumbargrade.phantom.dataset import Settings, make_dataset

    settings = Settings(
        studies=options.studies,
        seed=options.seed,
        first=options.first,
        split=options.split,
        transfer_syntax=options.transfer_syntax,
    )
    files = make_dataset(options.out, settings, workers=options.workers)
    log.info("%s: %d studies, %d images", options.out, options.studies, files)
    return 0
